//! A guest's life: specification, preparation, start (cold or warm), session, result.
//!
//! [`run()`] drives one guest from its [`RunSpec`] to its [`RunResult`]; [`prepare()`] does the part that precedes QEMU's
//! start. [`Vm`] keeps a guest for several commands. Prints nothing: notes and progress go to a [`Listener`].

pub mod autoload;
pub(crate) mod bases;
pub(crate) mod builder;
pub mod collect;
pub(crate) mod command;
pub(crate) mod compose;
pub(crate) mod console;
mod conversation;
pub mod devices;
pub mod disk;
pub mod disk_report;
pub(crate) mod driver;
pub(crate) mod error;
pub mod evidence;
pub mod expect;
pub mod files;
pub(crate) mod guest_files;
pub(crate) mod hang;
pub mod health;
pub mod image;
pub(crate) mod initrd;
pub(crate) mod inputs;
pub(crate) mod launch;
pub mod limits;
pub(crate) mod listener;
pub(crate) mod monitor;
pub(crate) mod options;
pub(crate) mod outlet;
pub(crate) mod output;
pub mod packages;
pub(crate) mod persistent;
pub(crate) mod platform;
pub(crate) mod prebuilt;
pub mod preflight;
pub(crate) mod qemu_process;
pub(crate) mod ready_made;
pub mod report;
pub mod screen;
pub mod session;
pub(crate) mod site;
pub mod snapshot;
pub(crate) mod spec;
pub(crate) mod talk;
pub(crate) mod template;
pub mod terminal;
pub mod transcript;
mod user;
pub mod verdict;
pub(crate) mod vm;

pub use self::builder::Builder;
pub use self::command::Command;
pub use self::driver::{Prepared, RunResult, Unprepared, prepare, prepare_disk, run};
pub use self::error::VmError;
pub(crate) use self::inputs::Inputs;
pub use self::listener::{Listener, Silent};
pub use self::options::{Limits, RunOptions, Streams, TimeLimit};
pub use self::output::Output;
pub(crate) use self::site::Site;
pub use self::snapshot::Warm;
pub use self::spec::{Cwd, RunSpec};
pub use self::vm::Vm;

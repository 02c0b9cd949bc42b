//! A guest's life: specification, preparation, start (cold or warm), session, result.
//!
//! [`run()`] drives one guest from its [`RunSpec`] to its [`RunResult`]; [`prepare()`] does the part that precedes QEMU's
//! start. [`Vm`] keeps a guest for several commands. Prints nothing: notes and progress go to a [`Listener`].

pub mod bases;
pub mod builder;
pub mod command;
pub mod compose;
pub(crate) mod console;
mod conversation;
pub mod disk;
pub mod disk_report;
pub mod driver;
pub mod error;
pub mod evidence;
pub mod expect;
pub mod guest_files;
pub(crate) mod hang;
pub mod health;
pub mod image;
pub mod initrd;
pub mod inputs;
pub(crate) mod launch;
pub mod limits;
pub mod listener;
pub(crate) mod monitor;
pub mod options;
pub(crate) mod outlet;
pub mod output;
pub mod persistent;
pub mod plain;
pub mod platform;
pub mod prebuilt;
pub(crate) mod qemu_process;
pub mod ready_made;
pub mod report;
pub mod screen;
pub mod session;
pub mod site;
pub mod snapshot;
pub mod spec;
pub(crate) mod talk;
pub mod template;
pub mod terminal;
pub mod transcript;
pub(crate) mod unpack;
pub mod verdict;
pub mod vm;

pub use self::builder::Builder;
pub use self::command::Command;
pub use self::driver::{Prepared, RunResult, Unprepared, prepare, prepare_disk, run};
pub use self::error::VmError;
pub use self::hang::Hang;
pub use self::inputs::Inputs;
pub use self::listener::{Listener, Silent};
pub use self::options::{Limits, RunOptions, Streams, TimeLimit};
pub use self::output::Output;
pub use self::site::Site;
pub use self::snapshot::Warm;
pub use self::spec::{Cwd, RunSpec};
pub use self::vm::Vm;

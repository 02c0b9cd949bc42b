//! Lookups below a root directory: programs with their libraries, scripts, kernels, kernel modules, files to copy.
//!
//! Reads, and never runs what it finds; only `fetch` writes, to the cache. [`directory::Root`] records every path that is looked up, whether it exists or
//! not, so that a watcher knows what an image depends on.

pub mod request;
pub mod spec;

pub mod binary;
pub(crate) mod busybox;
pub mod closure;
pub(crate) mod copy;
pub mod directory;
pub mod dirs;
pub mod fact;
pub mod fetch;
pub(crate) mod gather;
pub(crate) mod glob;
pub mod kernel;
pub(crate) mod layout;
pub(crate) mod ldconf;
pub mod ldso;
pub mod modules;
pub(crate) mod musl;
pub mod object;
pub(crate) mod path;
pub mod program;
pub mod userland;
pub mod userland_error;

pub use self::fact::{Content, Fact, Node, Why};
pub use self::userland::Userland;
pub use self::userland_error::UserlandError;

//! From a spec to facts about a root directory.
//!
//! Reads, never writes, never runs anything it finds. Every path looked at is recorded in the [`Root`],
//! whether it was there or not, so that a watcher knows what an image depends on.

pub mod binary;
pub mod closure;
pub mod dirs;
pub mod dlopen_note;
pub mod elf;
mod fact;
mod glob;
pub mod kernel;
pub mod ldcache;
mod ldconf;
pub mod ldso;
mod musl;
pub mod pages;
mod root;
pub mod script;

pub use fact::{Content, Fact, Node, Why};
pub use root::{Hop, Resolved, Root, RootError};

//! Resolves a specification to facts about a root directory.
//!
//! Reads, but never writes and never runs anything it finds. The [`Root`] records every path looked up, whether it
//! exists or not, so that a watcher knows all dependencies of an image.

pub mod binary;
mod busybox;
pub mod closure;
mod copy;
pub mod dirs;
pub mod dlopen_note;
pub mod elf;
#[cfg(test)]
mod elf_builder;
pub mod esp;
mod fact;
mod gather;
mod glob;
pub mod kernel;
mod layout;
pub mod ldcache;
mod ldconf;
pub mod ldso;
pub mod modules;
mod musl;
pub mod pages;
pub mod path;
mod program;
mod root;
pub mod script;
pub mod signer;
pub mod uki;
pub mod userland;
mod userland_error;

pub use fact::{Content, Fact, Node, Why};
pub use root::{Hop, Resolved, Root, RootError};
pub use userland::Userland;
pub use userland_error::UserlandError;

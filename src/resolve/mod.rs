//! From a spec to facts about a root directory.
//!
//! Reads, never writes, never runs anything it finds. Every path looked at is recorded in the [`Root`],
//! whether it was there or not, so that a watcher knows what an image depends on.

mod fact;
pub mod kernel;
pub mod modules;
mod root;

pub use fact::{Content, Fact, Node, Why};
pub use root::{Hop, Resolved, Root, RootError};

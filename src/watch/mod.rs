//! Watch mode: runs a command again whenever an input of the last round changes.
//!
//! A [`Session`] runs rounds. A snapshot contains the states of all inputs and sources when a round used them; the next
//! round starts when they differ from the current states, which have not changed for a moment. Only states count:
//! notifications by inotify are a reason to compare them.

mod build;
mod directories;
mod session;
mod snapshot;
mod sources;
mod stamp;
mod watcher;

pub use self::session::Session;
pub use self::sources::Sources;
pub use self::watcher::Change;

//! Going again when something has changed: which paths a round was made from, and when they have come to rest.
//!
//! A [`Snapshot`] says what the paths were like when they were used; a [`Watcher`] waits until some of them are not like
//! that any more. What counts is what a path is, not what is told of it: an event without a change is none, a change
//! without an event is found by the next look. [`Sources`] are what a build is made from, [`Products`] what it writes
//! among them, [`Build`] runs it.
//!
//! Refuses to judge half a file: what is gone, empty, or still open for writing is given some time.

pub mod build;
pub mod directories;
pub mod products;
pub mod snapshot;
pub mod sources;
pub mod stamp;
pub mod watcher;

pub use self::build::{Build, Made};
pub use self::directories::Blind;
pub use self::products::Products;
pub use self::snapshot::{Changed, Snapshot};
pub use self::sources::Sources;
pub use self::stamp::Moment;
pub use self::watcher::{Change, PATIENCE, Watcher, Woken};

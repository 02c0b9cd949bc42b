//! Initrds: specification, plan, archive.
//!
//! A [`build::Plan`] maps archive paths to entries. Facts may repeat, may lead through symbolic links, and may come in any
//! order; a plan is sorted by path, has one entry per path, and includes all parent directories. Two facts that require
//! different nodes at one path are an error that names both. Only `Plan::check` creates the [`check::CheckedPlan`] that
//! [`archive`] writes. Same plan, same bytes.

pub mod archive;
pub mod memfd;
pub mod pid1;

pub(crate) mod build;
pub mod check;
pub mod entry;
pub mod explain;
pub(crate) mod job;
pub(crate) mod job_file;

use std::io;

pub use self::build::Plan;
pub use self::check::{CheckedPlan, Member, Purpose};

use crate::format::archive_path::ArchivePath;
use crate::root::fact::Why;

/// One side of a conflict: a requested node and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Description of the node, with its source: `file /etc/passwd (1204 bytes, mode 0644)`.
    pub(crate) what: String,
    /// Reason for the node.
    pub(crate) why: Why,
}

/// Planning error.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two facts require different nodes at one path.
    #[error("{path}: conflicting entries: {} ({}) and {} ({})", .first.what, .first.why, .second.what, .second.why)]
    Conflict {
        /// The path.
        path: ArchivePath,
        /// The first request.
        first: Box<Claim>,
        /// The second request.
        second: Box<Claim>,
    },
    /// A loop of symbolic links.
    #[error("{path} ({why}): symbolic link loop, or more than {} links", build::MAX_HOPS)]
    Loop {
        /// The path that leads into the loop.
        path: ArchivePath,
        /// Reason for the entry.
        why: Box<Why>,
    },
    /// The root of the archive is not a directory.
    #[error("invalid root of the image: expected a directory, found {} ({})", .0.what, .0.why)]
    Root(Box<Claim>),
    /// The parent of an entry is not a directory.
    #[error("{path} ({why}): expected a directory at {parent}, found {what}")]
    ParentNotDirectory {
        /// The entry.
        path: ArchivePath,
        /// Reason for the entry.
        why: Box<Why>,
        /// Its parent.
        parent: ArchivePath,
        /// Description of the parent.
        what: String,
    },
    /// A name or link target that the kernel would silently skip, or could not create.
    #[error("{path} ({why}): {rule}")]
    Name {
        /// The entry.
        path: ArchivePath,
        /// Reason for the entry.
        why: Box<Why>,
        /// The violated rule.
        rule: NameRule,
    },
    /// A file whose size does not fit the 32-bit header field.
    #[error("{path} ({why}): file of {len} bytes is too large for a newc archive (must be smaller than 4 GiB)")]
    TooLarge {
        /// The entry.
        path: ArchivePath,
        /// Reason for the entry.
        why: Box<Why>,
        /// Its length in bytes.
        len: u64,
    },
    /// The image has no `/init` that the kernel can execute.
    #[error("invalid /init: {0}")]
    Init(String),
    /// A path to explain that is not in the image.
    #[error(
        "{path}: no such entry in the image{}",
        near.as_ref().map(|near| format!(" (nearest: {near})")).unwrap_or_default()
    )]
    NotThere {
        /// The requested path.
        path: ArchivePath,
        /// The entry that the user may have meant.
        near: Option<ArchivePath>,
    },
    /// A job for pid 1 that cannot be encoded or decoded.
    #[error("invalid job for pid 1: {what}: {rule}")]
    Job {
        /// Part of the job.
        what: String,
        /// The fault.
        rule: &'static str,
    },
    /// Output error.
    #[error("failed to print the plan")]
    Print(#[from] io::Error),
}

/// Rules for names and link targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameRule {
    /// Longer than `PATH_MAX`.
    #[error("name of {0} bytes including its NUL; the kernel skips names longer than 4096 bytes")]
    TooLong(usize),
    /// A component longer than `NAME_MAX`.
    #[error("name component of {0} bytes; the limit of Linux file systems is 255 bytes")]
    ComponentTooLong(usize),
    /// A NUL in the name.
    #[error("name contains a NUL byte")]
    Nul,
    /// The name of the trailer.
    #[error("reserved name: it marks the end of a newc archive")]
    Trailer,
    /// A link target longer than `PATH_MAX`.
    #[error("link target of {0} bytes including its NUL; the limit of the kernel is 4096 bytes")]
    TargetTooLong(usize),
    /// An empty link target.
    #[error("empty link target")]
    TargetEmpty,
    /// A NUL in the link target.
    #[error("link target contains a NUL byte")]
    TargetNul,
}

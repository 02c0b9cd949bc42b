//! From facts to a checked map: archive path to entry, with parents, without conflicts.
//!
//! Facts may repeat each other, lead through links and come in any order; a [`Plan`] is sorted by bytes, holds one
//! entry a path, and has every directory it needs. Two facts that want different things in one place are an error that
//! names both. Only [`Plan::check`] makes the [`CheckedPlan`] that a writer accepts.

pub mod archive;
pub mod memfd;
pub mod pid1;
pub mod spec;

pub mod build;
pub mod check;
pub mod entry;
pub mod explain;
pub mod job;
pub mod job_file;

use std::io;

pub use self::build::Plan;
pub use self::check::{CheckedPlan, Member, Purpose};
pub use self::entry::{Entry, type_and_permissions};

use crate::format::archive_path::ArchivePath;
use crate::root::fact::Why;

/// One side of a conflict: what is wanted in a place, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What is wanted there, with its source: `file /etc/passwd (1,204 bytes)`.
    pub what: String,
    /// Who wants it.
    pub why: Why,
}

/// Why facts do not make an image.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two facts want different things in one place.
    #[error("planning {path}: wanted both as {} ({}) and as {} ({})", .first.what, .first.why, .second.what, .second.why)]
    Conflict {
        /// The place.
        path: ArchivePath,
        /// What came first.
        first: Box<Claim>,
        /// What came second.
        second: Box<Claim>,
    },
    /// Links that lead in a circle.
    #[error("planning {path}: more than {} symbolic links, or a loop ({why})", build::MAX_HOPS)]
    Loop {
        /// The path that leads into the circle.
        path: ArchivePath,
        /// Who wanted it.
        why: Box<Why>,
    },
    /// Something other than a directory as the archive's root.
    #[error("planning /: the root of an image is a directory, not {} ({})", .0.what, .0.why)]
    Root(Box<Claim>),
    /// An entry below something that is not a directory.
    #[error("planning {path} ({why}): {parent} is {what}, not a directory")]
    ParentNotDirectory {
        /// The entry.
        path: ArchivePath,
        /// Who wanted it.
        why: Box<Why>,
        /// What stands above it.
        parent: ArchivePath,
        /// What that is.
        what: String,
    },
    /// A name the kernel would skip in silence, or could not create.
    #[error("planning {path} ({why}): {rule}")]
    Name {
        /// The entry.
        path: ArchivePath,
        /// Who wanted it.
        why: Box<Why>,
        /// The rule it breaks.
        rule: NameRule,
    },
    /// A file whose size does not fit the header's 32 bits.
    #[error("planning {path} ({why}): {len} bytes, but a member of a newc archive is smaller than 4 GiB")]
    TooLarge {
        /// The entry.
        path: ArchivePath,
        /// Who wanted it.
        why: Box<Why>,
        /// Its length.
        len: u64,
    },
    /// No program for the kernel to start.
    #[error("planning /init: {0}")]
    Init(String),
    /// A path asked about that is not in the image.
    #[error("explaining {path}: the image has no such entry{}", near.as_ref().map(|near| format!(", but it has {near}")).unwrap_or_default())]
    NotThere {
        /// The path asked about.
        path: ArchivePath,
        /// An entry that may have been meant.
        near: Option<ArchivePath>,
    },
    /// The job for pid 1 cannot be written down.
    #[error("writing the job for pid 1: {what}: {rule}")]
    Job {
        /// The part of the job.
        what: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// Nowhere to print to.
    #[error("printing the plan")]
    Print(#[from] io::Error),
}

/// Rules for names and link targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameRule {
    /// Longer than `PATH_MAX`.
    #[error("name of {0} bytes with its NUL, but the kernel skips names of more than 4096")]
    TooLong(usize),
    /// A component longer than `NAME_MAX`.
    #[error("name with a component of {0} bytes, but no file system of Linux takes more than 255")]
    ComponentTooLong(usize),
    /// A NUL inside.
    #[error("name with a NUL byte inside")]
    Nul,
    /// The name that ends an archive.
    #[error("this name marks the end of a newc archive")]
    Trailer,
    /// A link target longer than `PATH_MAX`.
    #[error("link target of {0} bytes with its NUL, but the kernel takes at most 4096")]
    TargetTooLong(usize),
    /// A link target of no bytes.
    #[error("link without a target")]
    TargetEmpty,
    /// A NUL inside a link target.
    #[error("link target with a NUL byte inside")]
    TargetNul,
}

//! Checks disk images, unified kernel images and initrds against a table of rules.
//!
//! The input is untrusted. A check always ends, in time and memory bounded by the size of the file; unpacked initrds
//! have a separate limit, [`MOST_UNPACKED`]. Unreadable data is a finding, too. Each rule is defined once, in
//! [`rules`], with its harm, its remedy, and its source: a section of a specification or the code of firmware.

pub(crate) mod boot_code;
pub mod disk;
pub mod efi;
pub(crate) mod esp;
pub(crate) mod fat;
pub(crate) mod file;
pub(crate) mod finding;
pub(crate) mod gpt;
pub mod initrd;
pub(crate) mod loaders;
pub(crate) mod mbr;
pub(crate) mod no_gpt;
pub(crate) mod partitions;
pub(crate) mod rule;
pub mod rules;
pub(crate) mod subject;
pub(crate) mod uki;

pub use self::disk::{disk, disk_within};
pub use self::efi::program;
pub use self::file::{CheckError, check_file};
pub use self::finding::{Finding, MOST_UNPACKED, Place, Report};
pub use self::initrd::initrd;
pub use self::rule::{Rule, Severity};
pub use self::subject::Subject;

#[cfg(test)]
mod tests;

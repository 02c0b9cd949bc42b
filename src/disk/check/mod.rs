//! The lint: disk images, unified kernel images and initrds against a table of rules, each with who breaks by it.
//!
//! What is checked is untrusted: whatever it says, a check ends, in time and memory that the size of the file bounds
//! (what initrds unpack to is bounded by itself, [`MOST_UNPACKED`]), and tells what it found. What could not be read at all is a finding, too. Rules stand in [`rules`], one place each; the sections
//! of specifications and the sources of firmware that they come from stand with them.

pub mod boot_code;
pub mod disk;
pub mod efi;
pub mod esp;
pub mod fat;
pub mod finding;
pub mod gpt;
pub mod initrd;
pub mod mbr;
pub mod partitions;
pub mod rule;
pub mod rules;
pub mod subject;
pub mod uki;

pub use self::disk::{disk, disk_within};
pub use self::efi::program;
pub use self::finding::{Finding, MOST_UNPACKED, Place, Report};
pub use self::initrd::initrd;
pub use self::rule::{Rule, Severity};
pub use self::subject::Subject;

#[cfg(test)]
mod tests;

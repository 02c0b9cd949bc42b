//! The lint: disk images, unified kernel images and initrds against a table of rules, each with who breaks by it.
//!
//! What is checked is untrusted: whatever it says, a check ends, in time and memory that the size of the file bounds
//! (what initrds unpack to is bounded by itself, [`MOST_UNPACKED`]), and tells what it found. What could not be read at all is a finding, too. Rules stand in [`rules`], one place each; the sections
//! of specifications and the sources of firmware that they come from stand with them.

mod boot_code;
mod disk;
mod efi;
mod esp;
mod fat;
mod finding;
mod gpt;
mod initrd;
mod mbr;
mod partitions;
mod rule;
pub mod rules;
mod subject;
mod uki;

pub use disk::{disk, disk_within};
pub use efi::program;
pub use finding::{Finding, MOST_UNPACKED, Place, Report};
pub use initrd::initrd;
pub use rule::{Rule, Severity};
pub use subject::Subject;

#[cfg(test)]
mod tests;

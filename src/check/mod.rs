//! Checks disk images, unified kernel images and initrds against a table of rules.
//!
//! The input is untrusted. A check always ends, in time and memory bounded by the size of the file; unpacked initrds
//! have a separate limit, [`MOST_UNPACKED`]. Unreadable data is a finding, too. Each rule is defined once, in
//! [`rules`], with its harm, its remedy, and its source: a section of a specification or the code of firmware.

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

//! The table of rules.

pub mod efi;
pub mod fat;
pub mod gpt;
pub mod initrd;
pub mod mbr;

use super::Rule;

/// All rules, in the order in which a disk is read.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [mbr::ALL, gpt::ALL, fat::ALL, efi::ALL, initrd::ALL].into_iter().flatten()
}

/// The rule of this id.
pub fn by_id(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

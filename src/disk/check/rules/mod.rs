//! Rule table.

pub mod efi;
pub mod fat;
pub mod gpt;
pub mod initrd;
pub mod mbr;

use super::Rule;

/// Returns all rules, in disk order.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [mbr::ALL, gpt::ALL, fat::ALL, efi::ALL, initrd::ALL].into_iter().flatten()
}

/// Returns the rule with the identifier `id`.
pub fn by_id(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

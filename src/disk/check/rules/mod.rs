//! Rule table.

pub(crate) mod efi;
pub(crate) mod fat;
pub(crate) mod gpt;
pub(crate) mod initrd;
pub(crate) mod mbr;

use super::Rule;

/// Returns all rules, in disk order.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [mbr::ALL, gpt::ALL, fat::ALL, efi::ALL, initrd::ALL].into_iter().flatten()
}

/// Returns the rule with the identifier `id`.
pub fn by_id(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

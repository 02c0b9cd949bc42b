//! Disk images: specification, layout, image; stamping a boot sector; checking images against a table of rules.

pub mod build;
pub mod check;
pub mod container;
pub mod esp;
pub mod image;
pub mod layout;
pub mod mbr;
pub mod opened;
pub(crate) mod signature;
pub mod signing;
pub mod spec;
pub mod stamp;
pub mod uki;
pub mod volumes;

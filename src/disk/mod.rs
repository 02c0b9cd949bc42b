//! Disk images: specification, layout, image; stamping a boot sector; checking images against a table of rules.

pub mod check;
pub mod container;
pub mod esp;
pub mod plan;
pub mod signature;
pub mod signer;
pub mod spec;
pub mod stamp;
pub mod uki;
pub mod writer;

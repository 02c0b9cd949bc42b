//! Disk images: a planned layout filled with tables, an EFI system partition and a root partition, in any container.
//!
//! An image is a list of pieces ([`Extents`](crate::output::extents::Extents)), and so is every container around it.
//! File contents are read twice: for the digest that the GUIDs are derived from, and when the image is written.

pub mod assemble;
pub mod checksums;
pub(crate) mod fatfs_fixes;
pub(crate) mod memory;
pub mod output;
pub(crate) mod qcow2;
pub(crate) mod root;
pub(crate) mod runs;
pub(crate) mod vhd;
pub(crate) mod vmdk;
pub(crate) mod volume;
pub(crate) mod wrap;

pub use self::root::{RootContent, RootFsError, root_content};
pub use self::wrap::{TooLarge, contain};

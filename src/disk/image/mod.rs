//! Disk images: a planned layout filled with tables, an EFI system partition and a root partition, in any container.
//!
//! An image is a list of pieces ([`Extents`](crate::output::extents::Extents)); so is every container around it. Bytes are read once,
//! when the whole is written, and once before, for the names that come from them.

pub mod assemble;
pub mod checksums;
pub mod fatfs_fixes;
pub mod memory;
pub mod output;
pub mod qcow2;
pub mod root;
pub mod runs;
pub mod vhd;
pub mod vmdk;
pub mod volume;
pub mod wrap;

pub use self::assemble::{Image, ImageError, ImageSpec, image};
pub use self::checksums::write_sums;
pub use self::output::{EmitError, Emitted, emit};
pub use self::root::{RootContent, RootFsError, root_content};
pub use self::volume::{DosTime, VolumeError, VolumeSpec, volume};
pub use self::wrap::{TooLarge, contain};

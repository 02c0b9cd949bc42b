//! Disk images: a planned layout filled with tables, an EFI system partition and a root partition, in any container.
//!
//! An image is a list of pieces ([`Extents`](crate::output::extents::Extents)); so is every container around it. Bytes are read once,
//! when the whole is written, and once before, for the names that come from them.

pub mod canvas;
pub mod container;
pub mod emit;
pub mod image;
pub mod repair;
pub mod root;
pub mod sums;
pub mod volume;

pub use self::container::{TooLarge, contain};
pub use self::emit::{EmitError, Emitted, emit};
pub use self::image::{Image, ImageError, ImageSpec, image};
pub use self::root::{RootContent, RootFsError, root_content};
pub use self::sums::write_sums;
pub use self::volume::{DosTime, VolumeError, VolumeSpec, volume};

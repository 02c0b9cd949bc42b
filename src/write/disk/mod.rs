//! Disk images: a planned layout filled with tables, an EFI system partition and a root partition, in any container.
//!
//! An image is a list of pieces ([`Extents`](super::Extents)); so is every container around it. Bytes are read once,
//! when the whole is written, and once before, for the names that come from them.

mod canvas;
mod container;
mod emit;
mod image;
mod repair;
mod root;
mod sums;
mod volume;

pub use container::{TooLarge, contain};
pub use emit::{EmitError, Emitted, emit};
pub use image::{Image, ImageError, ImageSpec, image};
pub use root::{RootContent, RootFsError, root_content};
pub use sums::write_sums;
pub use volume::{DosTime, VolumeError, VolumeSpec, volume};

//! Writer for disk images: partition tables, an EFI system partition and a root partition in a planned layout, in any
//! container format.
//!
//! An image and its container are lists of [`Extents`](super::Extents). Source files are read twice: once to derive the
//! GUIDs from their contents, and once to write them.

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

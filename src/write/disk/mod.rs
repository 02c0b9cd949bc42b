//! Disk images: a planned layout filled with tables, an EFI system partition and a root partition, in any container.
//!
//! An image is a list of pieces ([`Extents`](super::Extents)); so is every container around it. Bytes are read once,
//! when the whole is written.

mod canvas;
mod repair;
mod volume;

pub use volume::{DosTime, VolumeError, VolumeSpec, volume};

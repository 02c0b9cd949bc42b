//! Reads FAT12, FAT16 and FAT32, the file systems of an EFI system partition.
//!
//! The geometry follows EDK2 (`FatPkg/EnhancedFatDxe/Init.c`), because EDK2 must boot the image. If EDK2 refuses a
//! volume that Linux reads, the reader accepts and reports it (`Geometry::has_too_few_clusters`). All bytes are untrusted:
//! chains that loop, cross or leave the volume, directories that contain themselves, and invalid boot sectors end in a
//! [`Fault`], in time bounded by the size of the volume. (Microsoft, "FAT32 File System Specification" 1.03; UEFI 2.11,
//! section 13.3.)

pub(crate) mod bpb;
pub(crate) mod chain;
pub(crate) mod directory;
pub(crate) mod name;
pub(crate) mod time;
pub(crate) mod tree;
pub(crate) mod volume;

pub use self::bpb::{Bpb, BpbFault, FAT16_FROM, FAT32_FROM, FatType, Geometry};
pub use self::tree::{MAX_ENTRIES, Node, Tree};
pub use self::volume::{Fault, Volume};

#[cfg(test)]
mod tests;

//! FAT12, FAT16 and FAT32, read: what firmware finds on an EFI system partition.
//!
//! Geometry is worked out as EDK2 does it (`FatPkg/EnhancedFatDxe/Init.c`), because that is what must start the image;
//! where EDK2 refuses and Linux reads on, we read on and say so ([`Geometry::starves_fat32`]). Bytes are untrusted:
//! chains that loop, cross or leave the volume, directories inside themselves and absurd boot sectors end in a
//! [`Fault`], after work that the size of the volume bounds. (Microsoft, "FAT32 File System Specification" 1.03; UEFI
//! 2.11, section 13.3.)

mod bpb;
mod chain;
mod directory;
mod name;
mod time;
mod tree;
mod volume;

pub use bpb::{Bpb, BpbFault, FAT16_FROM, FAT32_FROM, Geometry, Kind};
pub use chain::{Chain, ChainFault};
pub use directory::{Entry, ODDITY_LIMIT, Oddity};
pub use time::Stamp;
pub use tree::{MOST_ENTRIES, Node, Tree};
pub use volume::{Content, Fault, Volume};

#[cfg(test)]
mod tests;

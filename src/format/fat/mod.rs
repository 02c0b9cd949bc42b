//! FAT12, FAT16 and FAT32, read: what firmware finds on an EFI system partition.
//!
//! Geometry is worked out as EDK2 does it (`FatPkg/EnhancedFatDxe/Init.c`), because that is what must start the image;
//! where EDK2 refuses and Linux reads on, we read on and say so ([`Geometry::starves_fat32`]). Bytes are untrusted: chains
//! that loop, cross or leave the volume, directories inside themselves and absurd boot sectors end in a [`Fault`], after
//! work that the size of the volume bounds. (Microsoft, "FAT32 File System Specification" 1.03; UEFI 2.11, section 13.3.)

pub mod bpb;
pub mod chain;
pub mod directory;
pub mod name;
pub mod time;
pub mod tree;
pub mod volume;

pub use self::bpb::{Bpb, BpbFault, FAT16_FROM, FAT32_FROM, Geometry, Kind};
pub use self::chain::{Chain, ChainFault};
pub use self::directory::{Entry, ODDITY_LIMIT, Oddity};
pub use self::time::Stamp;
pub use self::tree::{MOST_ENTRIES, Node, Tree};
pub use self::volume::{Content, Fault, Volume};

#[cfg(test)]
mod tests;

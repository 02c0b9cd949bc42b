//! What stands on a PC's disks, as plain values: sectors, boot records, partition tables, FAT, PE, the boot sector's code.
//!
//! Everything here turns values into bytes and bytes into values. It opens nothing: bytes come from a [`Medium`], which is
//! a file, a container's inside, or a slice in a test. What is read is untrusted.

pub mod bootsector;
pub mod fat;
pub mod gpt;
mod guid;
pub mod mbr;
pub mod measure;
mod medium;
pub mod pe;
mod sector;
mod stream;
pub mod uki;
pub mod vhd;
mod window;

pub use guid::Guid;
pub use medium::Medium;
pub use sector::{Lba, SectorSize};
pub use stream::Stream;
pub use window::Window;

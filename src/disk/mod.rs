//! Data structures on PC disks as plain values: sectors, boot records, partition tables, FAT, PE, boot sector code.
//!
//! This module only converts between values and bytes, and opens no files. Bytes come from a [`Medium`]: a file, the
//! disk in a container, or a slice in a test. All input is untrusted.

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

//! What stands on a PC's disks, as plain values: sectors, boot records, partition tables, FAT, PE, the boot sector's code.
//!
//! Everything here turns values into bytes and bytes into values. It opens nothing: bytes come from a [`Medium`], which is
//! a file, a container's inside, or a slice in a test. What is read is untrusted.

pub mod amount;
pub mod archive_path;
pub mod compression;
pub mod dlopen_note;
pub mod duration;
pub mod elf;
#[cfg(test)]
pub mod elf_builder;
pub mod kernel;
pub mod ldcache;
pub mod modules;
pub mod newc;
pub mod pages;
pub mod protocol;
pub mod qcow2;
pub mod qcow2_writer;
pub mod script;
pub mod vmdk;

pub mod bootsector;
pub mod fat;
pub mod gpt;
pub mod guid;
pub mod mbr;
pub mod measure;
pub mod medium;
pub mod pe;
pub mod sector;
pub mod stream;
pub mod uki;
pub mod vhd;
pub mod window;

pub use self::guid::Guid;
pub use self::medium::Medium;
pub use self::sector::{Lba, SectorSize};
pub use self::stream::Stream;
pub use self::window::Window;

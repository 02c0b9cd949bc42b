//! File and disk formats: bytes to values and back. Pure: no paths are opened, no processes run.
//!
//! newc archives, compression, ELF, kernel images, kernel modules, the guest protocol, partition tables, boot records,
//! FAT, ISO 9660, PE and UKIs, qcow2, VHD, VMDK, the boot sector. All input is untrusted. Bytes come from a [`ReadAt`]: a
//! file, the disk in a container, or a slice in a test.

pub mod amount;
pub(crate) mod applets;
pub mod archive_path;
pub(crate) mod bytes;
pub mod compression;
pub(crate) mod content;
pub mod duration;
pub mod elf;
pub(crate) mod guest_text;
pub(crate) mod kernel;
pub mod ldcache;
pub(crate) mod lz4;
pub mod modules;
pub mod nbd;
pub mod newc;
pub mod protocol;
pub(crate) mod qcow2;
pub mod read_at;
pub(crate) mod script;

pub mod bootsector;
pub mod fat;
pub mod gpt;
pub(crate) mod guid;
pub mod iso9660;
pub mod mbr;
pub mod measure;
pub mod pe;
pub(crate) mod sector;
pub(crate) mod stream;
pub mod terminal_text;
pub mod uki;
pub mod vhd;
pub(crate) mod window;

pub use self::content::Content;
pub use self::guid::Guid;
pub use self::read_at::ReadAt;
pub use self::read_at::ReadAt as Medium;
pub use self::sector::{Lba, SectorSize};
pub use self::stream::Stream;
pub use self::window::Window;

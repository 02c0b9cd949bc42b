//! Reads ISO 9660, the file system of CDs, with its boot catalog.
//!
//! Volume descriptors and directories follow ECMA-119, names and links of Rock Ridge follow IEEE P1282 and P1281
//! (SUSP), Unicode names follow Joliet, boot catalogs follow "El Torito" 1.0 and UEFI 2.11, section 13.3.2. Refuses
//! interleaved files, and reads neither UDF nor the compressed files of zisofs. All bytes are untrusted: directories
//! that contain themselves and extents outside the medium end in a [`Fault`], in bounded time and memory.

pub mod descriptor;
pub mod directory;
pub mod el_torito;
pub mod fault;
mod rock_ridge;
pub mod tree;
pub mod volume;

pub use self::descriptor::{Descriptors, is_iso};
pub use self::directory::{Entry, EntryKind, RecordedTime};
pub use self::el_torito::{BootEntry, Emulation, Platform};
pub use self::fault::Fault;
pub use self::tree::{Node, Tree};
pub use self::volume::Volume;

#[cfg(test)]
mod tests;

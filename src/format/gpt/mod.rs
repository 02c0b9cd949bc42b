//! GUID partition tables (UEFI 2.11, section 5.3): header and entries, in two copies on a disk.
//!
//! The `gpt` crate (4.1) is not used because it renumbers tables with gaps, always puts the entries at LBA 2, which is
//! impossible with tables for two sector sizes, does not verify the checksum of the entries, and panics on an entry
//! size other than 128. Tests compare against it.

pub mod header;
pub mod partition;
pub mod table;

pub use self::header::{Header, HeaderFault};
pub use self::partition::{ENTRY_SIZE, Partition};
pub use self::table::{Copy, EntriesFault, Fault, Gpt, Placed, probe, read};

//! GUID partition tables (UEFI 2.11, section 5.3): header and entries, twice on a disk.
//!
//! Ours rather than the `gpt` crate's because of what it cannot do (4.1): it renumbers tables with gaps, puts the entries
//! always at LBA 2, which a table for two sector sizes cannot have, checks no checksum of the entries, and panics on an
//! entry size other than 128. In tests it is the second opinion.

pub mod header;
pub mod partition;
pub mod table;

pub use self::header::{Header, HeaderFault};
pub use self::partition::{ENTRY_SIZE, Partition};
pub use self::table::{Copy, EntriesFault, Fault, Gpt, Placed, probe, read};

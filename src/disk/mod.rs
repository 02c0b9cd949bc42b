//! Data structures on PC disks as plain values: sectors, boot records, partition tables, FAT, PE, boot sector code.
//!
//! This module only converts between values and bytes, and opens no files. Bytes come from a [`Medium`]: a file, the
//! disk in a container, or a slice in a test. All input is untrusted.

pub mod check;
pub mod container;
pub mod esp;
pub mod plan;
pub mod signature;
pub mod signer;
pub mod spec;
pub mod stamp;
pub mod uki;
pub mod writer;

//! EFI programs (PE32 and PE32+): parse untrusted files, add sections, compute digests, attach signatures.
//!
//! PE/COFF: Microsoft's "PE Format" (learn.microsoft.com/windows/win32/debug/pe-format); the digest and the certificate
//! table: "Windows Authenticode Portable Executable Signature Format" 1.0 and UEFI 2.11 §32.5.3. Firmware:
//! EDK2 `MdePkg/Library/BasePeCoffLib` and `SecurityPkg/Library/DxeImageVerificationLib`. Refuses truncated
//! headers, sections outside the file, and alignments that are not powers of two.

pub mod append;
pub(crate) mod authenticode;
#[cfg(test)]
pub(crate) mod builder;
pub(crate) mod certificate;
pub(crate) mod headers;
pub(crate) mod machine;
pub mod pkcs7;

pub use self::append::{Appended, MOST, NewSection, append};
pub use self::authenticode::{Digested, Tail, authenticode_ranges, digest};
pub use self::certificate::{Attached, Certificates, attach};
pub use self::headers::{Directory, Pe, Section};
pub use self::machine::Machine;

/// Error from reading or changing a PE file.
#[derive(Debug, thiserror::Error)]
pub enum PeError {
    /// The file cannot be read.
    #[error("failed to read {length} bytes at offset {offset:#x}")]
    Io {
        /// File offset.
        offset: u64,
        /// Number of bytes.
        length: usize,
        /// Error from the medium.
        source: std::io::Error,
    },
    /// The file is not a PE file.
    #[error("not a PE file: {what} at offset {offset:#x}")]
    NotPe {
        /// The fault.
        what: &'static str,
        /// File offset of the fault.
        offset: u64,
    },
    /// The file is truncated, or a pointer is outside the file.
    #[error("{what} at offset {offset:#x} ({length} bytes) extends past the end of the file ({size} bytes)")]
    Beyond {
        /// Expected part of the file.
        what: String,
        /// File offset of that part.
        offset: u64,
        /// Length of that part in bytes.
        length: u64,
        /// Length of the file in bytes.
        size: u64,
    },
    /// A field has an invalid value.
    #[error("{field} at offset {offset:#x} is {value:#x}: {rule}")]
    Field {
        /// Name of the field in the specification.
        field: &'static str,
        /// File offset of the field.
        offset: u64,
        /// Value of the field.
        value: u64,
        /// Constraint on the value.
        rule: &'static str,
    },
    /// Two parts of the file overlap.
    #[error("{one} and {other} overlap at offset {offset:#x}")]
    Overlap {
        /// First part.
        one: String,
        /// Part that starts inside the first one.
        other: String,
        /// File offset where the second part starts.
        offset: u64,
    },
    /// The file is signed, and a change would invalidate the signature.
    #[error("signed file (certificate table of {size} bytes at {offset:#x}): new sections would break the signature")]
    Signed {
        /// File offset of the certificate table.
        offset: u64,
        /// Length of the certificate table in bytes.
        size: u64,
    },
    /// The section table has too little room.
    #[error("no room for {wanted} more sections: table ends at {end:#x}, offset {limit:#x} is in use, room for {fit}")]
    NoRoom {
        /// Number of requested sections.
        wanted: usize,
        /// Number of sections that fit.
        fit: usize,
        /// Current end of the section table.
        end: u64,
        /// Start of the data that follows.
        limit: u64,
    },
    /// The section cannot be added.
    #[error("cannot add section {name:?}: {why}")]
    Section {
        /// Section name.
        name: String,
        /// Reason.
        why: &'static str,
    },
    /// The file is too large for firmware.
    #[error("file too large with {what}: {size} bytes, firmware loads at most {MOST}")]
    TooBig {
        /// Part that exceeds the limit.
        what: String,
        /// Resulting size in bytes.
        size: u64,
    },
    /// Data after the sections would be lost.
    #[error("{length} bytes at offset {offset:#x} are not in any section")]
    Stray {
        /// File offset of the data.
        offset: u64,
        /// Length of the data in bytes.
        length: u64,
    },
}

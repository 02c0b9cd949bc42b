//! EFI programs: PE32 and PE32+ files, read from untrusted bytes, extended by sections, digested and signed.
//!
//! PE/COFF: Microsoft's "PE Format" (learn.microsoft.com/windows/win32/debug/pe-format); the digest and the certificate
//! table: "Windows Authenticode Portable Executable Signature Format" 1.0 and UEFI 2.11 §32.5.3. What firmware makes of
//! them: EDK2 `MdePkg/Library/BasePeCoffLib` and `SecurityPkg/Library/DxeImageVerificationLib`. Refuses files that end
//! before their headers do, sections outside the file, and alignments that are no powers of two.

mod append;
mod authenticode;
#[cfg(test)]
pub(crate) mod builder;
mod certificate;
mod headers;
mod machine;
pub mod pkcs7;

pub use append::{Appended, MOST, NewSection, append};
pub use authenticode::{Digested, Tail, authenticode_ranges, digest};
pub use certificate::{Attached, Certificates, attach};
pub use headers::{Directory, Pe, Section};
pub use machine::Machine;

/// Bytes that are no PE file, or none that can be worked on.
#[derive(Debug, thiserror::Error)]
pub enum PeError {
    /// They could not be read.
    #[error("reading {length} bytes at {offset:#x}")]
    Io {
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        length: usize,
        /// What the medium said.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error("no PE file: {what} at offset {offset:#x}")]
    NotPe {
        /// What is missing.
        what: &'static str,
        /// Where it was looked for.
        offset: u64,
    },
    /// A file cut short, or a pointer that leads out of it.
    #[error("{what} at offset {offset:#x}, {length} bytes, goes beyond the end of the file ({size} bytes)")]
    Beyond {
        /// What should be there.
        what: String,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
        /// Length of the file.
        size: u64,
    },
    /// A field with a value that makes no sense.
    #[error("{field} at offset {offset:#x} is {value:#x}: {rule}")]
    Field {
        /// The field, by its name in the specification.
        field: &'static str,
        /// Where it stands.
        offset: u64,
        /// What it says.
        value: u64,
        /// What it has to be.
        rule: &'static str,
    },
    /// Two parts of the file that claim the same bytes.
    #[error("{one} and {other} overlap at offset {offset:#x}")]
    Overlap {
        /// The part that comes first.
        one: String,
        /// The part that begins inside it.
        other: String,
        /// Where that is.
        offset: u64,
    },
    /// It carries a signature, which every change breaks.
    #[error(
        "it is signed (certificate table of {size} bytes at offset {offset:#x}): adding sections would break the signature"
    )]
    Signed {
        /// Where the certificates begin.
        offset: u64,
        /// Their length.
        size: u64,
    },
    /// No room for more section headers.
    #[error(
        "{wanted} more sections do not fit: the section table ends at {end:#x} and {limit:#x} is taken, which leaves room for {fit}"
    )]
    NoRoom {
        /// How many were asked for.
        wanted: usize,
        /// How many there is room for.
        fit: usize,
        /// Where the table ends now.
        end: u64,
        /// Where something else begins.
        limit: u64,
    },
    /// A section that cannot be added.
    #[error("adding section {name:?}: {why}")]
    Section {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More than firmware loads.
    #[error("with {what} it would have {size} bytes; firmware loads less than 2 GiB ({MOST} bytes)")]
    TooBig {
        /// What made it so big.
        what: String,
        /// How much it would be.
        size: u64,
    },
    /// Something behind the sections that nobody would find again.
    #[error("{length} bytes at offset {offset:#x} belong to no section")]
    Stray {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        length: u64,
    },
}

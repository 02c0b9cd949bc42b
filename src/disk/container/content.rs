//! Detects the format of an image file by its first and last bytes.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::format::compression::Compression;
use crate::format::vhd::{COOKIE, FOOTER};

/// Format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Raw disk content; also the fallback if no signature matches.
    Raw,
    /// A qcow2 image of version 2 or 3.
    Qcow2,
    /// A fixed VHD: the disk content, followed by a footer.
    Vhd,
    /// A compressed file; its content is not examined.
    Compressed(Compression),
    /// A container format that is not supported, by name.
    Foreign(&'static str),
}

/// Length of the file head that contains every signature, in bytes.
const HEAD: usize = 72;

impl Content {
    /// Detects the format of a file of `length` bytes.
    pub(crate) fn detect(file: &File, length: u64) -> io::Result<Self> {
        let mut head = [0; HEAD];
        let there = usize::try_from(length).unwrap_or(HEAD).min(HEAD);
        file.read_exact_at(&mut head[..there], 0)?;
        if let Some(content) = Self::by_head(&head) {
            return Ok(content);
        }
        let mut tail = [0; COOKIE.len()];
        if let Some(footer) = length.checked_sub(FOOTER as u64) {
            file.read_exact_at(&mut tail, footer)?;
        }
        Ok(if tail == *COOKIE { Self::Vhd } else { Self::Raw })
    }

    /// Detects the format by the first bytes only.
    pub(crate) fn by_head(head: &[u8]) -> Option<Self> {
        let known: [(usize, &[u8], Self); 11] = [
            (0, b"QFI\xfb\0\0\0\x02", Self::Qcow2),
            (0, b"QFI\xfb\0\0\0\x03", Self::Qcow2),
            (0, b"QFI\xfb\0\0\0\x01", Self::Foreign("qcow version 1")),
            (0, b"QED\0", Self::Foreign("QED")),
            (0, b"KDMV", Self::Foreign("VMDK")),
            (0, b"COWD", Self::Foreign("VMDK")),
            (0, b"# Disk DescriptorFile", Self::Foreign("VMDK")),
            (0, b"vhdxfile", Self::Foreign("VHDX")),
            (64, b"\x7f\x10\xda\xbe", Self::Foreign("VDI")),
            (0, COOKIE, Self::Foreign("dynamic VHD")),
            (0, b"PK\x03\x04", Self::Foreign("ZIP")),
        ];
        let begins = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
        if let Some((_, _, content)) = known.iter().find(|(at, magic, _)| begins(*at, magic)) {
            return Some(*content);
        }
        // Formats without checksums also have short magic numbers, which disk content may start with.
        let compression = Some(Compression::detect(head))
            .filter(|found| *found != Compression::None && found.properties().has_checksum)?;
        Some(if compression.is_readable() { Self::Compressed(compression) } else { Self::Foreign(compression.name()) })
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "VHD",
            Self::Compressed(compression) => compression.name(),
            Self::Foreign(name) => name,
        })
    }
}

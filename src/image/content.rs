//! What a file is, by its first bytes and its last: a disk's own bytes, or one of the containers that have a name.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A disk's bytes and nothing else, which is what is left where nothing else fits.
    Raw,
    /// A qcow2 image of version 2 or 3.
    Qcow2,
    /// A VHD whose bytes are the disk's, and a footer.
    Vhd,
    /// Something compressed; its inside is not looked at.
    Compressed(Squeeze),
    /// A container that cannot be looked into here, by name.
    Foreign(&'static str),
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Squeeze {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

/// Bytes of a VHD's footer.
const FOOTER: u64 = 512;
/// What it begins with.
const COOKIE: &[u8] = b"conectix";
/// Bytes that every signature is within.
const HEAD: usize = 72;

impl Content {
    /// Looks at a file of `length` bytes.
    pub fn detect(file: &File, length: u64) -> io::Result<Self> {
        let mut head = [0; HEAD];
        let there = usize::try_from(length).unwrap_or(HEAD).min(HEAD);
        file.read_exact_at(&mut head[..there], 0)?;
        if let Some(content) = by_head(&head) {
            return Ok(content);
        }
        let mut tail = [0; 8];
        if let Some(footer) = length.checked_sub(FOOTER) {
            file.read_exact_at(&mut tail, footer)?;
        }
        Ok(if tail == COOKIE { Self::Vhd } else { Self::Raw })
    }
}

/// What the first bytes alone tell.
fn by_head(head: &[u8; HEAD]) -> Option<Content> {
    let known: [(usize, &[u8], Content); 13] = [
        (0, b"QFI\xfb\0\0\0\x02", Content::Qcow2),
        (0, b"QFI\xfb\0\0\0\x03", Content::Qcow2),
        (0, b"QFI\xfb\0\0\0\x01", Content::Foreign("qcow of version 1")),
        (0, b"QED\0", Content::Foreign("QED")),
        (0, b"KDMV", Content::Foreign("VMDK")),
        (0, b"COWD", Content::Foreign("VMDK")),
        (0, b"# Disk DescriptorFile", Content::Foreign("VMDK")),
        (0, b"vhdxfile", Content::Foreign("VHDX")),
        (64, b"\x7f\x10\xda\xbe", Content::Foreign("VDI")),
        (0, COOKIE, Content::Foreign("dynamic VHD")),
        (0, &[0x1f, 0x8b], Content::Compressed(Squeeze::Gzip)),
        (0, b"\xfd7zXZ\0", Content::Compressed(Squeeze::Xz)),
        (0, &[0x28, 0xb5, 0x2f, 0xfd], Content::Compressed(Squeeze::Zstd)),
    ];
    known.iter().find(|(at, magic, _)| head[*at..].starts_with(magic)).map(|(_, _, content)| *content)
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "VHD",
            Self::Compressed(squeeze) => return write!(f, "{squeeze}"),
            Self::Foreign(name) => name,
        })
    }
}

impl fmt::Display for Squeeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

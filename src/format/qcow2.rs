//! The header of a qcow2 image (QEMU, `docs/interop/qcow2.txt`), checked before anything else reads the image.
//!
//! Refused is what imago cannot read, what is said to be damaged, and what claims sizes that QEMU would not take either:
//! so nothing large is allocated and nothing outside the file is looked at. The way to the first cluster is checked as
//! well, since that is the one which is written.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

/// Bytes of the header of version 3, as far as everybody knows it.
const LENGTH: usize = 104;
/// QEMU's own limits (`block/qcow2.h`).
const MOST_L1_BYTES: u64 = 32 << 20;
const MOST_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MOST_NAME: u32 = 1023;
/// The extension that tells the backing file's format.
const BACKING_FORMAT: u32 = 0xE279_2ACA;
/// Bits of a table's entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit of an L2 entry: compressed.
const COMPRESSED: u64 = 1 << 62;

/// What has to be known of an image before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the disk.
    pub disk_bytes: u64,
    /// The image this one is laid over.
    pub backing: Option<Backing>,
    /// Whether it has dirty bitmaps, which a writer that does not know them spoils.
    pub bitmaps: bool,
}

/// The image below an overlay, as the overlay names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// Its name.
    pub name: OsString,
    /// Its format: `raw`, `qcow2`; where it is not told, everybody would have to guess.
    pub format: Option<String>,
}

/// Why an image is not opened.
#[derive(Debug, thiserror::Error)]
pub enum HeaderFault {
    /// It cannot be read.
    #[error("reading byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// What the host said.
        source: io::Error,
    },
    /// It uses what is not known here.
    #[error("{0}, which cannot be read here")]
    Unsupported(String),
    /// QEMU marked it.
    #[error("it is marked as {0}")]
    Marked(&'static str),
    /// It makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

impl HeaderFault {
    /// What might be done about it, for the image `name`.
    pub fn advice(&self, name: &str) -> Option<String> {
        match self {
            Unsupported(_) => Some(format!("make another of it: qemu-img convert -O qcow2 {name} {name}.new")),
            Marked(_) => Some(format!("see what is wrong, and mend it: qemu-img check -r all {name}")),
            Self::Read { .. } | Nonsense(_) => None,
        }
    }
}

use HeaderFault::{Marked, Nonsense, Unsupported};

/// Numbers of the header, and where they point.
struct Raw<'a> {
    file: &'a File,
    length: u64,
    bytes: [u8; LENGTH],
}

impl Raw<'_> {
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    fn long(&self, at: usize) -> u64 {
        u64::from(self.word(at)) << 32 | u64::from(self.word(at + 4))
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), HeaderFault> {
        self.file.read_exact_at(buffer, offset).map_err(|source| HeaderFault::Read { offset, source })
    }

    fn entry(&self, offset: u64) -> Result<u64, HeaderFault> {
        let mut bytes = [0; 8];
        self.read(&mut bytes, offset)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// A table of the file: whole clusters begin it, and it ends before the file does.
    fn table(&self, what: &str, offset: u64, bytes: u64, most: u64, cluster: u64) -> Result<Span, HeaderFault> {
        if bytes > most {
            return Err(Nonsense(format!("its {what} has {bytes} bytes, but QEMU takes {most} at most")));
        }
        let end = offset.checked_add(bytes).filter(|end| *end <= self.length);
        match end {
            Some(end) if offset.is_multiple_of(cluster) && (offset > 0 || bytes == 0) => Ok(Span { offset, end }),
            _ => {
                Err(Nonsense(format!("its {what} of {bytes} bytes is said to begin at byte {offset}, where none can")))
            }
        }
    }
}

/// Bytes of the file that are taken.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    end: u64,
}

/// Reads and checks the header of an image whose file has `length` bytes.
pub fn read(file: &File, length: u64) -> Result<Header, HeaderFault> {
    let mut raw = Raw { file, length, bytes: [0; LENGTH] };
    let mut bytes = [0; LENGTH];
    // Version 2 is shorter, but no image is.
    raw.read(&mut bytes, 0)?;
    raw.bytes = bytes;
    let cluster = features(&raw)?;
    let disk_bytes = raw.long(24);
    let l1_bytes = u64::from(raw.word(36)) * 8;
    let l1 = raw.table("L1 table", raw.long(40), l1_bytes, MOST_L1_BYTES, cluster)?;
    let refcounts = u64::from(raw.word(56)).saturating_mul(cluster);
    let refcounts = raw.table("refcount table", raw.long(48), refcounts, MOST_REFCOUNT_TABLE_BYTES, cluster)?;
    if refcounts.offset == refcounts.end {
        return Err(Nonsense("it has no refcount table".into()));
    }
    // An entry of the L1 table is for as many clusters as an L2 table has entries.
    let covered = u128::from(l1_bytes / 8) * u128::from(cluster / 8) * u128::from(cluster);
    if u128::from(disk_bytes) > covered {
        return Err(Nonsense(format!("its L1 table is too short for a disk of {disk_bytes} bytes")));
    }
    first_cluster(&raw, cluster, l1, refcounts)?;
    let bitmaps = raw.word(4) >= 3 && raw.long(88) & 1 != 0;
    Ok(Header { disk_bytes, backing: backing(&raw, cluster)?, bitmaps })
}

/// Refuses what cannot be read; gives the size of a cluster.
fn features(raw: &Raw<'_>) -> Result<u64, HeaderFault> {
    let version = raw.word(4);
    if !raw.bytes.starts_with(b"QFI\xfb") || !(2..=3).contains(&version) {
        return Err(Nonsense("it is no qcow2 image of version 2 or 3".into()));
    }
    match raw.word(32) {
        0 => {}
        1 => return Err(Unsupported("it is encrypted (AES)".into())),
        2 => return Err(Unsupported("it is encrypted (LUKS)".into())),
        method => return Err(Unsupported(format!("it is encrypted by method {method}"))),
    }
    let bits = raw.word(20);
    if !(9..=21).contains(&bits) {
        return Err(Nonsense(format!("its clusters have 2^{bits} bytes, but 2^9 to 2^21 are possible")));
    }
    let cluster = 1_u64 << bits;
    if version < 3 {
        return Ok(cluster);
    }
    let features = raw.long(72);
    let known = ["in use, or not closed properly", "corrupt"];
    if let Some((_, what)) = (0..).zip(known).find(|(bit, _)| features & 1 << bit != 0) {
        return Err(Marked(what));
    }
    let unknown =
        ["its data is in another file", "it is compressed by zstd", "it has extended L2 entries (subclusters)"];
    if let Some((_, what)) = (2..).zip(unknown).find(|(bit, _)| features & 1 << bit != 0) {
        return Err(Unsupported(what.into()));
    }
    if features != 0 {
        return Err(Unsupported(format!("it has features of a later QEMU ({features:#x})")));
    }
    if raw.word(96) > 6 {
        return Err(Nonsense(format!("its refcounts have 2^{} bits, but 2^6 are the most", raw.word(96))));
    }
    let own = u64::from(raw.word(100));
    if own < LENGTH as u64 || own > cluster {
        return Err(Nonsense(format!("its header is said to have {own} bytes")));
    }
    Ok(cluster)
}

/// Follows the tables to the cluster with the disk's first sector: it must be in the file, and nobody else's.
fn first_cluster(raw: &Raw<'_>, cluster: u64, l1: Span, refcounts: Span) -> Result<(), HeaderFault> {
    if l1.offset == l1.end {
        return Ok(());
    }
    let header = Span { offset: 0, end: cluster };
    let place = |what: &str, offset: u64, taken: &[Span]| {
        let end = offset.checked_add(cluster).filter(|_| offset.is_multiple_of(cluster) && offset < raw.length);
        match end {
            Some(end) if !taken.iter().any(|span| offset < span.end && span.offset < end) => Ok(Span { offset, end }),
            _ => Err(Nonsense(format!("its {what} is said to be at byte {offset}, where it cannot be"))),
        }
    };
    let table = raw.entry(l1.offset)? & OFFSET;
    if table == 0 {
        return Ok(());
    }
    let table = place("first L2 table", table, &[header, l1, refcounts])?;
    let entry = raw.entry(table.offset)?;
    if entry & COMPRESSED != 0 || entry & OFFSET == 0 {
        return Ok(());
    }
    place("first cluster of data", entry & OFFSET, &[header, l1, refcounts, table]).map(drop)
}

/// The backing file's name, and its format from the header's extensions.
fn backing(raw: &Raw<'_>, cluster: u64) -> Result<Option<Backing>, HeaderFault> {
    let (offset, size) = (raw.long(8), raw.word(16));
    if offset == 0 {
        return Ok(None);
    }
    let inside = offset.checked_add(u64::from(size)).is_some_and(|end| end <= cluster);
    if size == 0 || size > MOST_NAME || !inside {
        return Err(Nonsense(format!("the name of its backing file is said to have {size} bytes at byte {offset}")));
    }
    let mut name = vec![0; size as usize];
    raw.read(&mut name, offset)?;
    let mut at = if raw.word(4) < 3 { 72 } else { u64::from(raw.word(100)) };
    let mut format = None;
    // Each step goes on by 8 bytes at least, so this ends with the cluster.
    while at + 8 <= cluster.min(offset) {
        let both = raw.entry(at)?;
        let (kind, length) = ((both >> 32) as u32, both & 0xffff_ffff);
        if kind == 0 || length > cluster - at - 8 {
            break;
        }
        if kind == BACKING_FORMAT && length < 64 {
            let mut word = vec![0; length as usize];
            raw.read(&mut word, at + 8)?;
            format = Some(String::from_utf8_lossy(&word).into_owned());
        }
        at += 8 + length.next_multiple_of(8);
    }
    Ok(Some(Backing { name: OsString::from_vec(name), format }))
}

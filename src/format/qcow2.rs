//! Reads and checks the header of a qcow2 image (QEMU, `docs/interop/qcow2.txt`), before imago opens the image.
//!
//! Refuses features that imago does not support, images marked as damaged, and sizes that QEMU refuses, too. So nothing
//! large is allocated and no read is outside the file. Also checks the tables that lead to the first cluster, because
//! that cluster is written.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

/// Minimum length of a version 3 header, in bytes.
const LENGTH: usize = 104;
/// Limits of QEMU (`block/qcow2.h`).
const MOST_L1_BYTES: u64 = 32 << 20;
const MOST_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
const MOST_NAME: u32 = 1023;
/// Header extension with the format of the backing file.
const BACKING_FORMAT: u32 = 0xE279_2ACA;
/// Offset bits of a table entry.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Flag of an L2 entry: compressed cluster.
const COMPRESSED: u64 = 1 << 62;

/// Header fields that decide whether and how an image is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Disk size in bytes.
    pub(crate) disk_bytes: u64,
    /// Backing file of an overlay.
    pub(crate) backing: Option<Backing>,
    /// True if the image has dirty bitmaps, which a writer without support for them invalidates.
    pub(crate) bitmaps: bool,
}

/// Backing file, as the overlay names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backing {
    /// File name.
    pub(crate) name: OsString,
    /// Format: `raw` or `qcow2`; `None` if the overlay does not declare one.
    pub(crate) format: Option<String>,
}

/// Reason to refuse an image.
#[derive(Debug, thiserror::Error)]
pub enum HeaderFault {
    /// The file cannot be read.
    #[error("failed to read byte {offset}")]
    Read {
        /// Byte offset in the file.
        offset: u64,
        /// Error from the operating system.
        source: io::Error,
    },
    /// The image uses an unsupported feature.
    #[error("unsupported feature: {0}")]
    Unsupported(String),
    /// QEMU has marked the image.
    #[error("marked as {0}")]
    Marked(&'static str),
    /// The header or a table is invalid.
    #[error("{0}")]
    Invalid(String),
}

impl HeaderFault {
    /// Returns advice for the user of the image `name`, if there is any.
    pub(crate) fn advice(&self, name: &str) -> Option<String> {
        match self {
            Unsupported(_) => Some(format!("convert it: qemu-img convert -O qcow2 {name} {name}.new")),
            Marked(_) => Some(format!("check and repair it: qemu-img check -r all {name}")),
            Self::Read { .. } | Invalid(_) => None,
        }
    }
}

use HeaderFault::{Invalid, Marked, Unsupported};

/// Raw header, and the file that its offsets refer to.
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

    /// Returns the range of a table, which must be aligned to clusters and within the file.
    fn table(&self, what: &str, offset: u64, bytes: u64, most: u64, cluster: u64) -> Result<Span, HeaderFault> {
        if bytes > most {
            return Err(Invalid(format!("{what} of {bytes} bytes exceeds the limit of QEMU, {most}")));
        }
        let end = offset.checked_add(bytes).filter(|end| *end <= self.length);
        match end {
            Some(end) if offset.is_multiple_of(cluster) && (offset > 0 || bytes == 0) => Ok(Span { offset, end }),
            _ => Err(Invalid(format!("{what} of {bytes} bytes: invalid offset {offset}"))),
        }
    }
}

/// Used range of the file.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    end: u64,
}

/// Reads and checks the header of an image whose file has `length` bytes.
pub(crate) fn read(file: &File, length: u64) -> Result<Header, HeaderFault> {
    let mut raw = Raw { file, length, bytes: [0; LENGTH] };
    let mut bytes = [0; LENGTH];
    // A version 2 header is shorter, but the image is not.
    raw.read(&mut bytes, 0)?;
    raw.bytes = bytes;
    let cluster = features(&raw)?;
    let disk_bytes = raw.long(24);
    let l1_bytes = u64::from(raw.word(36)) * 8;
    let l1 = raw.table("L1 table", raw.long(40), l1_bytes, MOST_L1_BYTES, cluster)?;
    let refcounts = u64::from(raw.word(56)).saturating_mul(cluster);
    let refcounts = raw.table("refcount table", raw.long(48), refcounts, MOST_REFCOUNT_TABLE_BYTES, cluster)?;
    if refcounts.offset == refcounts.end {
        return Err(Invalid("no refcount table".into()));
    }
    // An L1 entry covers as many clusters as an L2 table has entries.
    let covered = u128::from(l1_bytes / 8) * u128::from(cluster / 8) * u128::from(cluster);
    if u128::from(disk_bytes) > covered {
        return Err(Invalid(format!("L1 table is too short for a disk of {disk_bytes} bytes")));
    }
    first_cluster(&raw, cluster, l1, refcounts)?;
    let bitmaps = raw.word(4) >= 3 && raw.long(88) & 1 != 0;
    Ok(Header { disk_bytes, backing: backing(&raw, cluster)?, bitmaps })
}

/// Refuses unsupported features; returns the cluster size in bytes.
fn features(raw: &Raw<'_>) -> Result<u64, HeaderFault> {
    let version = raw.word(4);
    if !raw.bytes.starts_with(b"QFI\xfb") || !(2..=3).contains(&version) {
        return Err(Invalid("not a qcow2 image of version 2 or 3".into()));
    }
    match raw.word(32) {
        0 => {}
        1 => return Err(Unsupported("encryption (AES)".into())),
        2 => return Err(Unsupported("encryption (LUKS)".into())),
        method => return Err(Unsupported(format!("encryption (method {method})"))),
    }
    let bits = raw.word(20);
    if !(9..=21).contains(&bits) {
        return Err(Invalid(format!("cluster size of 2^{bits} bytes out of range (2^9 to 2^21)")));
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
    let unknown = ["external data file", "zstd compression", "extended L2 entries (subclusters)"];
    if let Some((_, what)) = (2..).zip(unknown).find(|(bit, _)| features & 1 << bit != 0) {
        return Err(Unsupported(what.into()));
    }
    if features != 0 {
        return Err(Unsupported(format!("features of a later QEMU ({features:#x})")));
    }
    if raw.word(96) > 6 {
        return Err(Invalid(format!("refcount width of 2^{} bits exceeds 2^6", raw.word(96))));
    }
    let own = u64::from(raw.word(100));
    if own < LENGTH as u64 || own > cluster {
        return Err(Invalid(format!("invalid header length {own}")));
    }
    Ok(cluster)
}

/// Follows the tables to the cluster with the first sector: it must be in the file and overlap no metadata.
fn first_cluster(raw: &Raw<'_>, cluster: u64, l1: Span, refcounts: Span) -> Result<(), HeaderFault> {
    if l1.offset == l1.end {
        return Ok(());
    }
    let header = Span { offset: 0, end: cluster };
    let place = |what: &str, offset: u64, taken: &[Span]| {
        let end = offset.checked_add(cluster).filter(|_| offset.is_multiple_of(cluster) && offset < raw.length);
        match end {
            Some(end) if !taken.iter().any(|span| offset < span.end && span.offset < end) => Ok(Span { offset, end }),
            _ => Err(Invalid(format!("{what}: invalid offset {offset}"))),
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

/// Returns the name of the backing file, and its format from the header extensions.
fn backing(raw: &Raw<'_>, cluster: u64) -> Result<Option<Backing>, HeaderFault> {
    let (offset, size) = (raw.long(8), raw.word(16));
    if offset == 0 {
        return Ok(None);
    }
    let inside = offset.checked_add(u64::from(size)).is_some_and(|end| end <= cluster);
    if size == 0 || size > MOST_NAME || !inside {
        return Err(Invalid(format!("backing file name of {size} bytes: invalid offset {offset} or length")));
    }
    let mut name = vec![0; size as usize];
    raw.read(&mut name, offset)?;
    let mut at = if raw.word(4) < 3 { 72 } else { u64::from(raw.word(100)) };
    let mut format = None;
    // Each step advances by at least 8 bytes, so the loop ends within the cluster.
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

//! Directory records (ECMA-119, section 9.1).

use std::fmt;

use super::fault::Fault;
use super::rock_ridge::{Extension, extensions};
use crate::format::Medium;
use crate::format::bytes::le32;

/// Length of a record without its name.
const RECORD: usize = 33;
/// Flag bits.
const DIRECTORY: u8 = 0x02;
const MULTI_EXTENT: u8 = 0x80;
/// Records never cross the boundary of a sector; the rest of a sector is zero.
const SECTOR: usize = 2048;

/// File, directory or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name: that of Rock Ridge, or of Joliet, or the plain one without its version.
    pub name: String,
    /// Type.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Extents: first logical block and length in bytes.
    pub extents: Vec<(u32, u32)>,
    /// Time of the last change.
    pub modified: RecordedTime,
    /// True if the file is interleaved with others, which is not supported.
    pub interleaved: bool,
}

/// Type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this path.
    Link(String),
}

/// Date and time as recorded, in the time zone of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordedTime([u8; 7]);

impl fmt::Display for RecordedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, day, hour, minute, ..] = self.0;
        write!(f, "{:04}-{month:02}-{day:02} {hour:02}:{minute:02}", 1900 + u16::from(year))
    }
}

/// Storage form of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Up to 31 characters and a version.
    Plain,
    /// UCS-2.
    Joliet,
    /// Rock Ridge; the system use fields start after this number of bytes.
    RockRidge(usize),
}

/// Decodes the bytes of a directory. `medium` contains the continuations of system use fields, in blocks of `block`
/// bytes.
pub(super) fn decode(bytes: &[u8], names: Names, medium: &impl Medium, block: u64) -> Result<Vec<Entry>, Fault> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut continues = false;
    let mut at = 0;
    while let Some(length) = bytes.get(at).copied().map(usize::from) {
        if length == 0 {
            at = (at / SECTOR + 1) * SECTOR;
            continue;
        }
        let record = bytes.get(at..at + length).filter(|record| record.len() > RECORD);
        let record = record.ok_or(Fault::Record { offset: at as u64, length })?;
        at += length;
        let Some((entry, more)) = decode_record(record, names, medium, block)? else { continue };
        match entries.last_mut().filter(|_| continues) {
            Some(last) => {
                last.size = last.size.saturating_add(entry.size);
                last.extents.extend(entry.extents);
            }
            None => entries.push(entry),
        }
        continues = more;
    }
    Ok(entries)
}

/// Decodes a record. Returns the entry, and true if the next record continues the file; `None` for `.`, `..` and
/// directories that Rock Ridge has moved elsewhere.
fn decode_record(
    record: &[u8],
    names: Names,
    medium: &impl Medium,
    block: u64,
) -> Result<Option<(Entry, bool)>, Fault> {
    let flags = record[25];
    let length = usize::from(record[32]);
    let name = record.get(RECORD..RECORD + length).ok_or(Fault::Record { offset: 0, length })?;
    if matches!(name, [0 | 1]) {
        return Ok(None);
    }
    let extension = match names {
        Names::RockRidge(skip) => {
            let start = (RECORD + length).next_multiple_of(2) + skip;
            extensions(record.get(start..).unwrap_or_default(), medium, block)?
        }
        Names::Plain | Names::Joliet => Extension::default(),
    };
    if extension.moved {
        return Ok(None);
    }
    let start = le32(record, 2).saturating_add(record[1].into());
    let (size, extents) = match extension.child {
        // A directory that is deeper than eight levels is stored elsewhere; its own record has its length.
        Some(child) => (0, vec![(child, 0)]),
        None => (u64::from(le32(record, 10)), vec![(start, le32(record, 10))]),
    };
    let kind = match extension.link {
        Some(target) => EntryKind::Link(target),
        None if flags & DIRECTORY != 0 || extension.child.is_some() => EntryKind::Directory,
        None => EntryKind::File,
    };
    let mut modified = [0; 7];
    modified.copy_from_slice(&record[18..25]);
    let entry = Entry {
        name: extension.name.unwrap_or_else(|| plain(name, names)),
        kind,
        size,
        extents,
        modified: RecordedTime(modified),
        interleaved: record[26] != 0,
    };
    Ok(Some((entry, flags & MULTI_EXTENT != 0)))
}

/// Decodes a name without Rock Ridge; removes the version and an empty extension.
fn plain(name: &[u8], names: Names) -> String {
    let text = match names {
        Names::Joliet => {
            let (units, _) = name.as_chunks::<2>();
            String::from_utf16_lossy(&units.iter().map(|unit| u16::from_be_bytes(*unit)).collect::<Vec<_>>())
        }
        Names::Plain | Names::RockRidge(_) => String::from_utf8_lossy(name).into_owned(),
    };
    let stem = match text.rsplit_once(';') {
        Some((stem, version)) if version.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        Some(_) | None => &text,
    };
    stem.strip_suffix('.').unwrap_or(stem).to_owned()
}

//! FAT directories: entries of 32 bytes; additional entries in front of an entry contain its long name.

use std::fmt;

use super::name::{ENTRY, LongName, short};
use super::time::Timestamp;

/// Attribute bits.
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0F;
/// First byte of a deleted entry, and of the first unused entry.
const DELETED: u8 = 0xE5;
const END: u8 = 0;

/// Maximum oddities reported per directory.
pub(crate) const MAX_IRREGULARITIES: usize = 16;

/// File or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name: the long name, or the short name if there is none.
    pub(crate) name: String,
    /// Short name.
    pub(crate) short: String,
    /// True for a directory.
    pub directory: bool,
    /// Attribute bits, unchanged.
    pub(crate) attributes: u8,
    /// Size in bytes; 0 for a directory.
    pub size: u32,
    /// First cluster; 0 if there is none.
    pub cluster: u32,
    /// Time of the last write.
    pub modified: Timestamp,
}

/// Irregularity in a readable directory; `fsck.fat` repairs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Irregularity {
    /// Parts of a long name without an entry.
    StrayName,
    /// `.` or `..` is missing or points elsewhere.
    Dots,
    /// Two entries have the same name.
    DuplicateName(String),
    /// The entry of a directory has a nonzero size.
    SizedDirectory(String),
    /// More oddities than [`MAX_IRREGULARITIES`].
    Truncated,
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StrayName => f.write_str("parts of a long name without an entry"),
            Self::Dots => f.write_str("entries \".\" and \"..\" are missing or point elsewhere"),
            Self::DuplicateName(name) => write!(f, "two entries named {name:?}"),
            Self::SizedDirectory(name) => write!(f, "directory {name:?} has a nonzero size"),
            Self::Truncated => f.write_str("more irregularities"),
        }
    }
}

/// Directory, as far as `.` and `..` are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The root, without `.` and `..`.
    Root,
    /// The directory at cluster `own`, in the directory at cluster `parent` (0 for the root).
    Sub { own: u32, parent: u32 },
}

/// Parses a directory: its entries without `.`, `..` and the label, and its irregularities.
pub(super) fn decode(bytes: &[u8], wide: bool, owner: Owner) -> (Vec<Entry>, Vec<Irregularity>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut odd = Vec::new();
    let mut long_name = LongName::default();
    let mut dots = 0;
    for (index, raw) in bytes.as_chunks::<ENTRY>().0.iter().enumerate() {
        match raw[0] {
            END => break,
            DELETED => {
                if long_name.clear() {
                    odd.push(Irregularity::StrayName);
                }
                continue;
            }
            _ if raw[11] & 0x3F == LONG_NAME => {
                long_name.add(raw);
                continue;
            }
            _ => {}
        }
        let (entry, stray) = decode_entry(raw, wide, &mut long_name);
        if stray {
            odd.push(Irregularity::StrayName);
        }
        if let Some(leads_to) = dot(raw, owner) {
            dots += usize::from(index < 2 && leads_to == entry.cluster);
        } else if raw[11] & LABEL == 0 {
            if entry.directory && entry.size != 0 {
                odd.push(Irregularity::SizedDirectory(entry.name.clone()));
            }
            entries.push(entry);
        }
    }
    if long_name.clear() {
        odd.push(Irregularity::StrayName);
    }
    if matches!(owner, Owner::Sub { .. }) && dots != 2 {
        odd.push(Irregularity::Dots);
    }
    odd.extend(duplicate_names(&entries));
    if odd.len() > MAX_IRREGULARITIES {
        odd.truncate(MAX_IRREGULARITIES);
        odd.push(Irregularity::Truncated);
    }
    (entries, odd)
}

/// Returns the cluster that `.` or `..` must point to; `None` for other entries.
fn dot(raw: &[u8; ENTRY], owner: Owner) -> Option<u32> {
    let Owner::Sub { own, parent } = owner else { return None };
    match &raw[..11] {
        b".          " => Some(own),
        b"..         " => Some(parent),
        _ => None,
    }
}

fn decode_entry(raw: &[u8; ENTRY], wide: bool, long_name: &mut LongName) -> (Entry, bool) {
    let half = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
    let mut bytes = [0; 11];
    bytes.copy_from_slice(&raw[..11]);
    let (long, stray) = long_name.take(&bytes);
    let short = short(&bytes, raw[12]);
    let high = if wide { u32::from(half(20)) } else { 0 };
    let entry = Entry {
        name: long.unwrap_or_else(|| short.clone()),
        short,
        directory: raw[11] & DIRECTORY != 0,
        attributes: raw[11],
        size: u32::from(half(28)) | u32::from(half(30)) << 16,
        cluster: u32::from(half(26)) | high << 16,
        modified: Timestamp { date: half(24), time: half(22) },
    };
    (entry, stray)
}

/// Returns the duplicate names, ignoring case.
fn duplicate_names(entries: &[Entry]) -> Vec<Irregularity> {
    let mut names: Vec<(String, &str)> =
        entries.iter().map(|entry| (entry.name.to_lowercase(), entry.name.as_str())).collect();
    names.sort();
    names
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .map(|pair| Irregularity::DuplicateName(pair[1].1.to_owned()))
        .collect()
}

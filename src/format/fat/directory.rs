//! Directories: 32 bytes an entry, long names in entries of their own before it.

use std::fmt;

use super::name::{ENTRY, Pieces, short};
use super::time::Stamp;

/// Attribute bits.
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
const LONG_NAME: u8 = 0x0F;
/// First byte of an entry that was deleted, and of the first one never used.
const DELETED: u8 = 0xE5;
const END: u8 = 0;

/// How many oddities are told of one directory.
pub const ODDITY_LIMIT: usize = 16;

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: the long one where there is one.
    pub name: String,
    /// Its short name.
    pub short: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Attribute bits as they stand.
    pub attributes: u8,
    /// Bytes; 0 for a directory.
    pub size: u32,
    /// Its first cluster; 0 where it has none.
    pub cluster: u32,
    /// When it was written last.
    pub modified: Stamp,
}

/// What is odd in a directory without making it unreadable; `fsck.fat` would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Pieces of a long name that belong to no entry.
    StrayName,
    /// `.` or `..` missing, or pointing somewhere else.
    Dots,
    /// Two entries of one name.
    Twins(String),
    /// A directory whose entry gives it a size.
    SizedDirectory(String),
    /// More oddities than [`ODDITY_LIMIT`].
    More,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StrayName => f.write_str("pieces of a long name that belong to no entry"),
            Self::Dots => f.write_str("its first entries are not \".\" and \"..\", or lead elsewhere"),
            Self::Twins(name) => write!(f, "two entries are called {name:?}"),
            Self::SizedDirectory(name) => write!(f, "directory {name:?} has a size"),
            Self::More => f.write_str("more of that kind"),
        }
    }
}

/// Whose directory it is, as far as `.` and `..` go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The root, which has neither.
    Root,
    /// The directory that begins at `own`, in one that begins at `parent` (0 for the root).
    Sub { own: u32, parent: u32 },
}

/// What a directory's bytes hold: its entries without `.`, `..` and the label, and what is odd about them.
pub(super) fn decode(bytes: &[u8], wide: bool, owner: Owner) -> (Vec<Entry>, Vec<Oddity>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut odd = Vec::new();
    let mut pieces = Pieces::default();
    let mut dots = 0;
    for (index, raw) in bytes.as_chunks::<ENTRY>().0.iter().enumerate() {
        match raw[0] {
            END => break,
            DELETED => {
                if pieces.left() {
                    odd.push(Oddity::StrayName);
                }
                continue;
            }
            _ if raw[11] & 0x3F == LONG_NAME => {
                pieces.add(raw);
                continue;
            }
            _ => {}
        }
        let (entry, stray) = one(raw, wide, &mut pieces);
        if stray {
            odd.push(Oddity::StrayName);
        }
        if let Some(leads_to) = dot(raw, owner) {
            dots += usize::from(index < 2 && leads_to == entry.cluster);
        } else if raw[11] & LABEL == 0 {
            if entry.directory && entry.size != 0 {
                odd.push(Oddity::SizedDirectory(entry.name.clone()));
            }
            entries.push(entry);
        }
    }
    if pieces.left() {
        odd.push(Oddity::StrayName);
    }
    if matches!(owner, Owner::Sub { .. }) && dots != 2 {
        odd.push(Oddity::Dots);
    }
    odd.extend(twins(&entries));
    if odd.len() > ODDITY_LIMIT {
        odd.truncate(ODDITY_LIMIT);
        odd.push(Oddity::More);
    }
    (entries, odd)
}

/// Where `.` and `..` should lead; `None` for any other entry.
fn dot(raw: &[u8; ENTRY], owner: Owner) -> Option<u32> {
    let Owner::Sub { own, parent } = owner else { return None };
    match &raw[..11] {
        b".          " => Some(own),
        b"..         " => Some(parent),
        _ => None,
    }
}

fn one(raw: &[u8; ENTRY], wide: bool, pieces: &mut Pieces) -> (Entry, bool) {
    let half = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
    let mut bytes = [0; 11];
    bytes.copy_from_slice(&raw[..11]);
    let (long, stray) = pieces.take(&bytes);
    let short = short(&bytes, raw[12]);
    let high = if wide { u32::from(half(20)) } else { 0 };
    let entry = Entry {
        name: long.unwrap_or_else(|| short.clone()),
        short,
        directory: raw[11] & DIRECTORY != 0,
        attributes: raw[11],
        size: u32::from(half(28)) | u32::from(half(30)) << 16,
        cluster: u32::from(half(26)) | high << 16,
        modified: Stamp { date: half(24), time: half(22) },
    };
    (entry, stray)
}

/// Names that occur twice, letter case aside.
fn twins(entries: &[Entry]) -> Vec<Oddity> {
    let mut names: Vec<(String, &str)> =
        entries.iter().map(|entry| (entry.name.to_lowercase(), entry.name.as_str())).collect();
    names.sort();
    names.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| Oddity::Twins(pair[1].1.to_owned())).collect()
}

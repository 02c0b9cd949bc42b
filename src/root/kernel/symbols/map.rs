//! Parser of `System.map`, the output of `nm -n` (`scripts/mksysmap`): an address, a letter and a name per line.
//!
//! Skips other lines: the `System.map` in Debian's packages consists of a single line of text.

use super::kallsyms::{Entry, MOST};

/// Returns the symbols, sorted by address.
pub(super) fn entries(text: &[u8]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = text.split(|byte| *byte == b'\n').filter_map(entry).take(MOST).collect();
    entries.sort_by_key(|entry| entry.address);
    entries
}

fn entry(line: &[u8]) -> Option<Entry> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
    let address = u64::from_str_radix(address, 16).ok()?;
    match (kind.as_bytes(), words.next()) {
        ([kind], None) => Some(Entry { address, kind: *kind, name: name.as_bytes().to_vec() }),
        _ => None,
    }
}

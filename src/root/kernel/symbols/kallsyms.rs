//! Parser of the kernel's built-in symbol table (`CONFIG_KALLSYMS`) in an unpacked image.
//!
//! No header points to the parts of the table, so they are located by their contents (written by `scripts/kallsyms.c`,
//! read by `kernel/kallsyms.c`). Names are sequences of tokens, of which there are 256. The token table is found by the
//! tokens for the digits and verified with the token index, which follows it. The token table is preceded by the count
//! of names, the names, a marker for every 256th name (`kallsyms_markers`) and, in Linux 6.2, 6.3 and later 6.1.y, the
//! sort order of the names (`kallsyms_seqs_of_names`). The addresses precede the count (up to 6.3) or follow the token
//! index (since 6.4). They are offsets from a base: negative offsets, mixed with absolute addresses of per-CPU symbols,
//! or unsigned offsets (since 6.15).
//!
//! Full addresses (`CONFIG_KALLSYMS_BASE_RELATIVE` off) and big-endian images are unsupported. The input is untrusted.

use std::cell::Cell;

use regex::bytes::Regex;

/// Tokens for the digits. Every kernel has symbols with digits, so each digit is a token.
const DIGITS: &str = r"(?-u)0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
/// Number of tokens before the digits.
const BEFORE_DIGITS: usize = b'0' as usize;
const TOKENS: usize = 256;
/// Limit of the token table's size, in bytes. Tokens are short, since only repeated substrings become tokens.
const TABLE_BYTES: usize = 64 << 10;
/// Number of names per marker.
const PER_MARK: usize = 256;
/// Limit of the number of symbols. A kernel has about 200,000.
pub(super) const MOST: usize = 1 << 20;
/// Bytes per entry in `kallsyms_seqs_of_names`.
const SEQUENCE: usize = 3;
/// Maximum size of 256 names, in bytes. Limit of a name: 512 characters (`KSYM_NAME_LEN`).
const CHUNK: usize = PER_MARK * 514;
/// Limit of the search effort, in words and names examined. A Debian kernel takes a few hundred thousand. The search of
/// a malicious image ends in less than a second.
const EFFORT: usize = 1 << 25;
/// Link addresses of 64-bit kernels.
const KERNEL: std::ops::Range<u64> = 0xffff_8000_0000_0000..0xffff_ffff_ffff_f000;

/// One symbol of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Link address.
    pub(super) address: u64,
    /// nm's letter for the symbol type.
    pub(super) kind: u8,
    /// Name.
    pub(super) name: Vec<u8>,
}

/// Returns the symbols of an image in table order; none if the image has no supported table.
pub(super) fn entries(image: &[u8]) -> Vec<Entry> {
    let Ok(digits) = Regex::new(DIGITS) else { return Vec::new() };
    let effort = Effort(Cell::new(EFFORT));
    digits
        .find_iter(image)
        .map_while(|found| effort.spend(1).map(|()| found.start()))
        .find_map(|digits| {
            let tokens = Tokens::at_digits(image, digits, &effort)?;
            let names = Names::find_before(image, &tokens, &effort)?;
            names.read(image, &tokens)
        })
        .unwrap_or_default()
}

/// Remaining search effort.
#[derive(Debug)]
struct Effort(Cell<usize>);

impl Effort {
    /// Consumes `much` of the effort; `None` if it is exhausted.
    fn spend(&self, much: usize) -> Option<()> {
        let left = self.0.get().checked_sub(much);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ())
    }
}

/// The token table and its location.
#[derive(Debug)]
struct Tokens<'a> {
    list: Vec<&'a [u8]>,
    /// Image offset of the table.
    start: usize,
    /// Image offset of the end of the token index.
    end: usize,
}

impl<'a> Tokens<'a> {
    /// Returns the token table whose digits are at `digits`, if the token index matches.
    fn at_digits(image: &'a [u8], digits: usize, effort: &Effort) -> Option<Self> {
        effort.spend(TABLE_BYTES / 8)?;
        let before = image.get(digits.saturating_sub(TABLE_BYTES)..digits)?;
        let mut ends = before.iter().enumerate().rev().filter(|(_, byte)| **byte == 0).map(|(at, _)| at + 1);
        // The NUL before the first token is padding, or the end of another table.
        let start = digits - before.len() + ends.nth(BEFORE_DIGITS)?;
        let table = image.get(start..image.len().min(start + TABLE_BYTES))?;
        let mut offsets = Vec::with_capacity(TOKENS);
        let mut tokens = Vec::with_capacity(TOKENS);
        let mut at = 0;
        for _ in 0..TOKENS {
            let len = table.get(at..)?.iter().position(|byte| *byte == 0)?;
            offsets.push(at);
            tokens.push(table.get(at..at + len)?);
            at += len + 1;
        }
        let index = (start + at).next_multiple_of(8);
        let end = index + 2 * TOKENS;
        let words = image.get(index..end)?.chunks_exact(2);
        let says = words.map(|word| usize::from(u16::from_le_bytes([word[0], word[1]])));
        says.eq(offsets).then_some(Self { list: tokens, start, end })
    }

    /// Expands the tokens of a name. Returns nm's letter and the name.
    fn expand(&self, codes: &[u8]) -> Option<(u8, Vec<u8>)> {
        let mut name = Vec::with_capacity(32);
        for code in codes {
            name.extend_from_slice(self.list.get(usize::from(*code))?);
        }
        let kind = *name.first()?;
        name.remove(0);
        Some((kind, name))
    }
}

/// Location of the names and their count.
#[derive(Debug)]
struct Names {
    /// Image offset of the count.
    count_at: usize,
    count: usize,
    /// Image offset of the first name.
    start: usize,
    /// Image offset of the end of the names, padding included.
    end: usize,
}

impl Names {
    /// Finds the names before a token table, with or without `kallsyms_seqs_of_names` between them.
    fn find_before(image: &[u8], tokens: &Tokens<'_>, effort: &Effort) -> Option<Self> {
        (0..=MOST * SEQUENCE / 8).map_while(|step| effort.spend(1).map(|()| step)).find_map(|step| {
            let (marks_at, marks) = marks(image, tokens.start.checked_sub(8 * step)?, longest(step), effort)?;
            let names = Self::find_with_markers(image, marks_at, &marks, effort)?;
            let sequences = (SEQUENCE * names.count).next_multiple_of(8);
            (step == 0 || sequences == 8 * step).then_some(names)
        })
    }

    /// Finds the names that match these markers.
    fn find_with_markers(image: &[u8], marks_at: usize, marks: &[u32], effort: &Effort) -> Option<Self> {
        let last = usize::try_from(*marks.last()?).ok()?;
        // Layout from the count: eight bytes, the names up to the last marker, the names after it, padding.
        let latest = marks_at.checked_sub(last)?.checked_sub(8)?;
        let earliest = latest.saturating_sub(CHUNK + 8);
        effort.spend((latest - earliest) / 8)?;
        let most = marks.len().checked_mul(PER_MARK)?;
        (earliest..=latest).rev().filter(|at| at % 8 == 0).find_map(|count_at| {
            let count = usize::try_from(word(image, count_at)?).ok()?;
            let fits = count <= most && count + PER_MARK > most && count <= MOST && word(image, count_at + 4)? == 0;
            let names = Self { count_at, count, start: count_at + 8, end: marks_at };
            (fits && names.match_markers(image, marks, effort)).then_some(names)
        })
    }

    /// Returns true if every 256th name is at the offset in its marker.
    fn match_markers(&self, image: &[u8], marks: &[u32], effort: &Effort) -> bool {
        let mut at = self.start;
        for number in 0..self.count {
            if effort.spend(1).is_none() {
                return false;
            }
            if number % PER_MARK == 0 {
                let mark = marks.get(number / PER_MARK).and_then(|mark| usize::try_from(*mark).ok());
                if mark != at.checked_sub(self.start) {
                    return false;
                }
            }
            match self.next(image, at) {
                Some((_, next)) => at = next,
                None => return false,
            }
        }
        // Only padding is left.
        at <= self.end && self.end - at < 8
    }

    /// Returns the tokens of the name at an image offset, and the offset of the next name.
    fn next<'a>(&self, image: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
        let low = usize::from(*image.get(at)?);
        // Since Linux 6.1, long names have a second length byte.
        let (len, from) = match low & 0x80 {
            0 => (low, at + 1),
            _ => ((low & 0x7f) | usize::from(*image.get(at + 1)?) << 7, at + 2),
        };
        let end = from + len;
        (len > 0 && end <= self.end).then_some((image.get(from..end)?, end))
    }

    /// Returns all names with their addresses.
    fn read(&self, image: &[u8], tokens: &Tokens<'_>) -> Option<Vec<Entry>> {
        let addresses = self.addresses(image, tokens)?;
        let mut entries = Vec::with_capacity(self.count);
        let mut at = self.start;
        for address in addresses {
            let (codes, next) = self.next(image, at)?;
            let (kind, name) = tokens.expand(codes)?;
            entries.push(Entry { address, kind, name });
            at = next;
        }
        Some(entries)
    }

    fn addresses(&self, image: &[u8], tokens: &Tokens<'_>) -> Option<Vec<u64>> {
        let bytes = (self.count * 4).next_multiple_of(8);
        let old = self.count_at.checked_sub(8).and_then(|base| Some((base.checked_sub(bytes)?, base)));
        let new = tokens.end.next_multiple_of(8);
        [Some((new, new + bytes)), old].into_iter().flatten().find_map(|(offsets, base)| {
            let base = u64::from_le_bytes(image.get(base..base + 8)?.try_into().ok()?);
            let offsets = image.get(offsets..offsets + 4 * self.count)?.chunks_exact(4);
            let offsets: Vec<i32> =
                offsets.map(|word| i32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
            KERNEL.contains(&base).then(|| from_base(base, &offsets)).flatten()
        })
    }
}

/// Computes the addresses from the offsets; `None` if they are not sorted, as they are in a valid table.
fn from_base(base: u64, offsets: &[i32]) -> Option<Vec<u64>> {
    let has_absolute = offsets.iter().any(|offset| *offset < 0);
    let address = |offset: &i32| match (has_absolute, offset) {
        // `kallsyms_sym_address`: non-negative values are absolute addresses of per-CPU symbols.
        (true, 0..) => u64::from(offset.unsigned_abs()),
        (true, _) => base.wrapping_sub(1).wrapping_add(u64::from(offset.unsigned_abs())),
        (false, _) => base.wrapping_add(u64::from(offset.cast_unsigned())),
    };
    let addresses: Vec<u64> = offsets.iter().map(address).collect();
    addresses.is_sorted().then_some(addresses)
}

/// Returns the maximum number of markers for `8 * step` bytes of `kallsyms_seqs_of_names`. With 0 bytes, the table has
/// no such array, and only [`MOST`] is the limit.
fn longest(step: usize) -> usize {
    if step == 0 { MOST / PER_MARK } else { (8 * step / SEQUENCE).div_ceil(PER_MARK) + 1 }
}

/// Returns the image offset and the values of the markers that end at `end`. The first value is 0. Limit: `longest`
/// markers.
fn marks(image: &[u8], end: usize, longest: usize, effort: &Effort) -> Option<(usize, Vec<u32>)> {
    // Markers are padded to eight bytes.
    let mut at = end.checked_sub(4)?;
    if word(image, at)? == 0 {
        at = at.checked_sub(4)?;
    }
    let mut marks = Vec::new();
    let mut above = u32::MAX;
    loop {
        effort.spend(1)?;
        let mark = word(image, at)?;
        if mark >= above || marks.len() == longest {
            return None;
        }
        marks.push(mark);
        if mark == 0 {
            marks.reverse();
            return Some((at, marks));
        }
        above = mark;
        at = at.checked_sub(4)?;
    }
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(image.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

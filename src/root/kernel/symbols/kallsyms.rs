//! The symbol table that a kernel carries for itself (`CONFIG_KALLSYMS`), read from its unpacked image.
//!
//! Nothing points at its parts, so they are found by their shape (`scripts/kallsyms.c` writes them, `kernel/kallsyms.c`
//! reads them). Names are sequences of 256 tokens; the table of tokens is told by its digits, and proven by the index
//! behind it. Before it stand a mark for every 256th name, the names, and their count; in some also the names' order
//! (Linux 6.2 and 6.3, and 6.1 by now). The addresses stand before the count (up to 6.3), or behind the index of tokens
//! (since 6.4), as offsets from a base: negative ones, beside absolute addresses of per-CPU symbols, or plain ones (since
//! 6.15). Addresses that are written out (`CONFIG_KALLSYMS_BASE_RELATIVE` off) are not known here, nor is big endian. The
//! bytes are untrusted.

use std::cell::Cell;

use regex::bytes::Regex;

/// Characters of symbols that every kernel has: each is a token of its own.
const DIGITS: &str = r"(?-u)0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
/// Tokens before the digits.
const BEFORE_DIGITS: usize = b'0' as usize;
const TOKENS: usize = 256;
/// Longest table of tokens that is believed: tokens are short, or they would not come twice.
const TABLE_BYTES: usize = 64 << 10;
/// Names between two marks.
const PER_MARK: usize = 256;
/// Most names that are believed in: a kernel has two hundred thousand.
pub(super) const MOST: usize = 1 << 20;
/// Bytes of a name's number in the order of names.
const SEQUENCE: usize = 3;
/// Bytes that 256 names take at most: they are at most 512 characters long (`KSYM_NAME_LEN`).
const CHUNK: usize = PER_MARK * 514;
/// Most that is looked at in an image, in words and names: a kernel of Debian's takes some hundred thousand, and one that was
/// made to be looked at for ever is given up in less than a second.
const EFFORT: usize = 1 << 25;
/// Where kernels of 64 bits are linked to.
const KERNEL: std::ops::Range<u64> = 0xffff_8000_0000_0000..0xffff_ffff_ffff_f000;

/// One symbol, as it stands in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is.
    pub(super) address: u64,
    /// nm's letter for its kind.
    pub(super) kind: u8,
    /// Its name.
    pub(super) name: Vec<u8>,
}

/// The symbols of an image, in the table's order; none where it has no table that is known here.
pub(super) fn entries(image: &[u8]) -> Vec<Entry> {
    let Ok(digits) = Regex::new(DIGITS) else { return Vec::new() };
    let effort = Effort(Cell::new(EFFORT));
    digits
        .find_iter(image)
        .map_while(|found| effort.spend(1).map(|()| found.start()))
        .find_map(|digits| {
            let tokens = Tokens::around(image, digits, &effort)?;
            let names = Names::before(image, &tokens, &effort)?;
            names.read(image, &tokens)
        })
        .unwrap_or_default()
}

/// What may still be looked at.
#[derive(Debug)]
struct Effort(Cell<usize>);

impl Effort {
    /// Looks at so much; `None`: that is too much.
    fn spend(&self, much: usize) -> Option<()> {
        let left = self.0.get().checked_sub(much);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ())
    }
}

/// The table of tokens and its place.
#[derive(Debug)]
struct Tokens<'a> {
    list: Vec<&'a [u8]>,
    start: usize,
    /// Behind its index.
    end: usize,
}

impl<'a> Tokens<'a> {
    /// The table whose digits are at `digits`, if its index agrees.
    fn around(image: &'a [u8], digits: usize, effort: &Effort) -> Option<Self> {
        effort.spend(TABLE_BYTES / 8)?;
        let before = image.get(digits.saturating_sub(TABLE_BYTES)..digits)?;
        let mut ends = before.iter().enumerate().rev().filter(|(_, byte)| **byte == 0).map(|(at, _)| at + 1);
        // The end before the first token is padding, or another table's.
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

    /// A name written out: nm's letter, and the rest.
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

/// Where names and their count are.
#[derive(Debug)]
struct Names {
    /// The place of the count.
    count_at: usize,
    count: usize,
    /// The place of the first name.
    start: usize,
    end: usize,
}

impl Names {
    /// Those before a table of tokens.
    fn before(image: &[u8], tokens: &Tokens<'_>, effort: &Effort) -> Option<Self> {
        (0..=MOST * SEQUENCE / 8).map_while(|step| effort.spend(1).map(|()| step)).find_map(|step| {
            let (marks_at, marks) = marks(image, tokens.start.checked_sub(8 * step)?, longest(step), effort)?;
            let names = Self::below(image, marks_at, &marks, effort)?;
            let sequences = (SEQUENCE * names.count).next_multiple_of(8);
            (step == 0 || sequences == 8 * step).then_some(names)
        })
    }

    /// Those that these marks are of.
    fn below(image: &[u8], marks_at: usize, marks: &[u32], effort: &Effort) -> Option<Self> {
        let last = usize::try_from(*marks.last()?).ok()?;
        // From the count on: eight bytes, names up to the last mark, those behind it, and padding.
        let latest = marks_at.checked_sub(last)?.checked_sub(8)?;
        let earliest = latest.saturating_sub(CHUNK + 8);
        effort.spend((latest - earliest) / 8)?;
        let most = marks.len().checked_mul(PER_MARK)?;
        (earliest..=latest).rev().filter(|at| at % 8 == 0).find_map(|count_at| {
            let count = usize::try_from(word(image, count_at)?).ok()?;
            let fits = count <= most && count + PER_MARK > most && count <= MOST && word(image, count_at + 4)? == 0;
            let names = Self { count_at, count, start: count_at + 8, end: marks_at };
            (fits && names.agree(image, marks, effort)).then_some(names)
        })
    }

    /// Whether every 256th name is where its mark says.
    fn agree(&self, image: &[u8], marks: &[u32], effort: &Effort) -> bool {
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
        // Padding alone is left.
        at <= self.end && self.end - at < 8
    }

    /// The name at a place, in tokens, and the next one's place.
    fn next<'a>(&self, image: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
        let low = usize::from(*image.get(at)?);
        // Long names have a second byte of length (Linux 6.1).
        let (len, from) = match low & 0x80 {
            0 => (low, at + 1),
            _ => ((low & 0x7f) | usize::from(*image.get(at + 1)?) << 7, at + 2),
        };
        let end = from + len;
        (len > 0 && end <= self.end).then_some((image.get(from..end)?, end))
    }

    /// All of them, with their addresses.
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

/// Addresses from offsets; `None` where they are not in order, as a table's are.
fn from_base(base: u64, offsets: &[i32]) -> Option<Vec<u64>> {
    let has_absolute = offsets.iter().any(|offset| *offset < 0);
    let address = |offset: &i32| match (has_absolute, offset) {
        // `kallsyms_sym_address`: those of per-CPU symbols are small numbers, and absolute.
        (true, 0..) => u64::from(offset.unsigned_abs()),
        (true, _) => base.wrapping_sub(1).wrapping_add(u64::from(offset.unsigned_abs())),
        (false, _) => base.wrapping_add(u64::from(offset.cast_unsigned())),
    };
    let addresses: Vec<u64> = offsets.iter().map(address).collect();
    addresses.is_sorted().then_some(addresses)
}

/// How many marks there can be before so many eights of bytes of sequence numbers; none of those: any number.
fn longest(step: usize) -> usize {
    if step == 0 { MOST / PER_MARK } else { (8 * step / SEQUENCE).div_ceil(PER_MARK) + 1 }
}

/// The marks that end at `end`: their place and their values, from 0 on, at most `longest` of them.
fn marks(image: &[u8], end: usize, longest: usize, effort: &Effort) -> Option<(usize, Vec<u32>)> {
    // They are padded to eight bytes.
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

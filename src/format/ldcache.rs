//! `/etc/ld.so.cache`: read to reuse ldconfig's results, written for images with libraries outside the default
//! directories.
//!
//! Format: `sysdeps/generic/dl-cache.h` and `elf/cache.c` of glibc, `glibc-ld.so.cache1.1`, optionally preceded by the
//! older `ld.so-1.7.0`. Rejects files that contain only the older format (glibc before 2.2).

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::arch::Arch;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// Offset of the byte order in the header (`cache_file_new_flags_endian_*`).
const FLAGS: usize = 28;
const LITTLE: u8 = 2;
const BIG: u8 = 3;

/// A parsed cache.
#[derive(Debug)]
pub struct LdCache {
    /// File contents from the new header on; all offsets are relative to it.
    bytes: Vec<u8>,
    big_endian: bool,
    count: usize,
}

/// A cache entry for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheEntry<'a> {
    /// Path of the library.
    pub path: &'a [u8],
    /// True if it requires certain CPUs (`glibc-hwcaps`, or the older `hwcap` bits).
    pub(crate) variant: bool,
}

impl LdCache {
    /// Checks the header. Entries are checked during lookup.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self, &'static str> {
        let start =
            if bytes.starts_with(OLD_MAGIC) { after_old(&bytes).ok_or("the old table is truncated")? } else { 0 };
        drop(bytes.drain(..start.min(bytes.len())));
        if !bytes.starts_with(MAGIC) {
            return Err("not a cache in the format glibc-ld.so.cache1.1");
        }
        let big_endian = match bytes.get(FLAGS).map(|flags| flags & 3) {
            Some(BIG) => true,
            Some(LITTLE) => false,
            // Written before glibc 2.33: assume the byte order of this machine.
            Some(_) => cfg!(target_endian = "big"),
            None => return Err("the header is truncated"),
        };
        let mut cache = Self { bytes, big_endian, count: 0 };
        let count = cache.word(MAGIC.len()).ok_or("the header is truncated")? as usize;
        let room = cache.bytes.len().saturating_sub(HEADER) / ENTRY;
        if count > room {
            return Err("the table of libraries extends past the end of the file");
        }
        cache.count = count;
        Ok(cache)
    }

    /// Returns the entries for `name` and `arch`, in file order.
    pub fn entries<'a>(&'a self, name: &'a OsStr, arch: Arch) -> impl Iterator<Item = CacheEntry<'a>> {
        let wanted = arch.properties().ld_cache_flags;
        (0..self.count).filter_map(move |index| {
            let at = HEADER + index * ENTRY;
            let key = self.word(at + 4)? as usize;
            if self.word(at)? != wanted || !self.is_string(key, name.as_bytes()) {
                return None;
            }
            let value = self.bytes.get(self.word(at + 8)? as usize..)?;
            let path = value.get(..value.iter().position(|byte| *byte == 0)?)?;
            let variant = self.word(at + 16)? != 0 || self.word(at + 20)? != 0;
            path.starts_with(b"/").then_some(CacheEntry { path, variant })
        })
    }

    fn is_string(&self, at: usize, wanted: &[u8]) -> bool {
        let rest = self.bytes.get(at..).and_then(|rest| rest.strip_prefix(wanted));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    fn word(&self, at: usize) -> Option<u32> {
        let word = self.bytes.get(at..)?.first_chunk::<4>()?;
        Some(if self.big_endian { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) })
    }
}

/// Returns the offset of the new header, which follows the old table and is aligned to 8.
fn after_old(bytes: &[u8]) -> Option<usize> {
    let count = u32::from_ne_bytes(*bytes.get(12..)?.first_chunk::<4>()?) as usize;
    count.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?.checked_next_multiple_of(8)
}

/// Returns a cache for an image that contains `libraries` (name, path, architecture), sorted for the loader's binary
/// search.
pub(crate) fn write(libraries: &[(Vec<u8>, Vec<u8>, Arch)]) -> Vec<u8> {
    let mut sorted: Vec<&(Vec<u8>, Vec<u8>, Arch)> = libraries.iter().collect();
    let flags = |arch: Arch| arch.properties().ld_cache_flags;
    sorted.sort_by(|a, b| compare(&b.0, &a.0).then_with(|| flags(b.2).cmp(&flags(a.2))).then_with(|| a.1.cmp(&b.1)));
    let big_endian = sorted.first().is_some_and(|(_, _, arch)| !arch.elf().2);
    let word = |value: u32| if big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut table = Vec::new();
    let mut strings: Vec<u8> = Vec::new();
    let base = HEADER + sorted.len() * ENTRY;
    for (name, path, arch) in &sorted {
        let key = base + strings.len();
        let value = key + name.len() + 1;
        strings.extend(name.iter().copied().chain([0]).chain(path.iter().copied()).chain([0]));
        for field in [arch.properties().ld_cache_flags, key as u32, value as u32, 0, 0, 0] {
            table.extend(word(field));
        }
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(word(sorted.len() as u32));
    bytes.extend(word(strings.len() as u32));
    bytes.push(if big_endian { BIG } else { LITTLE });
    bytes.resize(HEADER, 0);
    bytes.extend(table);
    bytes.extend(strings);
    bytes
}

/// `_dl_cache_libcmp`: like `strcmp`, but runs of digits compare as numbers.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while let ([first, rest_a @ ..], [second, rest_b @ ..]) = (a, b) {
        match (first.is_ascii_digit(), second.is_ascii_digit()) {
            (true, true) => {
                let (digits_a, after_a) = digits(a);
                let (digits_b, after_b) = digits(b);
                let order = digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b));
                if order.is_ne() {
                    return order;
                }
                (a, b) = (after_a, after_b);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if first != second => return first.cmp(second),
            (false, false) => (a, b) = (rest_a, rest_b),
        }
    }
    a.len().cmp(&b.len())
}

/// Returns the leading number without leading zeros, and the rest.
fn digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    let (number, rest) = bytes.split_at(end);
    let zeros = number.iter().position(|byte| *byte != b'0').unwrap_or(number.len());
    (number.get(zeros..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::{LdCache, compare, write};
    use crate::arch::Arch;
    use std::cmp::Ordering;
    use std::ffi::OsStr;

    fn library(name: &str, path: &str, arch: Arch) -> (Vec<u8>, Vec<u8>, Arch) {
        (name.into(), path.into(), arch)
    }

    #[test]
    fn written_entries_are_found_by_name_and_architecture() {
        let bytes = write(&[
            library("libb.so.2", "/opt/libb.so.2", Arch::X86_64),
            library("liba.so.1", "/opt/liba.so.1", Arch::X86_64),
            library("liba.so.1", "/opt32/liba.so.1", Arch::X86),
        ]);
        let cache = LdCache::parse(bytes).expect("our own cache");
        let of = |name: &str, arch| -> Vec<String> {
            let entries = cache.entries(OsStr::new(name), arch);
            entries.map(|entry| String::from_utf8_lossy(entry.path).into_owned()).collect()
        };
        assert_eq!(of("liba.so.1", Arch::X86_64), ["/opt/liba.so.1"]);
        assert_eq!(of("liba.so.1", Arch::X86), ["/opt32/liba.so.1"]);
        assert_eq!(of("liba.so", Arch::X86_64), Vec::<String>::new());
    }

    #[test]
    fn both_byte_orders_and_a_preceding_old_table_are_parsed() {
        let big = write(&[library("libc.so.6", "/lib64/libc.so.6", Arch::S390x)]);
        assert_eq!(LdCache::parse(big).expect("big endian").entries(OsStr::new("libc.so.6"), Arch::S390x).count(), 1);
        let mut old = b"ld.so-1.7.0\0".to_vec();
        old.extend(1u32.to_ne_bytes());
        old.resize(32, 0);
        old.extend(write(&[library("libc.so.6", "/lib64/libc.so.6", Arch::X86_64)]));
        assert_eq!(LdCache::parse(old).expect("both tables").entries(OsStr::new("libc.so.6"), Arch::X86_64).count(), 1);
    }

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        assert_eq!(compare(b"libz3.so.4", b"libz.so.1"), Ordering::Greater);
        assert_eq!(compare(b"libx.so.9", b"libx.so.10"), Ordering::Less);
        assert_eq!(compare(b"libx.so.1", b"libx.so.1.2"), Ordering::Less);
        assert_eq!(compare(b"liba.so", b"liba.so"), Ordering::Equal);
    }

    #[test]
    fn damaged_caches_are_refused_or_empty_but_never_panic() {
        let whole = write(&[library("liba.so.1", "/opt/liba.so.1", Arch::X86_64)]);
        for end in 0..whole.len() {
            if let Ok(cache) = LdCache::parse(whole[..end].to_vec()) {
                assert_eq!(cache.entries(OsStr::new("liba.so.1"), Arch::X86_64).count(), 0, "cut at {end}");
            }
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            if let Ok(cache) = LdCache::parse(bytes) {
                let _ = cache.entries(OsStr::new("liba.so.1"), Arch::X86_64).count();
            }
        }
    }
}

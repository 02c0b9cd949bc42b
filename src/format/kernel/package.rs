//! Parser of the outer layers of packages. A `.deb` (deb(5)) is an ar archive whose member `data.tar.*` is the file tree;
//! other packages are compressed tar archives.
//!
//! This module parses the ar headers because the `ar` crate (0.9) allocates the size that a name table declares,
//! without a limit. An xz stream with several blocks, as dpkg writes it, is decompressed on up to 8 threads.
//! Refuses members outside the file, and compression formats that dpkg does not write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

use crate::format::compression::{Compression, Streams};

/// Size limit of the control information of a package, in bytes.
const CONTROL_LIMIT: u64 = 16 << 20;
/// Magic of an ar archive.
pub(crate) const MAGIC: &[u8] = b"!<arch>\n";
/// Size of a member header, in bytes.
const HEADER: u64 = 60;
/// Limit of the number of members. dpkg writes three; signatures add a few.
const MEMBERS_LIMIT: usize = 64;
/// Size limit of an xz block for parallel decompression, which keeps blocks in memory. Larger ones are streamed. dpkg
/// writes blocks of 24 MiB.
const BLOCK_LIMIT: u64 = 128 << 20;

/// A byte range of a file, as a reader.
#[derive(Debug)]
pub struct Window<'a> {
    file: &'a File,
    start: u64,
    len: u64,
    at: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..count).unwrap_or_default(), self.start + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(delta) => self.len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.at.checked_add_signed(delta),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// Finds the `data.tar.*` member in a package of `len` bytes. Returns its name and a reader of its bytes.
pub fn data_member(file: &File, len: u64) -> io::Result<(String, Window<'_>)> {
    member(file, len, "data.tar")
}

/// Returns a reader of the tar archive with the files of a package: a `.deb`, or a compressed tar archive, which packages of
/// Arch (`.pkg.tar.zst`) and Alpine (`.apk`, several gzip streams) are. Returns `None` for any other file.
pub(crate) fn files(file: &File, len: u64) -> io::Result<Option<Box<dyn Read + '_>>> {
    let mut magic = [0; 8];
    if file.read_exact_at(&mut magic, 0).is_err() {
        return Ok(None);
    }
    if magic == MAGIC {
        let (name, member) = data_member(file, len)?;
        return tar_of(&name, member).map(Some);
    }
    let compression = Compression::detect(&magic);
    if compression == Compression::None || !compression.is_readable() {
        return Ok(None);
    }
    let open = || {
        let whole = Window { file, start: 0, len, at: 0 };
        compression.reader(BufReader::with_capacity(1 << 18, whole), Streams::All)
    };
    let mut header = [0; 512];
    let is_tar = open()?.read_exact(&mut header).is_ok() && header.get(257..262) == Some(b"ustar");
    if is_tar { open().map(Some) } else { Ok(None) }
}

/// Returns the fields of the first paragraph of a package's control file (deb-control(5)).
pub(crate) fn control(file: &File, len: u64) -> io::Result<BTreeMap<String, String>> {
    let (name, member) = member(file, len, "control.tar")?;
    let mut archive = tar::Archive::new(tar_of(&name, member)?.take(CONTROL_LIMIT));
    for entry in archive.entries()? {
        let entry = entry?;
        if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) == b"control" {
            let mut text = String::new();
            entry.take(CONTROL_LIMIT).read_to_string(&mut text)?;
            let paragraph = text.split("\n\n").next().unwrap_or_default();
            // Lines that start with a space continue a field.
            let fields = paragraph.lines().filter(|line| !line.starts_with([' ', '\t']));
            let fields = fields.filter_map(|line| line.split_once(':'));
            return Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect());
        }
    }
    Err(io::Error::other("not a Debian package: no control file"))
}

/// Finds the member whose name starts with `wanted`. Returns its name and a reader of its bytes.
fn member<'a>(file: &'a File, len: u64, wanted: &str) -> io::Result<(String, Window<'a>)> {
    let bad = |why: &str| io::Error::other(format!("not a Debian package: {why}"));
    let mut magic = [0; 8];
    file.read_exact_at(&mut magic, 0).map_err(|_| bad("file too short"))?;
    if magic != MAGIC {
        return Err(bad("not an ar archive"));
    }
    let mut at = MAGIC.len() as u64;
    let mut seen = Vec::new();
    while at < len && seen.len() < MEMBERS_LIMIT {
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, at).map_err(|_| bad("truncated member header"))?;
        let field = |from: usize, to: usize| {
            header.get(from..to).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim_end)
        };
        // dpkg writes plain names; other tools append a slash.
        let name = field(0, 16).ok_or_else(|| bad("member name is not UTF-8"))?.trim_end_matches('/').to_owned();
        let size: u64 =
            field(48, 58).and_then(|text| text.parse().ok()).ok_or_else(|| bad("member size is not a number"))?;
        let start = at + HEADER;
        if header.get(58..) != Some(b"`\n") || size > len.saturating_sub(start) {
            return Err(bad(&format!("invalid member {name}: {size} bytes at offset {start}, file size {len}")));
        }
        if name.starts_with(wanted) {
            return Ok((name, Window { file, start, len: size, at: 0 }));
        }
        seen.push(name);
        at = start + size + size % 2;
    }
    Err(bad(&format!("no {wanted} member (found {})", seen.join(", "))))
}

/// Returns a reader of the tar archive in a member.
pub fn tar_of<'a>(name: &str, member: Window<'a>) -> io::Result<Box<dyn Read + 'a>> {
    let compression = match name.strip_prefix("data.tar").or_else(|| name.strip_prefix("control.tar")) {
        Some("") => Some(Compression::None),
        suffix => suffix.and_then(|suffix| Compression::from_extension(suffix.strip_prefix('.')?)),
    };
    let compression = compression.ok_or_else(|| io::Error::other(format!("{name}: unsupported compression")))?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if compression == Compression::Xz
        && threads > 1
        && largest_block(&member).is_some_and(|largest| largest <= BLOCK_LIMIT)
    {
        // Each thread keeps one or two blocks in memory, about 100 MiB. More than 8 threads gain little.
        let threads = u32::try_from(threads.min(8)).unwrap_or(1);
        return Ok(Box::new(lzma_rust2::XzReaderMt::new(member, false, threads)?));
    }
    compression.reader(BufReader::with_capacity(1 << 18, member), Streams::First)
}

/// Returns the size of the largest unpacked block, read from the index of an xz stream (xz file format 1.2, sections
/// 2.1.2 and 4); `None` if the index is unreadable or there is only one block.
fn largest_block(member: &Window<'_>) -> Option<u64> {
    let read = |at: u64, len: u64| {
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        member.file.read_exact_at(&mut bytes, member.start.checked_add(at)?).ok()?;
        Some(bytes)
    };
    let footer = read(member.len.checked_sub(12)?, 12)?;
    if footer.get(10..)? != b"YZ" {
        return None;
    }
    let words = u32::from_le_bytes(footer.get(4..8)?.try_into().ok()?);
    let size = (u64::from(words) + 1) * 4;
    if size > (1 << 20) {
        return None;
    }
    let index = read(member.len.checked_sub(12)?.checked_sub(size)?, size)?;
    let mut rest = index.strip_prefix(&[0])?;
    let count = number(&mut rest)?;
    let mut largest = None;
    for _ in 0..count {
        let _packed = number(&mut rest)?;
        largest = largest.max(Some(number(&mut rest)?));
    }
    largest.filter(|_| count > 1)
}

/// Decodes an xz multibyte integer (section 1.2): seven bits per byte, bit 7 clear in the last byte.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{control, data_member, files, number, tar_of};
    use proptest::prelude::{ProptestConfig, any, proptest};
    use std::fs::File;
    use std::io::{Read as _, Write as _};

    /// Builds a package with these members.
    pub(crate) fn package(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = super::MAGIC.to_vec();
        for (name, content) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).bytes());
            bytes.extend(*content);
            if content.len() % 2 == 1 {
                bytes.push(b'\n');
            }
        }
        bytes
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn the_tree_is_found_after_other_members_in_every_compression_format() {
        let tree = vec![7; 300_001];
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).expect("a writer");
        xz.write_all(&tree).expect("compressed");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tree).expect("compressed");
        for (name, packed) in [
            ("data.tar", tree.clone()),
            ("data.tar.gz/", gz.finish().expect("finished")),
            ("data.tar.xz", xz.finish().expect("finished")),
            ("data.tar.zst", zstd::encode_all(tree.as_slice(), 1).expect("compressed")),
        ] {
            let bytes = package(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), (name, &packed)]);
            let file = file(&bytes);
            let (found, member) = data_member(&file, bytes.len() as u64).expect(name);
            let mut unpacked = Vec::new();
            tar_of(&found, member).expect(name).read_to_end(&mut unpacked).expect(name);
            assert_eq!(unpacked, tree, "{name}");
        }
    }

    #[test]
    fn invalid_packages_are_refused_with_the_reason() {
        let whole = package(&[("debian-binary", b"2.0\n"), ("data.tar", b"content!")]);
        for len in 0..whole.len() {
            let file = file(&whole[..len]);
            let found = data_member(&file, len as u64);
            assert!(found.is_err(), "truncated at {len}");
        }
        let none = package(&[("debian-binary", b"2.0\n")]);
        let error = data_member(&file(&none), none.len() as u64).expect_err("refused").to_string();
        assert!(error.contains("no data.tar member (found debian-binary)"), "{error}");
    }

    #[test]
    fn the_files_of_each_kind_of_package_are_found_and_other_files_are_none() {
        let tree = crate::root::kernel::unpack::tests::archive(&[("boot/vmlinuz-6.9.0", b"image")]);
        let gzip = |bytes: &[u8]| {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(bytes).expect("compressed");
            gz.finish().expect("finished")
        };
        // Alpine's packages have a signature, control data and files in separate streams.
        let apk = [gzip(&tree[..512]), gzip(&tree[512..])].concat();
        for (name, bytes) in [
            ("deb", package(&[("debian-binary", b"2.0\n"), ("data.tar", &tree)])),
            ("pkg.tar.zst", zstd::encode_all(tree.as_slice(), 1).expect("compressed")),
            ("apk", apk),
        ] {
            let file = file(&bytes);
            let mut found = Vec::new();
            let mut reader = files(&file, bytes.len() as u64).expect(name).expect(name);
            reader.read_to_end(&mut found).expect(name);
            assert_eq!(found, tree, "{name}");
        }
        for bytes in [Vec::new(), b"07070100".to_vec(), gzip(&[0; 600]), gzip(b"short"), tree] {
            let file = file(&bytes);
            assert!(files(&file, bytes.len() as u64).expect("read").is_none());
        }
    }

    #[test]
    fn the_fields_of_the_control_file_are_read() {
        let text =
            "Package: linux-image-1\nVersion: 1:2-3\nDescription: a\n b: c\nDepends: x (>= 1), y\n\nPackage: other\n";
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in [("./md5sums", "x"), ("./control", text)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, content.as_bytes()).expect("added");
        }
        let packed = zstd::encode_all(archive.into_inner().expect("an archive").as_slice(), 1).expect("compressed");
        let bytes = package(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &packed), ("data.tar", b"")]);
        let fields = control(&file(&bytes), bytes.len() as u64).expect("read");
        let field = |name: &str| fields.get(name).map(String::as_str);
        assert_eq!((field("Package"), field("Version")), (Some("linux-image-1"), Some("1:2-3")));
        assert_eq!((field("Depends"), field(" b")), (Some("x (>= 1), y"), None));
        let none = package(&[("debian-binary", b"2.0\n"), ("data.tar", b"")]);
        assert!(control(&file(&none), none.len() as u64).is_err());
    }

    #[test]
    fn xz_integers_are_bounded() {
        assert_eq!(number(&mut [0x80, 0x01].as_slice()), Some(128));
        assert_eq!(number(&mut [0xff; 20].as_slice()), None);
        assert_eq!(number(&mut [0x80].as_slice()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_change_is_parsed_or_refused(changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6)) {
            let mut bytes = package(&[("debian-binary", b"2.0\n"), ("data.tar.xz", &[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4])]);
            for (at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            let file = file(&bytes);
            if let Ok((name, member)) = data_member(&file, bytes.len() as u64)
                && let Ok(mut tar) = tar_of(&name, member) {
                let _ = std::io::copy(&mut tar.by_ref().take(1 << 20), &mut std::io::sink());
            }
            let _ = control(&file, bytes.len() as u64);
        }
    }
}

//! Tests of the reader with valid and damaged archives.

use super::{Member, ReadError, Rule, walk};
use crate::format::compression::Compression;
use expect_test::expect;
use proptest::prelude::{any, proptest};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::ops::ControlFlow;

/// Encodes a member with the given header fields.
fn member(magic: &str, mode: u32, name: &[u8], data: &[u8], checksum: u32) -> Vec<u8> {
    let mut text = String::from(magic);
    let fields = [1, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, 0, 0, name.len() as u32, checksum];
    for field in fields {
        write!(text, "{field:08x}").expect("a string");
    }
    let mut bytes = text.into_bytes();
    for part in [name, data] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), member("070701", 0, b"TRAILER!!!\0", b"", 0)].concat()
}

fn file(name: &[u8], data: &[u8]) -> Vec<u8> {
    member("070701", 0o100_644, name, data, 0)
}

fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = compression.writer(&mut out).expect("a writer");
    writer.write_all(bytes).expect("written");
    writer.finish().expect("finished");
    out
}

fn list(bytes: &[u8]) -> Result<Vec<(usize, Member, Vec<u8>)>, ReadError> {
    let mut found = Vec::new();
    // Force a short first read, as from a pipe.
    let (first, rest) = bytes.split_at(bytes.len().min(5));
    walk(first.chain(rest), &mut |member, data| {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        found.push((member.segment.number, member.clone(), bytes));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn error(bytes: &[u8]) -> String {
    list(bytes).expect_err("an error").to_string()
}

#[test]
fn uncompressed_and_compressed_segments_are_read_in_order() {
    let mut bytes = archive(&[file(b"kernel/x86/microcode/AuthenticAMD.bin\0\0\0\0\0", b"code")]);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    for compression in Compression::writable() {
        let both =
            [archive(&[file(b"a\0", b"1")]), vec![0; 8], archive(&[file(b"\xffb\0", &vec![7; 100_000])])].concat();
        bytes.extend(pack(compression, &both));
        if compression != Compression::Lz4 {
            bytes.extend([0; 3]);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    let found = list(&bytes).expect("read");
    let names: Vec<String> =
        found.iter().map(|(segment, member, _)| format!("{segment} {}", member.name.escape_ascii())).collect();
    expect![[r#"
        [
            "1 kernel/x86/microcode/AuthenticAMD.bin",
            "2 a",
            "3 \\xffb",
            "4 a",
            "4 \\xffb",
            "5 a",
            "5 \\xffb",
            "6 a",
            "6 \\xffb",
            "7 a",
            "7 \\xffb",
        ]
    "#]]
    .assert_debug_eq(&names);
    assert!(
        found.iter().filter(|(_, member, _)| member.name == b"\xffb").all(|(_, _, data)| data == &vec![7; 100_000])
    );
}

#[test]
fn a_violated_rule_is_reported_with_its_location() {
    let good = file(b"good\0", b"1234");
    expect!["empty initrd: no data, or only zeros"].assert_eq(&error(&[0; 100]));
    expect!["segment 1 (not compressed, starts at byte 0), byte 0: expected a newc archive or a supported compression format, found bzip2, which only the kernel unpacks (CONFIG_RD_BZIP2): decompress it with bunzip2"]
        .assert_eq(&error(b"BZh91AY"));
    expect!["segment 1 (not compressed, starts at byte 0), byte 120: invalid magic number of a member header: expected 070701 or 070702, found junk!!"]
        .assert_eq(&error(&[good.clone(), b"junk!!".to_vec(), vec![b'0'; 200]].concat()));
    expect!["segment 1 (not compressed, starts at byte 0), byte 0: name size 0 out of range (1 to 4096): the kernel skips such members"]
        .assert_eq(&error(&archive(&[file(b"", b"")])));
    expect!["segment 1 (not compressed, starts at byte 0), byte 120: name size 4097 out of range (1 to 4096): the kernel skips such members"]
        .assert_eq(&error(&archive(&[good.clone(), file(&[b"x".repeat(4096), vec![0]].concat(), b"")])));
    expect!["segment 1 (not compressed, starts at byte 0), byte 0: name is not NUL-terminated"]
        .assert_eq(&error(&archive(&[file(b"abc", b"")])));
    expect!["segment 1 (not compressed, starts at byte 0), byte 0: link target size 0 out of range (1 to 4096)"]
        .assert_eq(&error(&archive(&[member("070701", 0o120_777, b"l\0", b"", 0)])));
    expect!["segment 1 (not compressed, starts at byte 0), byte 120: unexpected end of file inside an archive"]
        .assert_eq(&error(&good));
    let mut signed = good.clone();
    signed[14] = b'+';
    expect![
        "segment 1 (not compressed, starts at byte 0), byte 0: header field c_mode does not consist of eight hexadecimal digits"
    ]
    .assert_eq(&error(&signed));
    let unaligned = [archive(std::slice::from_ref(&good)), vec![0; 2], archive(&[good])].concat();
    expect!["segment 2 (not compressed, starts at byte 246), byte 0: archive does not start at a multiple of 4 bytes, as the kernel requires"]
        .assert_eq(&error(&unaligned));
}

#[test]
fn checksums_of_070702_are_verified_even_if_the_data_is_skipped() {
    let good = archive(&[member("070702", 0o100_644, b"a\0", &[1, 2, 255], 258)]);
    assert_eq!(list(&good).expect("read").len(), 1);
    let bad = archive(&[member("070702", 0o100_644, b"a\0", &[1, 2, 255], 259)]);
    expect![
        "segment 1 (not compressed, starts at byte 0), byte 0: wrong checksum of the data: expected 0x103, found 0x102"
    ]
    .assert_eq(&error(&bad));
    let skipped = walk(bad.as_slice(), &mut |_, _| Ok(ControlFlow::Continue(())));
    assert!(matches!(skipped, Err(ReadError::Broken { rule: Rule::Checksum { .. }, .. })));
}

#[test]
fn damage_to_a_compressed_segment_is_detected() {
    let whole = archive(&[file(b"a\0", &b"some data that will be damaged ".repeat(100))]);
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
        let packed = pack(compression, &whole);
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x10;
            if let Ok(found) = list(&damaged) {
                // Header bytes that do not affect the content (time, name, operating system) may be damaged.
                assert_eq!(found, list(&packed).expect("read"), "{} {at}", compression.name());
            }
        }
        for len in 0..packed.len() {
            assert!(list(&packed[..len]).is_err(), "{} cut to {len}", compression.name());
        }
    }
}

#[test]
fn an_lz4_chunk_larger_than_the_kernels_buffer_is_refused() {
    let bytes = [&[0x02, 0x21, 0x4c, 0x18][..], &u32::MAX.to_le_bytes(), &[0; 64]].concat();
    expect!["segment 1 (lz4, starts at byte 0), unpacked byte 0: LZ4 chunk of 4294967295 bytes is too large: 8 MiB of data compress to at most 8421520 bytes"]
        .assert_eq(&error(&bytes));
}

#[test]
fn a_visitor_can_end_the_walk_or_return_an_error() {
    let bytes = archive(&[file(b"a\0", b"1"), file(b"b\0", b"2")]);
    let mut seen = 0;
    let ended = walk(bytes.as_slice(), &mut |_, _| {
        seen += 1;
        Ok(ControlFlow::Break(()))
    });
    assert!(ended.is_ok());
    assert_eq!(seen, 1);
    let failed = walk(bytes.as_slice(), &mut |_, _| Err(std::io::ErrorKind::BrokenPipe.into()));
    assert!(matches!(failed, Err(ReadError::Visitor(error)) if error.kind() == std::io::ErrorKind::BrokenPipe));
}

proptest! {
    #[test]
    fn the_reader_does_not_panic_on_any_input(bytes in proptest::collection::vec(any::<u8>(), 0..600), which in 0..6_usize) {
        let starts: [&[u8]; 6] =
            [b"070701", &[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], &[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1], &[2, 0x21, 0x4c, 0x18], b""];
        drop(list(&[starts[which], &bytes].concat()));
    }
}

#[test]
fn formats_that_are_not_read_are_named_with_advice() {
    for (bytes, expected) in [
        (b"BZh91AY&SY".as_slice(), "found bzip2, which only the kernel unpacks (CONFIG_RD_BZIP2): decompress it"),
        (
            b"\x04\x22\x4d\x18\x64\x40",
            "found an LZ4 frame, which the kernel does not unpack either: compress with lz4 -l",
        ),
        (b"\x89LZO\0\r\n\x1a\n", "found LZO, which only the kernel unpacks"),
        (b"\x7fELF\x02\x01", "found \\x7fELF\\x02\\x01"),
    ] {
        let error = walk(bytes, &mut |_, _| Ok(ControlFlow::Continue(()))).expect_err("not an archive").to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(super::is_unsupported(bytes), !bytes.starts_with(b"\x7fELF"));
    }
}

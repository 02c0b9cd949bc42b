//! Adds sections to a PE file without relinking it, to build a unified kernel image from a stub.
//!
//! The existing sections keep their addresses and contents. Refuses a signed file, a section table without room,
//! duplicate names, empty sections (systemd-stub 252 measures them: systemd#25761), and a result of 2 GiB or more
//! (systemd#31452). Drops a COFF symbol table after the sections: it is never loaded, and the new sections replace it.

use super::headers::{SECTION_HEADER, optional};
use super::{Pe, PeError, Section};

/// Maximum size of a file in bytes. In some places, EDK2 treats the size of a file buffer as signed.
pub const MOST: u64 = 0x7fff_ffff;
/// Minimum alignment of a section in memory, even if the header of an old stub has less: firmware protects whole pages.
const PAGE: u64 = 4096;
/// Maximum `FileAlignment`, as in "PE Format".
const MOST_FILE_ALIGNMENT: u32 = 64 << 10;

const CODE: u32 = 0x20;
const INITIALIZED_DATA: u32 = 0x40;
const READ: u32 = 0x4000_0000;

/// A section to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSection<'a> {
    /// Name, at most eight bytes.
    pub name: &'a str,
    /// Length of the content in bytes, without padding.
    pub size: u64,
    /// True for code, false for data. `.linux` is code, for stubs that run the kernel in place.
    pub code: bool,
}

/// File with the added sections, without their contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The old file with updated headers, up to the first new content.
    pub head: Vec<u8>,
    /// File offset of the content of each new section. The gaps are zero.
    pub(crate) places: Vec<u64>,
    /// Length of the file in bytes, including the padding after the last section.
    pub size: u64,
}

/// Adds `sections` to the file `stub`, in that order.
pub fn append(stub: &[u8], sections: &[NewSection<'_>]) -> Result<Appended, PeError> {
    let pe = Pe::parse(stub, stub.len() as u64)?;
    if let Some(table) = pe.security() {
        return Err(PeError::Signed { offset: table.address.into(), size: table.size.into() });
    }
    if pe.file_alignment > MOST_FILE_ALIGNMENT {
        let (offset, value) = (pe.optional + optional::FILE_ALIGNMENT, pe.file_alignment.into());
        return Err(PeError::Field { field: "FileAlignment", offset, value, rule: "the maximum is 64 KiB" });
    }
    check_names(&pe, sections)?;
    let table_end = room(stub, &pe, sections.len())?;
    let (mut head, moved) = repack(stub, &pe, table_end)?;
    let (added, places, size) = place(&pe, &moved, head.len() as u64, sections)?;
    write_headers(&mut head, &pe, &moved, &added);
    Ok(Appended { head, places, size })
}

fn check_names(pe: &Pe, sections: &[NewSection<'_>]) -> Result<(), PeError> {
    for (index, section) in sections.iter().enumerate() {
        let refused = |why| Err(PeError::Section { name: section.name.to_owned(), why });
        if section.name.is_empty() || section.name.len() > 8 {
            return refused("a name has one to eight bytes");
        }
        if !section.name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused("a name is printable ASCII without blanks");
        }
        if section.size == 0 {
            return refused("empty; some stubs measure empty sections, others do not");
        }
        if pe.section(section.name).is_some() {
            return refused("the file already has a section of that name");
        }
        if sections[..index].iter().any(|before| before.name == section.name) {
            return refused("listed twice");
        }
    }
    Ok(())
}

/// Checks that the section table can grow in place; returns its new end.
fn room(stub: &[u8], pe: &Pe, wanted: usize) -> Result<u64, PeError> {
    let end = pe.section_table() + SECTION_HEADER * pe.sections.len() as u64;
    let raw = pe.sections.iter().filter(|section| section.raw_size != 0).map(|section| section.raw_offset);
    // Headers are loaded, too, so they must not overlap the address of the first section.
    let taken = raw.chain(pe.sections.iter().map(|section| section.address)).min();
    let limit = taken.map_or(pe.size_of_headers.into(), u64::from).min(pe.size);
    let nonzero = stub.get(end as usize..limit as usize).unwrap_or_default().iter().position(|byte| *byte != 0);
    let limit = nonzero.map_or(limit, |at| end + at as u64);
    let fit = usize::try_from(limit.saturating_sub(end) / SECTION_HEADER).unwrap_or(usize::MAX);
    // The number of sections is a 16-bit field; the Windows loader accepts at most 96.
    let fit = fit.min(96_usize.saturating_sub(pe.sections.len()));
    if wanted > fit {
        return Err(PeError::NoRoom { wanted, fit, end, limit });
    }
    Ok(end + SECTION_HEADER * wanted as u64)
}

/// Returns the file with the content of each section padded to `FileAlignment` (it is not in old stubs: systemd#27035)
/// and without the data after the last section; also returns the updated sections.
fn repack(stub: &[u8], pe: &Pe, table_end: u64) -> Result<(Vec<u8>, Vec<Section>), PeError> {
    let mut moved = pe.sections.clone();
    let mut order: Vec<usize> = (0..moved.len()).filter(|index| moved[*index].raw_size != 0).collect();
    order.sort_by_key(|index| moved[*index].raw_offset);
    let first = order.first().map_or(pe.size_of_headers, |index| moved[*index].raw_offset);
    let first = u64::from(first).max(table_end).min(pe.size);
    let mut head = stub[..first as usize].to_vec();
    // End of the previous section in the old file.
    let mut before = (first, "the headers".to_owned());
    for index in order {
        let section = &mut moved[index];
        let (start, end) = (u64::from(section.raw_offset), section.raw_end());
        let name = format!("section {:?}", section.name());
        if start < before.0 {
            return Err(PeError::Overlap { one: before.1, other: name, offset: start });
        }
        pad(&mut head, pe.file_alignment);
        section.raw_offset = to_u32(head.len() as u64, &name)?;
        head.extend(&stub[start as usize..end as usize]);
        pad(&mut head, pe.file_alignment);
        section.raw_size = to_u32(head.len() as u64 - u64::from(section.raw_offset), &name)?;
        before = (end, name);
    }
    pad(&mut head, pe.file_alignment);
    let tail = stub.get(before.0 as usize..).unwrap_or_default();
    let symbols = u64::from(pe.symbols);
    let known = if symbols >= before.0 { (symbols - before.0) as usize } else { tail.len() };
    if let Some(at) = tail.iter().take(known).position(|byte| *byte != 0) {
        return Err(PeError::Stray { offset: before.0 + at as u64, length: (tail.len() - at) as u64 });
    }
    Ok((head, moved))
}

fn pad(bytes: &mut Vec<u8>, alignment: u32) {
    bytes.resize(bytes.len().next_multiple_of(alignment as usize), 0);
}

fn to_u32(value: u64, what: &str) -> Result<u32, PeError> {
    u32::try_from(value)
        .ok()
        .filter(|value| u64::from(*value) <= MOST)
        .ok_or_else(|| PeError::TooBig { what: what.to_owned(), size: value })
}

/// Returns headers and file offsets of the new sections, and the length of the file.
fn place(
    pe: &Pe,
    moved: &[Section],
    start: u64,
    sections: &[NewSection<'_>],
) -> Result<(Vec<Section>, Vec<u64>, u64), PeError> {
    let alignment = u64::from(pe.section_alignment).max(PAGE);
    let file = u64::from(pe.file_alignment);
    let mut memory = moved.iter().map(Section::memory_end).max().unwrap_or(0).max(u64::from(pe.size_of_headers));
    let mut end = start;
    let mut added = Vec::new();
    let mut places = Vec::new();
    for section in sections {
        let too_big = |size| PeError::TooBig { what: format!("section {:?}", section.name), size };
        if section.size > MOST {
            return Err(too_big(end.saturating_add(section.size)));
        }
        let address = memory.next_multiple_of(alignment);
        memory = address + section.size;
        let length = section.size.next_multiple_of(file);
        places.push(end);
        let mut name = [0; 8];
        name[..section.name.len()].copy_from_slice(section.name.as_bytes());
        let what = format!("section {:?}", section.name);
        added.push(Section {
            name,
            virtual_size: to_u32(section.size, &what)?,
            address: to_u32(address, &what)?,
            raw_size: to_u32(length, &what)?,
            raw_offset: to_u32(end, &what)?,
            flags: READ | if section.code { CODE } else { INITIALIZED_DATA },
        });
        end += length;
        if end.max(memory.next_multiple_of(alignment)) > MOST {
            return Err(too_big(end.max(memory)));
        }
    }
    Ok((added, places, end))
}

fn write_headers(head: &mut [u8], pe: &Pe, moved: &[Section], added: &[Section]) {
    let all = moved.iter().chain(added);
    let count = (moved.len() + added.len()) as u16;
    let table = pe.section_table();
    let table_end = table + SECTION_HEADER * u64::from(count);
    let memory = all.clone().map(Section::memory_end).max().unwrap_or(0);
    let image = memory.next_multiple_of(pe.section_alignment.into()) as u32;
    // Headers end before the first section, in the file and in memory; `room` has checked that they fit.
    let raw = moved.iter().filter(|section| section.raw_size != 0).map(|section| section.raw_offset);
    let first = raw.chain(moved.iter().map(|section| section.address)).min().unwrap_or(u32::MAX);
    let grown = (table_end as u32).next_multiple_of(pe.file_alignment).min(first);
    let headers = if table_end > u64::from(pe.size_of_headers) { grown } else { pe.size_of_headers };
    let initialized = read_word(head, pe.optional + optional::INITIALIZED_DATA);
    // Counted as in ukify: `.linux` is initialized data, too.
    let initialized = added.iter().fold(initialized, |sum, section| sum.saturating_add(section.virtual_size));
    put(head, pe.offset + 6, &count.to_le_bytes());
    // Clear the symbol table and the number of symbols.
    put(head, pe.offset + 12, &[0; 8]);
    for (at, value) in [
        (optional::INITIALIZED_DATA, initialized),
        (optional::SIZE_OF_IMAGE, image.max(pe.size_of_image)),
        (optional::SIZE_OF_HEADERS, headers),
        (optional::CHECKSUM, 0),
    ] {
        put(head, pe.optional + at, &value.to_le_bytes());
    }
    for (index, section) in all.enumerate() {
        put(head, table + SECTION_HEADER * index as u64, &section.encode());
    }
}

fn read_word(bytes: &[u8], at: u64) -> u32 {
    bytes.get(at as usize..at as usize + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    let at = at as usize;
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::{Appended, MOST, NewSection, append};
    use crate::format::pe::builder::Builder;
    use crate::format::pe::{Pe, PeError};
    use expect_test::expect;
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    const fn data(name: &str, size: u64) -> NewSection<'_> {
        NewSection { name, size, code: false }
    }

    /// Returns the complete file, with each new section filled with its number.
    fn filled(appended: &Appended, sections: &[NewSection<'_>]) -> Vec<u8> {
        let mut file = appended.head.clone();
        file.resize(appended.size as usize, 0);
        for (index, (place, section)) in appended.places.iter().zip(sections).enumerate() {
            file[*place as usize..(*place + section.size) as usize].fill(index as u8 + 1);
        }
        file
    }

    fn listing(pe: &Pe) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "image {:#x} headers {:#x} checksum {:#x} symbols {}\n",
            pe.size_of_image, pe.size_of_headers, pe.checksum, pe.symbols
        );
        for section in &pe.sections {
            writeln!(
                text,
                "{:8} memory {:#07x}+{:#06x} file {:#07x}+{:#06x} {:08x}",
                section.name(),
                section.address,
                section.virtual_size,
                section.raw_offset,
                section.raw_size,
                section.flags
            )
            .expect("a string takes it");
        }
        text
    }

    #[test]
    fn sections_are_added_after_the_existing_ones() {
        let stub = Builder { section_alignment: 0x200, symbols: 36, ..Builder::default() }.build();
        let sections = [data(".osrel", 5), data(".initrd", 0x2345), NewSection { code: true, ..data(".linux", 0x200) }];
        let appended = append(&stub, &sections).expect("room");
        let file = filled(&appended, &sections);
        let pe = Pe::parse(&file, file.len() as u64).expect("a PE file");
        expect![[r"
            image 0x5200 headers 0x400 checksum 0x0 symbols 0
            .text    memory 0x00400+0x0190 file 0x00400+0x0200 00000000
            .data    memory 0x00600+0x0028 file 0x00600+0x0200 00000000
            .osrel   memory 0x01000+0x0005 file 0x00800+0x0200 40000040
            .initrd  memory 0x02000+0x2345 file 0x00a00+0x2400 40000040
            .linux   memory 0x05000+0x0200 file 0x02e00+0x0200 40000020
        "]]
        .assert_eq(&listing(&pe));
        assert_eq!(file[0x400..0x400 + 400], b"code".repeat(100));
        for (index, section) in pe.sections[2..].iter().enumerate() {
            let (start, length) = section.contents();
            assert!(file[start as usize..(start + length) as usize].iter().all(|byte| *byte == index as u8 + 1));
        }
    }

    #[test]
    fn unaligned_contents_are_moved_to_aligned_offsets() {
        let mut stub = Builder { file_alignment: 8, headers: 0x3f8, ..Builder::default() }.build();
        stub[0xbc..0xc0].copy_from_slice(&0x200_u32.to_le_bytes());
        let appended = append(&stub, &[data(".x", 1)]).expect("room");
        let pe = Pe::parse(&appended.head, appended.size).expect("a PE file");
        assert_eq!(appended.head[0x400..0x400 + 400], b"code".repeat(100));
        assert_eq!(appended.head[0x600..0x600 + 40], b"data".repeat(10));
        assert_eq!(
            (pe.sections[1].raw_offset, pe.sections[1].raw_size, pe.sections[1].virtual_size),
            (0x600, 0x200, 40)
        );
        assert_eq!((appended.places[0], appended.size), (0x800, 0xa00));
    }

    #[test]
    fn headers_grow_at_most_to_the_first_section() {
        // SizeOfHeaders is 0x200, the table ends at 0x1d8, contents start at 0x400.
        let mut stub = Builder::default().build();
        stub[0xd4..0xd8].copy_from_slice(&0x200_u32.to_le_bytes());
        let appended = append(&stub, &[data(".a", 1), data(".b", 1)]).expect("room");
        let pe = Pe::parse(&appended.head, appended.size).expect("a PE file");
        assert_eq!(pe.size_of_headers, 0x400);
        let names: Vec<String> = (0..14).map(|number| format!(".s{number}")).collect();
        let sections: Vec<_> = names.iter().map(|name| data(name, 1)).collect();
        let error = append(&stub, &sections).expect_err("no room").to_string();
        assert_eq!(error, "no room for 14 more sections: table ends at 0x1d8, offset 0x400 is in use, room for 13");
        assert!(append(&stub, &sections[..13]).is_ok());
        // Data after the table is preserved.
        stub[0x230] = 1;
        let error = append(&stub, &sections[..3]).expect_err("no room").to_string();
        assert!(error.ends_with("0x230 is in use, room for 2"), "{error}");
    }

    #[test]
    fn a_section_that_cannot_be_added_is_reported_with_the_reason() {
        let stub = Builder::default().build();
        let refused = |section| append(&stub, &[section]).expect_err("refused").to_string();
        assert_eq!(
            refused(data(".toolongname", 1)),
            "cannot add section \".toolongname\": a name has one to eight bytes"
        );
        assert_eq!(
            refused(data(".text", 1)),
            "cannot add section \".text\": the file already has a section of that name"
        );
        assert!(refused(data(".a", 0)).starts_with("cannot add section \".a\": empty"));
        assert!(refused(data(".a b", 1)).ends_with("a name is printable ASCII without blanks"));
        assert_eq!(
            refused(data(".initrd", MOST - 0x2000)),
            "file too large with section \".initrd\": 2147487743 bytes, firmware loads at most 2147483647"
        );
        assert!(matches!(append(&stub, &[data(".a", u64::MAX)]), Err(PeError::TooBig { .. })));
        assert!(append(&stub, &[data(".initrd", MOST - 0x4000)]).is_ok());
        let twice = append(&stub, &[data(".a", 1), data(".a", 1)]).expect_err("refused").to_string();
        assert!(twice.ends_with("listed twice"), "{twice}");
        let signed = Builder { certificate: 64, ..Builder::default() }.build();
        assert!(matches!(append(&signed, &[data(".a", 1)]), Err(PeError::Signed { size: 64, .. })));
        let mut more = stub.clone();
        more.extend(b"more");
        let error = append(&more, &[data(".a", 1)]).expect_err("refused").to_string();
        assert_eq!(error, "4 bytes at offset 0x800 are not in any section");
        let mut overlapping = stub;
        overlapping[0x188 + 40 + 20] = 0;
        overlapping[0x188 + 40 + 21] = 5;
        let error = append(&overlapping, &[data(".a", 1)]).expect_err("refused").to_string();
        assert_eq!(error, "section \".text\" and section \".data\" overlap at offset 0x500");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn sections_never_overlap(
            plus: bool, file in 5..13_u32, memory in 5..14_u32, text in 0..5000_usize, symbols in 0..3_u32,
            sizes in proptest::collection::vec(1..100_000_u64, 0..5),
        ) {
            let stub = Builder {
                plus, file_alignment: 1 << file, section_alignment: 1 << memory, headers: 0x1000, symbols: symbols * 18,
                contents: [vec![1; text], vec![2; 100]], ..Builder::default()
            };
            let names = [".a", ".b", ".c", ".d", ".e"];
            let sections: Vec<_> = names.iter().zip(&sizes).map(|(name, size)| data(name, *size)).collect();
            let appended = append(&stub.build(), &sections).expect("room");
            let bytes = filled(&appended, &sections);
            let pe = Pe::parse(&bytes, bytes.len() as u64).expect("a PE file");
            prop_assert_eq!(pe.sections.len(), 2 + sizes.len());
            prop_assert_eq!(bytes.len() as u64 % (1 << file), 0);
            let mut before = (u64::from(pe.size_of_headers), 0);
            for section in pe.sections.iter().filter(|section| section.raw_size != 0) {
                prop_assert!(u64::from(section.raw_offset) >= before.0 && u64::from(section.address) >= before.1);
                before = (section.raw_end(), section.memory_end());
            }
            prop_assert!(before.1 <= u64::from(pe.size_of_image));
            for section in &pe.sections[2..] {
                prop_assert_eq!(section.address % 4096, 0);
            }
        }

        #[test]
        fn damaged_stubs_are_handled(at in 0..0x200_usize, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..8)) {
            let mut file = Builder { symbols: 18, ..Builder::default() }.build();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            if let Ok(appended) = append(&file, &[data(".a", 100), data(".b", 200)]) {
                prop_assert!(appended.head.len() < 1 << 20);
                Pe::parse(&appended.head, appended.size).expect("still one");
            }
        }
    }
}

//! `KUnit` suites of a kernel module: pointers to `struct kunit_suite` in the sections `.kunit_test_suites` and
//! `.kunit_init_test_suites` (`include/kunit/test.h`).
//!
//! A module is not linked yet: each pointer is a relocation. The name of a suite is the first member of its structure.
//! Before Linux 6.0, the section contains pointers to arrays of such pointers.

use goblin::elf::reloc::RelocSection;
use goblin::elf::section_header::{SHT_NOBITS, SHT_RELA};
use goblin::elf::sym::Symtab;

use super::modinfo::ModinfoError;
use crate::format::elf::{Elf, ElfError, Sections};
use crate::format::read_at::{PagedReader, ReadAt};

/// Sections with pointers to suites.
const SECTIONS: [&str; 2] = [".kunit_test_suites", ".kunit_init_test_suites"];
/// Size limit of a section, in bytes, far above real ones.
const SECTION_LIMIT: u64 = 256 << 20;
/// Size of the name, with its NUL (`struct kunit_suite`).
const NAME_SIZE: usize = 256;
/// Size of a pointer, in bytes: `KUnit` tests of 32-bit kernels are not supported.
const POINTER: u64 = 8;
/// Limit of suites of a module.
const MAX_SUITES: usize = 10_000;

/// Place in a section: its index, and the offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    section: usize,
    offset: u64,
}

/// Returns the names of a module's suites, in the order in which they run; `None` if it has no such section. A suite
/// whose name cannot be read is omitted.
pub(crate) fn suites(module: &(impl ReadAt + ?Sized)) -> Result<Option<Vec<String>>, ModinfoError> {
    let mut elf = Elf::read(PagedReader::new(module))?;
    let sections = elf.sections()?;
    if !elf.abi.is_64 || SECTIONS.iter().all(|name| sections.find(name).is_none()) {
        return Ok(None);
    }
    let mut names = Vec::new();
    // Suites of the initialization section run first (`kunit_merge_suite_sets`).
    for section in SECTIONS.iter().rev().filter_map(|name| index(&sections, name)) {
        for place in pointers(&mut elf, &sections, section)?.into_iter().map(|(_, place)| place) {
            let array = pointers(&mut elf, &sections, place.section)?;
            let array: Vec<Place> = consecutive(&array, place.offset).collect();
            for place in if array.is_empty() { vec![place] } else { array } {
                names.extend(name(&mut elf, &sections, place)?.filter(|_| names.len() < MAX_SUITES));
            }
        }
    }
    Ok(Some(names))
}

fn index(sections: &Sections, name: &str) -> Option<usize> {
    let found = sections.find(name)?;
    sections.headers.iter().position(|section| std::ptr::eq(section, found))
}

/// Returns the pointers of an array that starts at this offset.
fn consecutive(pointers: &[(u64, Place)], start: u64) -> impl Iterator<Item = Place> {
    let first = pointers.iter().position(|(offset, _)| *offset == start).unwrap_or(pointers.len());
    let places = pointers[first..].iter().enumerate();
    places
        .take_while(move |(at, (offset, _))| start.checked_add(*at as u64 * POINTER) == Some(*offset))
        .map(|(_, (_, place))| *place)
}

/// Returns the pointers in a section: their offsets, in ascending order, and where they point.
fn pointers<R: ReadAt + ?Sized>(
    elf: &mut Elf<'_, R>,
    sections: &Sections,
    section: usize,
) -> Result<Vec<(u64, Place)>, ElfError> {
    let malformed = |rule| ElfError::Malformed { offset: 0, rule };
    let is_table = |table: &&goblin::elf::SectionHeader| table.sh_type == SHT_RELA && table.sh_info as usize == section;
    let (Some(table), Some(symbols)) = (sections.headers.iter().find(is_table), sections.find(".symtab")) else {
        return Ok(Vec::new());
    };
    let context = elf.context();
    let bytes = elf.contents(table, SECTION_LIMIT)?.to_vec();
    let relocations = RelocSection::parse(&bytes, 0, bytes.len(), true, context)
        .map_err(|_| malformed("the relocations cannot be parsed"))?;
    let bytes = elf.contents(symbols, SECTION_LIMIT)?;
    let count = bytes.len() / goblin::elf64::sym::SIZEOF_SYM;
    let symbols =
        Symtab::parse(bytes, 0, count, context).map_err(|_| malformed("the symbol table cannot be parsed"))?;
    let place = |relocation: goblin::elf::Reloc| {
        let symbol = symbols.get(relocation.r_sym)?;
        let offset = symbol.st_value.checked_add_signed(relocation.r_addend.unwrap_or(0))?;
        Some((relocation.r_offset, Place { section: symbol.st_shndx, offset }))
    };
    let mut found: Vec<(u64, Place)> = relocations.iter().filter_map(place).collect();
    found.sort_by_key(|(offset, _)| *offset);
    Ok(found)
}

/// Returns the name of a suite.
fn name<R: ReadAt + ?Sized>(
    elf: &mut Elf<'_, R>,
    sections: &Sections,
    place: Place,
) -> Result<Option<String>, ElfError> {
    let section = sections.headers.get(place.section).filter(|section| section.sh_type != SHT_NOBITS);
    let Some(section) = section else { return Ok(None) };
    let bytes = elf.contents(section, SECTION_LIMIT)?;
    let Some(bytes) = usize::try_from(place.offset).ok().and_then(|offset| bytes.get(offset..)) else {
        return Ok(None);
    };
    let bytes = &bytes[..bytes.len().min(NAME_SIZE)];
    let name = bytes.split(|byte| *byte == 0).next().filter(|name| !name.is_empty() && name.len() < bytes.len());
    let is_printable = |name: &&str| !name.contains(char::is_control);
    Ok(name.and_then(|name| std::str::from_utf8(name).ok()).filter(is_printable).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::suites;
    use crate::format::modules::modinfo::tests::module;

    /// Builds a module whose section of this name points to `targets`, offsets in a section that contains `data`; with
    /// these pointers in that section.
    fn with_suites(section: &str, targets: &[u64], data: &[u8], pointers: &[(u64, u64)]) -> Vec<u8> {
        let names = format!("\0.modinfo\0{section}\0.rela\0.data\0.rela.data\0.symtab\0.shstrtab\0");
        let offset_of = |name: &str| names.find(&format!("\0{name}\0")).expect("a name") as u32 + 1;
        let relocation = |(from, to): (u64, u64)| {
            // R_X86_64_64 to the only symbol, which is at the start of the data.
            [from.to_le_bytes(), ((1_u64 << 32) | 1).to_le_bytes(), to.to_le_bytes()].concat()
        };
        let own: Vec<u8> =
            targets.iter().enumerate().flat_map(|(at, target)| relocation((at as u64 * 8, *target))).collect();
        let inner: Vec<u8> = pointers.iter().flat_map(|pair| relocation(*pair)).collect();
        let mut symbols = vec![0; 48];
        symbols[30..32].copy_from_slice(&4_u16.to_le_bytes());
        // Name, type, contents, sh_info.
        let sections: [(&str, u32, Vec<u8>, u32); 7] = [
            (".modinfo", 1, b"license=GPL\0".to_vec(), 0),
            (section, 1, vec![0; targets.len() * 8], 0),
            (".rela", 4, own, 2),
            (".data", 1, data.to_vec(), 0),
            (".rela.data", 4, inner, 4),
            (".symtab", 2, symbols, 0),
            (".shstrtab", 3, names.clone().into_bytes(), 0),
        ];
        let mut elf = module(&[])[..64].to_vec();
        let mut headers = vec![0; 64];
        for (name, kind, contents, info) in sections {
            headers.extend(offset_of(name).to_le_bytes());
            headers.extend(kind.to_le_bytes());
            headers.extend([0; 16]);
            headers.extend((elf.len() as u64).to_le_bytes());
            headers.extend((contents.len() as u64).to_le_bytes());
            headers.extend([0; 4]);
            headers.extend(info.to_le_bytes());
            headers.extend([0; 16]);
            elf.extend(contents);
        }
        let table_at = elf.len() as u64;
        elf[40..48].copy_from_slice(&table_at.to_le_bytes());
        elf[60..62].copy_from_slice(&8_u16.to_le_bytes());
        elf[62..64].copy_from_slice(&7_u16.to_le_bytes());
        elf.extend(headers);
        elf
    }

    /// Returns two suites of 300 bytes each.
    fn data(first: &[u8], second: &[u8]) -> Vec<u8> {
        let suite = |name: &[u8]| [name, &vec![0; 300 - name.len()]].concat();
        [suite(first), suite(second)].concat()
    }

    #[test]
    fn the_names_of_suites_are_found_through_relocations() {
        let data = data(b"one", b"the second");
        let read = |module: &[u8]| suites(module).expect("a module").map(|names| names.join(", "));
        let new = with_suites(".kunit_test_suites", &[300, 0], &data, &[]);
        assert_eq!(read(&new).as_deref(), Some("the second, one"));
        let init = with_suites(".kunit_init_test_suites", &[0], &data, &[]);
        assert_eq!(read(&init).as_deref(), Some("one"));
        // Before Linux 6.0: a pointer to an array.
        let array = [data.clone(), vec![0; 24]].concat();
        let old = with_suites(".kunit_test_suites", &[600], &array, &[(600, 0), (608, 300)]);
        assert_eq!(read(&old).as_deref(), Some("one, the second"));
        assert_eq!(read(&module(&["license=GPL"])), None);
    }

    #[test]
    fn suites_outside_the_section_or_without_a_printable_name_are_omitted() {
        let read = |targets: &[u64], data: &[u8]| {
            let names = suites(&with_suites(".kunit_test_suites", targets, data, &[])).expect("a module");
            names.expect("a section").join(", ")
        };
        assert_eq!(read(&[9_999, u64::MAX, 0], &data(b"a", b"b")), "a");
        assert_eq!(read(&[0, 300], &data(b"", b"bell\x07")), "");
        assert_eq!(read(&[0], &[b'x'; 300]), "");
    }
}

//! Parses the headers of a PE file.

use super::{Machine, PeError};
use crate::format::Medium;

/// Bytes at the start of a file that must contain all headers. The maximum of 65,535 sections would not fit.
pub(super) const HEAD: u64 = 1 << 20;
/// Offset of `e_lfanew`, the DOS header field with the offset of the PE header.
const LFANEW: u64 = 0x3c;
/// Length of the signature and the COFF header in bytes.
const COFF: u64 = 24;
/// Length of a section header in bytes.
pub(super) const SECTION_HEADER: u64 = 40;
/// Index of the data directory of the certificate table, the only one whose address is a file offset.
const SECURITY: usize = 4;

/// Offsets in the optional header, the same in PE32 and PE32+.
pub(super) mod optional {
    pub(crate) const INITIALIZED_DATA: u64 = 8;
    pub(crate) const SECTION_ALIGNMENT: u64 = 32;
    pub(crate) const FILE_ALIGNMENT: u64 = 36;
    pub(crate) const IMAGE_VERSION: u64 = 44;
    pub(crate) const SIZE_OF_IMAGE: u64 = 56;
    pub(crate) const SIZE_OF_HEADERS: u64 = 60;
    pub(crate) const CHECKSUM: u64 = 64;
    pub(crate) const SUBSYSTEM: u64 = 68;
}

/// Headers of a PE file. Offsets are in bytes from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pe {
    /// Length of the file in bytes.
    pub size: u64,
    /// Offset of the `PE\0\0` signature.
    pub(crate) offset: u64,
    /// Target machine.
    pub machine: Machine,
    /// Link time in seconds since 1970; often arbitrary.
    pub(crate) time: u32,
    /// Offset of the COFF symbol table; 0 if there is none.
    pub(crate) symbols: u32,
    /// Number of symbols in that table.
    pub(crate) symbol_count: u32,
    /// Offset of the optional header.
    pub(crate) optional: u64,
    /// Length of the optional header.
    pub(crate) optional_size: u16,
    /// True for PE32+, with 64-bit addresses.
    pub(crate) plus: bool,
    /// `SectionAlignment`: alignment of sections in memory.
    pub(crate) section_alignment: u32,
    /// `FileAlignment`: alignment of section contents in the file.
    pub(crate) file_alignment: u32,
    /// `MajorImageVersion`: a Linux kernel with 1 or more loads its initrd with the `LoadFile2` protocol
    /// (`include/linux/pe.h`, `LINUX_EFISTUB_MAJOR_VERSION`).
    pub(crate) image_version: u16,
    /// `SizeOfImage`: size of the loaded image in memory.
    pub(crate) size_of_image: u32,
    /// `SizeOfHeaders`: length of the headers that are loaded.
    pub(crate) size_of_headers: u32,
    /// Checksum of the file; EFI ignores it.
    pub(crate) checksum: u32,
    /// Subsystem; 10 is an EFI application.
    pub(crate) subsystem: u16,
    /// Data directories.
    pub(crate) directories: Vec<Directory>,
    /// Sections, in table order.
    pub sections: Vec<Section>,
}

/// A data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directory {
    /// Address in memory; for the certificate table, the offset in the file.
    pub(crate) address: u32,
    /// Length in bytes.
    pub(crate) size: u32,
}

/// Section header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Name, padded with zeros.
    pub(crate) name: [u8; 8],
    /// `VirtualSize`: length in memory.
    pub virtual_size: u32,
    /// `VirtualAddress`: address in memory.
    pub address: u32,
    /// `SizeOfRawData`: length in the file.
    pub raw_size: u32,
    /// `PointerToRawData`: offset in the file.
    pub raw_offset: u32,
    /// `IMAGE_SCN_*`.
    pub(crate) flags: u32,
}

impl Section {
    /// Returns the name as text; non-ASCII bytes become `?`.
    pub fn name(&self) -> String {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        name.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect()
    }

    /// Returns file offset and length of the content, without padding.
    pub fn contents(&self) -> (u64, u64) {
        (u64::from(self.raw_offset), u64::from(self.raw_size.min(self.virtual_size)))
    }

    /// Returns the end of the section in the file.
    pub fn raw_end(&self) -> u64 {
        u64::from(self.raw_offset) + u64::from(self.raw_size)
    }

    /// Returns the end of the section in memory.
    pub(crate) fn memory_end(&self) -> u64 {
        u64::from(self.address) + u64::from(self.virtual_size)
    }

    /// Encodes the section header.
    pub(super) fn encode(&self) -> [u8; SECTION_HEADER as usize] {
        let mut bytes = [0; SECTION_HEADER as usize];
        bytes[..8].copy_from_slice(&self.name);
        let words = [self.virtual_size, self.address, self.raw_size, self.raw_offset, 0, 0, 0, self.flags];
        for (place, word) in bytes[8..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

impl Pe {
    /// Reads the headers of a file, from its first MiB.
    pub fn read(file: &(impl Medium + ?Sized)) -> Result<Self, PeError> {
        let length = file.size().min(HEAD) as usize;
        let mut head = vec![0; length];
        file.read_at(&mut head, 0).map_err(|source| PeError::Io { offset: 0, length, source })?;
        Self::parse(&head, file.size())
    }

    /// Parses the headers in `head`, the start of a file of `size` bytes.
    pub fn parse(head: &[u8], size: u64) -> Result<Self, PeError> {
        let bytes = Head { bytes: head, size };
        if bytes.take("the DOS header", 0, 2)? != b"MZ" {
            return Err(PeError::NotPe { what: "no \"MZ\" signature", offset: 0 });
        }
        let offset = u64::from(bytes.word("the DOS header", LFANEW)?);
        if bytes.take("the PE header", offset, 4)? != b"PE\0\0" {
            return Err(PeError::NotPe { what: "no \"PE\" signature", offset });
        }
        let coff = |at| bytes.word("the COFF header", offset + at);
        let short = |at| bytes.short("the COFF header", offset + at);
        let optional = offset + COFF;
        let optional_size = short(20)?;
        let directories = directories(&bytes, optional, optional_size)?;
        let field = |at| bytes.word("the optional header", optional + at);
        let pe = Self {
            size,
            offset,
            machine: Machine(short(4)?),
            time: coff(8)?,
            symbols: coff(12)?,
            symbol_count: coff(16)?,
            optional,
            optional_size,
            plus: is_plus(&bytes, optional)?,
            section_alignment: field(optional::SECTION_ALIGNMENT)?,
            file_alignment: field(optional::FILE_ALIGNMENT)?,
            image_version: field(optional::IMAGE_VERSION)? as u16,
            size_of_image: field(optional::SIZE_OF_IMAGE)?,
            size_of_headers: field(optional::SIZE_OF_HEADERS)?,
            checksum: field(optional::CHECKSUM)?,
            subsystem: field(optional::SUBSYSTEM)? as u16,
            directories,
            sections: sections(&bytes, optional + u64::from(optional_size), short(6)?)?,
        };
        pe.check()?;
        Ok(pe)
    }

    /// Checks the properties that all section code relies on.
    fn check(&self) -> Result<(), PeError> {
        for (field, at, value) in [
            ("SectionAlignment", optional::SECTION_ALIGNMENT, self.section_alignment),
            ("FileAlignment", optional::FILE_ALIGNMENT, self.file_alignment),
        ] {
            if !value.is_power_of_two() {
                let rule = "must be a power of two";
                return Err(PeError::Field { field, offset: self.optional + at, value: value.into(), rule });
            }
        }
        if u64::from(self.size_of_headers) > self.size {
            let (offset, value) = (self.optional + optional::SIZE_OF_HEADERS, self.size_of_headers.into());
            return Err(PeError::Field { field: "SizeOfHeaders", offset, value, rule: "exceeds the file size" });
        }
        for section in &self.sections {
            if section.raw_size != 0 && section.raw_end() > self.size {
                let (offset, length) = (section.raw_offset.into(), section.raw_size.into());
                let what = format!("section {:?}", section.name());
                return Err(PeError::Beyond { what, offset, length, size: self.size });
            }
        }
        Ok(())
    }

    /// Returns the first section with this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name() == name)
    }

    /// Returns the offset of the section table.
    pub(crate) fn section_table(&self) -> u64 {
        self.optional + u64::from(self.optional_size)
    }

    /// Returns the offset of the checksum.
    pub(crate) fn checksum_offset(&self) -> u64 {
        self.optional + optional::CHECKSUM
    }

    /// Returns the offset of the data directory of the certificate table; `None` if the header has too few.
    pub(crate) fn security_offset(&self) -> Option<u64> {
        let first = self.optional + directories_at(self.plus);
        (self.directories.len() > SECURITY).then_some(first + 8 * SECURITY as u64)
    }

    /// Returns the certificate table, with a file offset instead of an address; `None` if the file is not signed.
    pub(crate) fn security(&self) -> Option<Directory> {
        self.directories.get(SECURITY).copied().filter(|directory| directory.size != 0)
    }
}

/// Start of a file, and the length of the whole file.
struct Head<'a> {
    bytes: &'a [u8],
    size: u64,
}

impl<'a> Head<'a> {
    fn take(&self, what: &str, offset: u64, length: u64) -> Result<&'a [u8], PeError> {
        let found = offset.checked_add(length).and_then(|end| {
            let range = usize::try_from(offset).ok()?..usize::try_from(end).ok()?;
            self.bytes.get(range)
        });
        // The same error also covers headers past the first MiB of the file.
        let size = self.size.min(self.bytes.len() as u64);
        found.ok_or_else(|| PeError::Beyond { what: what.to_owned(), offset, length, size })
    }

    fn word(&self, what: &str, offset: u64) -> Result<u32, PeError> {
        self.take(what, offset, 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn short(&self, what: &str, offset: u64) -> Result<u16, PeError> {
        self.take(what, offset, 2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }
}

fn is_plus(bytes: &Head<'_>, offset: u64) -> Result<bool, PeError> {
    match bytes.short("the optional header", offset)? {
        0x10b => Ok(false),
        0x20b => Ok(true),
        value => {
            let rule = "must be 0x10b (PE32) or 0x20b (PE32+)";
            Err(PeError::Field { field: "Magic", offset, value: value.into(), rule })
        }
    }
}

/// Returns the offset of the data directories in the optional header; their number precedes them.
fn directories_at(plus: bool) -> u64 {
    if plus { 112 } else { 96 }
}

fn directories(bytes: &Head<'_>, optional: u64, length: u16) -> Result<Vec<Directory>, PeError> {
    let what = "the optional header";
    let first = directories_at(is_plus(bytes, optional)?);
    let field = "NumberOfRvaAndSizes";
    let (offset, count) = (optional + first - 4, bytes.word(what, optional + first - 4)?);
    // EDK2 accepts at most 16, and requires that they end within the optional header
    // (BasePeCoff.c, PeCoffLoaderGetPeHeader).
    if count > 16 || first + 8 * u64::from(count) > u64::from(length) {
        let rule = "must be at most 16 and fit in the optional header";
        return Err(PeError::Field { field, offset, value: count.into(), rule });
    }
    (0..u64::from(count))
        .map(|index| {
            let at = optional + first + 8 * index;
            Ok(Directory { address: bytes.word(what, at)?, size: bytes.word(what, at + 4)? })
        })
        .collect()
}

fn sections(bytes: &Head<'_>, table: u64, count: u16) -> Result<Vec<Section>, PeError> {
    let all = bytes.take("the section table", table, SECTION_HEADER * u64::from(count))?;
    let read = |header: &[u8]| {
        let word = |at: usize| header.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut name = [0; 8];
        name.copy_from_slice(&header[..8]);
        Section {
            name,
            virtual_size: word(8),
            address: word(12),
            raw_size: word(16),
            raw_offset: word(20),
            flags: word(36),
        }
    };
    Ok(all.chunks_exact(SECTION_HEADER as usize).map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::{Pe, PeError};
    use crate::format::pe::builder::Builder;
    use goblin::pe::header::Header;
    use proptest::prelude::{ProptestConfig, any, proptest};

    /// Compares the parsed headers with those of goblin.
    fn agrees_with_goblin(bytes: &[u8]) {
        let pe = Pe::parse(bytes, bytes.len() as u64).expect("a PE file");
        let header = Header::parse(bytes).expect("a header");
        let (coff, optional) = (header.coff_header, header.optional_header.expect("an optional header"));
        let fields = optional.windows_fields;
        assert_eq!(
            (pe.machine.0, pe.symbols, pe.time),
            (coff.machine, coff.pointer_to_symbol_table, coff.time_date_stamp)
        );
        assert_eq!((pe.section_alignment, pe.file_alignment), (fields.section_alignment, fields.file_alignment));
        assert_eq!((pe.size_of_image, pe.size_of_headers), (fields.size_of_image, fields.size_of_headers));
        assert_eq!((pe.checksum, pe.subsystem), (fields.check_sum, fields.subsystem));
        assert_eq!(pe.image_version, fields.major_image_version);
        assert_eq!(pe.directories.len() as u32, fields.number_of_rva_and_sizes);
        let found = optional.data_directories.get_certificate_table().map(|table| (table.virtual_address, table.size));
        assert_eq!(pe.security().map(|table| (table.address, table.size)), found.filter(|table| table.1 != 0));
        let sections = coff.sections(bytes, &mut (pe.section_table() as usize)).expect("sections");
        assert_eq!(pe.sections.len(), sections.len());
        for (ours, theirs) in pe.sections.iter().zip(sections) {
            assert_eq!(
                (ours.name, ours.virtual_size, ours.address),
                (theirs.name, theirs.virtual_size, theirs.virtual_address)
            );
            assert_eq!((ours.raw_size, ours.raw_offset), (theirs.size_of_raw_data, theirs.pointer_to_raw_data));
            assert_eq!(ours.flags, theirs.characteristics);
            assert_eq!(ours.encode()[..24], bytes_of(&theirs));
        }
    }

    fn bytes_of(section: &goblin::pe::section_table::SectionTable) -> Vec<u8> {
        let words =
            [section.virtual_size, section.virtual_address, section.size_of_raw_data, section.pointer_to_raw_data];
        section.name.iter().copied().chain(words.into_iter().flat_map(u32::to_le_bytes)).collect()
    }

    #[test]
    fn goblin_parses_the_same_headers() {
        for plus in [true, false] {
            agrees_with_goblin(&Builder { plus, ..Builder::default() }.build());
            agrees_with_goblin(&Builder { plus, directories: 5, certificate: 16, ..Builder::default() }.build());
        }
    }

    #[test]
    fn errors_name_the_field_and_its_offset() {
        let good = Builder::default().build();
        let broken = |at: usize, bytes: &[u8]| {
            let mut broken = good.clone();
            broken[at..at + bytes.len()].copy_from_slice(bytes);
            Pe::parse(&broken, broken.len() as u64).expect_err("refused").to_string()
        };
        assert_eq!(broken(0, b"ZM"), "not a PE file: no \"MZ\" signature at offset 0x0");
        assert_eq!(broken(0x80, b"NE"), "not a PE file: no \"PE\" signature at offset 0x80");
        assert_eq!(
            broken(0x3c, &u32::MAX.to_le_bytes()),
            format!(
                "the PE header at offset 0xffffffff (4 bytes) extends past the end of the file ({} bytes)",
                good.len()
            )
        );
        assert_eq!(broken(0x98, &[0, 0]), "Magic at offset 0x98 is 0x0: must be 0x10b (PE32) or 0x20b (PE32+)");
        assert_eq!(broken(0xb8, &[3]), "SectionAlignment at offset 0xb8 is 0x1003: must be a power of two");
        assert_eq!(broken(0xbc, &[0, 0]), "FileAlignment at offset 0xbc is 0x0: must be a power of two");
        assert!(broken(0x104, &[17]).starts_with("NumberOfRvaAndSizes at offset 0x104 is 0x11"));
        assert!(
            broken(0x86, &[255, 255]).starts_with("the section table at offset 0x188 (2621400 bytes) extends past")
        );
        assert!(broken(0x188 + 16, &[0, 0, 0, 1]).starts_with("section \".text\" at offset 0x400 (16777216 bytes)"));
        assert!(
            broken(0xd4, &[0, 0, 0, 1]).starts_with("SizeOfHeaders at offset 0xd4 is 0x1000000: exceeds the file size")
        );
        let error = Pe::parse(&good[..200], 200).expect_err("truncated");
        assert!(matches!(error, PeError::Beyond { .. }), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn damaged_headers_are_handled(at in 0..0x200_usize, bytes in proptest::collection::vec(any::<u8>(), 1..8), end in 0..3000_usize) {
            let mut file = Builder::default().build();
            file[at..at + bytes.len()].copy_from_slice(&bytes);
            file.truncate(end.max(64));
            if let Ok(pe) = Pe::read(&file) {
                for section in &pe.sections {
                    assert!(section.raw_size == 0 || section.raw_end() <= file.len() as u64);
                }
            }
        }
    }
}

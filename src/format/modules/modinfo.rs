//! The `.modinfo` section of a kernel module: NUL-separated `key=value` (`include/linux/moduleinfo.h`, `modpost`).
//!
//! Reads just the ELF header, the section headers, their names and the section itself, wherever they are, so that
//! thousands of modules take a few small reads each. Refuses what is not a relocatable ELF file, and tables that lie
//! outside the file or are larger than any real module's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use goblin::container::Ctx;
use goblin::elf::{Elf, SectionHeader};

/// ELF's `ET_REL`: what every module is.
const ET_REL: u16 = 1;
/// Section headers of the largest modules take some hundred KiB.
const TABLE_LIMIT: u64 = 16 << 20;
/// The longest `.modinfo` known (amdgpu's) is some 40 KiB.
const MODINFO_LIMIT: u64 = 4 << 20;

/// Why a file's `.modinfo` could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ModinfoError {
    /// Not a module.
    #[error("not a kernel module: {0}")]
    NotAModule(&'static str),
    /// An offset or a size in the file is a lie, or the file was cut short.
    #[error("truncated or damaged: {what} at offset {offset}, {len} bytes, of a file of {file}")]
    Outside {
        /// What should have been there.
        what: &'static str,
        /// Where it should start.
        offset: u64,
        /// How long it should be.
        len: u64,
        /// How long the file is.
        file: u64,
    },
    /// The ELF reader gave up.
    #[error("damaged ELF file: {0}")]
    Elf(#[from] goblin::error::Error),
    /// The file system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Something that parts can be read of.
pub trait ReadAt {
    /// Fills `buffer` from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|start| self.get(start..)).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What a module says about itself, as far as loading it is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modinfo {
    /// Modules whose symbols it uses, direct ones only.
    pub depends: Vec<String>,
    /// Values of `softdep=`: `pre: a b post: c`.
    pub softdeps: Vec<String>,
    /// Names in `weakdep=`.
    pub weakdeps: Vec<String>,
    /// Patterns of the devices and names it answers to.
    pub aliases: Vec<String>,
    /// Files it may ask for, patterns among them.
    pub firmware: Vec<String>,
    /// Names of its parameters, as far as it tells.
    pub parameters: Vec<String>,
    /// Release and features of the kernel it was built for.
    pub vermagic: Option<String>,
}

impl Modinfo {
    /// Reads it from a module of `len` bytes.
    pub fn read<R: ReadAt + ?Sized>(module: &R, len: u64) -> Result<Self, ModinfoError> {
        Ok(Self::parse(&section(module, len)?))
    }

    /// Reads it from a module in memory.
    pub fn of(module: &[u8]) -> Result<Self, ModinfoError> {
        Self::read(module, module.len() as u64)
    }

    /// Takes the section apart. Entries without `=` and keys of no use here are skipped.
    pub fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let Some(equals) = entry.iter().position(|byte| *byte == b'=') else { continue };
            let (key, value) = entry.split_at(equals);
            let value = || String::from_utf8_lossy(value.get(1..).unwrap_or_default()).into_owned();
            match key {
                b"depends" => info.depends.extend(names(&value(), ',')),
                b"softdep" => info.softdeps.push(value()),
                b"weakdep" => info.weakdeps.extend(names(&value(), ' ')),
                b"alias" => info.aliases.push(value()),
                b"firmware" => info.firmware.push(value()),
                // `NAME:TYPE` and `NAME:DESCRIPTION`; most parameters have both, those with functions of their own
                // only the second (`include/linux/moduleparam.h`).
                b"parmtype" | b"parm" => {
                    let value = value();
                    let name = value.split(':').next().unwrap_or_default();
                    if !info.parameters.iter().any(|known| known == name) {
                        info.parameters.push(name.to_owned());
                    }
                }
                b"vermagic" => info.vermagic = Some(value()),
                _ => {}
            }
        }
        info
    }

    /// The release the module was built for: the first word of its vermagic.
    pub fn release(&self) -> Option<&str> {
        self.vermagic.as_deref().and_then(|magic| magic.split(' ').next()).filter(|word| !word.is_empty())
    }
}

/// The words of a list.
fn names(list: &str, separator: char) -> impl Iterator<Item = String> {
    list.split(separator).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Finds and reads the section.
fn section<R: ReadAt + ?Sized>(module: &R, len: u64) -> Result<Vec<u8>, ModinfoError> {
    let start = read(module, len, "the ELF header", 0, len.min(64), 64)?;
    if !start.starts_with(b"\x7fELF") {
        return Err(ModinfoError::NotAModule("no ELF magic"));
    }
    if start.len() < 64 {
        return Err(ModinfoError::Outside { what: "the ELF header", offset: 0, len: 64, file: len });
    }
    let header = Elf::parse_header(&start)?;
    if header.e_type != ET_REL {
        return Err(ModinfoError::NotAModule("an ELF file, but not a relocatable one"));
    }
    let context = Ctx::new(header.container()?, header.endianness()?);
    let (size, count) = (SectionHeader::size(context) as u64, u64::from(header.e_shnum));
    if u64::from(header.e_shentsize) != size || count == 0 {
        return Err(ModinfoError::NotAModule("no section headers"));
    }
    let table = read(module, len, "the section headers", header.e_shoff, count * size, TABLE_LIMIT)?;
    let sections = SectionHeader::parse_from(&table, 0, usize::from(header.e_shnum), context)?;
    let names = sections.get(usize::from(header.e_shstrndx)).ok_or(ModinfoError::NotAModule("no section names"))?;
    let names = read(module, len, "the section names", names.sh_offset, names.sh_size, TABLE_LIMIT)?;
    let found = sections.iter().find(|section| {
        let name = names.get(section.sh_name..).unwrap_or_default();
        name.starts_with(b".modinfo\0")
    });
    let found = found.ok_or(ModinfoError::NotAModule("no .modinfo section"))?;
    read(module, len, ".modinfo", found.sh_offset, found.sh_size, MODINFO_LIMIT)
}

/// Reads a part that must lie inside the file, and be of a sane size.
fn read<R: ReadAt + ?Sized>(
    module: &R,
    file: u64,
    what: &'static str,
    offset: u64,
    len: u64,
    limit: u64,
) -> Result<Vec<u8>, ModinfoError> {
    let inside = offset.checked_add(len).is_some_and(|end| end <= file) && len <= limit;
    let mut buffer = vec![0; if inside { usize::try_from(len).unwrap_or(0) } else { 0 }];
    if !inside {
        return Err(ModinfoError::Outside { what, offset, len, file });
    }
    module.read_at(&mut buffer, offset)?;
    Ok(buffer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Modinfo, ModinfoError};
    use proptest::prelude::{ProptestConfig, any, proptest};

    /// A relocatable ELF file with nothing but a `.modinfo` section.
    pub(crate) fn module(entries: &[&str]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let info: Vec<u8> = entries.iter().flat_map(|entry| [entry.as_bytes(), b"\0"].concat()).collect();
        let (info_at, names_at) = (64, 64 + info.len());
        let table_at = (names_at + names.len()).next_multiple_of(8);
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.extend(1_u16.to_le_bytes());
        elf.extend(62_u16.to_le_bytes());
        elf.extend(1_u32.to_le_bytes());
        elf.extend([0; 16]);
        elf.extend((table_at as u64).to_le_bytes());
        elf.extend([0; 4]);
        for field in [64_u16, 0, 0, 64, 3, 2] {
            elf.extend(field.to_le_bytes());
        }
        elf.extend(&info);
        elf.extend(names);
        elf.resize(table_at + 64, 0);
        for (name, at, len) in [(1_u32, info_at, info.len()), (10, names_at, names.len())] {
            elf.extend(name.to_le_bytes());
            elf.extend(1_u32.to_le_bytes());
            elf.extend([0; 16]);
            elf.extend((at as u64).to_le_bytes());
            elf.extend((len as u64).to_le_bytes());
            elf.extend([0; 24]);
        }
        elf
    }

    #[test]
    fn every_key_of_use_is_read() {
        let module = module(&[
            "license=GPL",
            "depends=mii,libphy",
            "depends=",
            "softdep=pre: a-b post: c",
            "weakdep=w1 w2",
            "alias=pci:v00008086d*",
            "alias=x=y",
            "firmware=a/b.bin",
            "vermagic=6.1.0-56-amd64 SMP preempt mod_unload modversions ",
            "nonsense",
        ]);
        let info = Modinfo::of(&module).expect("parses");
        assert_eq!(info.depends, ["mii", "libphy"]);
        assert_eq!(info.softdeps, ["pre: a-b post: c"]);
        assert_eq!(info.weakdeps, ["w1", "w2"]);
        assert_eq!(info.aliases, ["pci:v00008086d*", "x=y"]);
        assert_eq!(info.firmware, ["a/b.bin"]);
        assert_eq!(info.release(), Some("6.1.0-56-amd64"));
    }

    #[test]
    fn a_module_cut_short_anywhere_is_an_error() {
        let whole = module(&["depends=a", "name=b"]);
        for len in 0..whole.len() {
            assert!(Modinfo::of(&whole[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn tables_that_lie_are_refused_with_their_place() {
        let mut lying = module(&["depends=a"]);
        lying[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = Modinfo::of(&lying).expect_err("refused");
        assert!(matches!(error, ModinfoError::Outside { what: "the section headers", .. }), "{error}");
        assert!(matches!(Modinfo::of(b"#!/bin/sh\n"), Err(ModinfoError::NotAModule(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_change_to_a_module_is_parsed_or_refused(at in 0_usize..1000, byte in any::<u8>(), cut in any::<u16>()) {
            let mut bytes = module(&["depends=a,b", "alias=x", "vermagic=1 SMP"]);
            let at = at % bytes.len();
            bytes[at] = byte;
            if cut % 5 == 0 {
                bytes.truncate(usize::from(cut) % bytes.len());
            }
            // Only that it returns; the ELF reader has its own opinions on what is fatal.
            let _ = Modinfo::of(&bytes);
        }
    }
}

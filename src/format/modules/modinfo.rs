//! Parser of the `.modinfo` section of a kernel module: NUL-separated `key=value` (`include/linux/moduleinfo.h`,
//! `modpost`).
//!
//! Each of thousands of modules needs only a few small reads. Refuses files that are not relocatable ELF files.

use crate::format::elf::{ET_REL, Elf, ElfError, ElfKind, is_elf};
use crate::format::read_at::{PagedReader, ReadAt};

/// Size limit of `.modinfo`, in bytes. The largest known one (amdgpu) is about 40 KiB.
const MODINFO_LIMIT: u64 = 4 << 20;

/// The `.modinfo` of a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ModinfoError {
    /// The file is not a module.
    #[error("not a kernel module: {0}")]
    NotAModule(&'static str),
    /// A truncated or damaged ELF file, or an I/O error.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Fields of `.modinfo` that are relevant for loading a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modinfo {
    /// Direct dependencies: modules whose symbols this module uses.
    pub(crate) depends: Vec<String>,
    /// Values of `softdep=`: `pre: a b post: c`.
    pub(crate) softdeps: Vec<String>,
    /// Names in `weakdep=`.
    pub(crate) weakdeps: Vec<String>,
    /// Alias patterns: devices and names that the module supports.
    pub(crate) aliases: Vec<String>,
    /// Firmware files that the module may request; may be patterns.
    pub(crate) firmware: Vec<String>,
    /// Names of the declared parameters.
    pub(crate) parameters: Vec<String>,
    /// Release and features of the kernel that the module was built for.
    pub(crate) vermagic: Option<String>,
}

impl Modinfo {
    /// Reads the `.modinfo` of a module.
    pub fn read(module: &(impl ReadAt + ?Sized)) -> Result<Self, ModinfoError> {
        let mut reader = PagedReader::new(module);
        if !is_elf(reader.read_up_to(0, 64).map_err(ElfError::Io)?) {
            return Err(ModinfoError::NotAModule("no ELF magic"));
        }
        let mut elf = Elf::read(reader)?;
        if elf.kind != ElfKind::Other(ET_REL) {
            return Err(ModinfoError::NotAModule("ELF file is not relocatable"));
        }
        let section = elf.section(".modinfo", MODINFO_LIMIT)?;
        Ok(Self::parse(section.ok_or(ModinfoError::NotAModule("no .modinfo section"))?))
    }

    /// Parses the section. Skips entries without `=` and irrelevant keys.
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
                // `NAME:TYPE` and `NAME:DESCRIPTION`. Most parameters have both; those with custom callbacks
                // (`module_param_cb`) have only the second (`include/linux/moduleparam.h`).
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

    /// Returns the release that the module was built for: the first word of its vermagic.
    pub(crate) fn release(&self) -> Option<&str> {
        self.vermagic.as_deref().and_then(|magic| magic.split(' ').next()).filter(|word| !word.is_empty())
    }
}

/// Splits a list; skips empty names.
fn names(list: &str, separator: char) -> impl Iterator<Item = String> {
    list.split(separator).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Modinfo, ModinfoError};
    use proptest::prelude::{ProptestConfig, any, proptest};

    /// Builds a relocatable ELF file that contains only a `.modinfo` section.
    pub(crate) fn module(entries: &[&str]) -> Vec<u8> {
        let info: Vec<u8> = entries.iter().flat_map(|entry| [entry.as_bytes(), b"\0"].concat()).collect();
        sections(&[(".modinfo", &info)])
    }

    /// Builds a relocatable ELF file with these sections, and one with their names.
    pub(crate) fn sections(contents: &[(&str, &[u8])]) -> Vec<u8> {
        let names: Vec<u8> = [""]
            .into_iter()
            .chain(contents.iter().map(|(name, _)| *name))
            .chain([".shstrtab"])
            .flat_map(|name| [name.as_bytes(), b"\0"].concat())
            .collect();
        let contents = contents.iter().copied().chain([(".shstrtab", names.as_slice())]);
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        elf.resize(64, 0);
        let mut headers = vec![0; 64];
        let mut name_at = 1_u32;
        for (name, content) in contents {
            headers.extend(name_at.to_le_bytes());
            headers.extend(1_u32.to_le_bytes());
            headers.extend([0; 16]);
            headers.extend((elf.len() as u64).to_le_bytes());
            headers.extend((content.len() as u64).to_le_bytes());
            headers.extend([0; 24]);
            name_at += name.len() as u32 + 1;
            elf.extend(content);
        }
        elf.resize(elf.len().next_multiple_of(8), 0);
        let (table_at, count) = (elf.len() as u64, (headers.len() / 64) as u16);
        elf[16..18].copy_from_slice(&1_u16.to_le_bytes());
        elf[18..20].copy_from_slice(&62_u16.to_le_bytes());
        elf[20..24].copy_from_slice(&1_u32.to_le_bytes());
        elf[40..48].copy_from_slice(&table_at.to_le_bytes());
        for (at, field) in [(52, 64), (58, 64), (60, count), (62, count - 1)] {
            elf[at..at + 2].copy_from_slice(&field.to_le_bytes());
        }
        elf.extend(headers);
        elf
    }

    #[test]
    fn every_relevant_key_is_read() {
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
        let info = Modinfo::read(&module).expect("parses");
        assert_eq!(info.depends, ["mii", "libphy"]);
        assert_eq!(info.softdeps, ["pre: a-b post: c"]);
        assert_eq!(info.weakdeps, ["w1", "w2"]);
        assert_eq!(info.aliases, ["pci:v00008086d*", "x=y"]);
        assert_eq!(info.firmware, ["a/b.bin"]);
        assert_eq!(info.release(), Some("6.1.0-56-amd64"));
    }

    #[test]
    fn a_module_truncated_anywhere_is_an_error() {
        let whole = module(&["depends=a", "name=b"]);
        for len in 0..whole.len() {
            assert!(Modinfo::read(&whole[..len]).is_err(), "truncated at {len}");
        }
    }

    #[test]
    fn tables_outside_the_file_are_refused_by_name() {
        let mut corrupt = module(&["depends=a"]);
        corrupt[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = Modinfo::read(&corrupt).expect_err("refused");
        assert!(error.to_string().contains("the section headers extend past the end of the file"), "{error}");
        assert!(matches!(Modinfo::read(b"#!/bin/sh\n".as_slice()), Err(ModinfoError::NotAModule(_))));
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
            // The result may be either: the ELF parser decides which faults are fatal.
            let _ = Modinfo::read(&bytes);
        }
    }
}

//! Symbols that a kernel module exports, and those that it takes from the kernel and from other modules.
//!
//! Exported names are in `__ksymtab_strings` (`include/linux/export.h`), which also contains the names of namespaces.

use std::collections::HashSet;

use goblin::container::{Container, Ctx};
use goblin::elf::sym::Symtab;

use super::modinfo::ModinfoError;
use crate::format::elf::{Elf, ElfError};
use crate::format::read_at::{PagedReader, ReadAt};

/// Size limit of a table, in bytes, far above real ones.
const TABLE_LIMIT: u64 = 64 << 20;

/// Symbols of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Symbols {
    /// Names that other modules may use.
    pub(crate) exported: HashSet<Vec<u8>>,
    /// Names that the kernel or other modules must export.
    pub(crate) undefined: HashSet<Vec<u8>>,
}

impl Symbols {
    /// Reads the symbols of a module. A table that is missing has no names.
    pub(crate) fn read(module: &(impl ReadAt + ?Sized)) -> Result<Self, ModinfoError> {
        let mut elf = Elf::read(PagedReader::new(module))?;
        let exported = elf.section("__ksymtab_strings", TABLE_LIMIT)?.unwrap_or_default();
        let exported = exported.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
        let names = elf.section(".strtab", TABLE_LIMIT)?.unwrap_or_default().to_vec();
        let context = elf.context();
        let table = elf.section(".symtab", TABLE_LIMIT)?.unwrap_or_default();
        let undefined = undefined(table, &names, context)?;
        Ok(Self { exported, undefined })
    }
}

/// Returns the names of the undefined symbols in a table.
fn undefined(table: &[u8], names: &[u8], context: Ctx) -> Result<HashSet<Vec<u8>>, ElfError> {
    let size = match context.container {
        Container::Little => goblin::elf32::sym::SIZEOF_SYM,
        Container::Big => goblin::elf64::sym::SIZEOF_SYM,
    };
    if table.len() < size {
        return Ok(HashSet::new());
    }
    let rule = "the symbol table cannot be parsed";
    let symbols = Symtab::parse(table, 0, table.len() / size, context);
    let symbols = symbols.map_err(|_| ElfError::Malformed { offset: 0, rule })?;
    let name = |at: usize| names.get(at..).and_then(|rest| rest.split(|byte| *byte == 0).next());
    let undefined = symbols.iter().filter(|symbol| symbol.st_shndx == 0);
    Ok(undefined
        .filter_map(|symbol| name(symbol.st_name))
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Symbols;
    use crate::format::modules::modinfo::tests::{module, sections};

    /// Builds a module that exports and uses these symbols.
    pub(crate) fn module_with(modinfo: &[&str], exported: &[&str], undefined: &[&str]) -> Vec<u8> {
        let text =
            |words: &[&str]| words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>();
        let names = [b"\0".as_slice(), &text(undefined)].concat();
        let mut table = vec![0; 24];
        let mut at = 1_u32;
        for name in undefined {
            table.extend(at.to_le_bytes());
            table.extend([0; 20]);
            at += name.len() as u32 + 1;
        }
        let strings = text(exported);
        sections(&[
            (".modinfo", &text(modinfo)),
            ("__ksymtab_strings", &strings),
            (".symtab", &table),
            (".strtab", &names),
        ])
    }

    #[test]
    fn exported_and_undefined_symbols_are_read() {
        let symbols = Symbols::read(&module_with(&[], &["one", "two"], &["printk", "three"])).expect("parses");
        let has = |set: &std::collections::HashSet<Vec<u8>>, name: &str| set.contains(name.as_bytes());
        assert!(has(&symbols.exported, "one") && has(&symbols.exported, "two") && symbols.exported.len() == 2);
        assert!(has(&symbols.undefined, "printk") && has(&symbols.undefined, "three") && symbols.undefined.len() == 2);
        assert_eq!(Symbols::read(&module(&[])).expect("parses"), Symbols::default());
    }

    #[test]
    fn a_truncated_module_is_an_error() {
        let whole = module_with(&["depends="], &["one"], &["two"]);
        for len in 0..whole.len() {
            assert!(Symbols::read(&whole[..len]).is_err(), "truncated at {len}");
        }
    }
}

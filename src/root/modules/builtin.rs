//! Built-in modules of a kernel: `modules.builtin` (paths) and `modules.builtin.modinfo` (NUL-separated
//! `name.key=value`).

use std::collections::HashSet;
use std::path::Path;

use super::error::ModuleError;
use crate::format::modules::name;

/// Size limit of both files, in bytes, far above real ones.
const LIMIT: u64 = 64 << 20;

/// Modules that are built into the kernel image.
#[derive(Debug, Default)]
pub struct Builtin {
    names: HashSet<String>,
    modinfo: Vec<u8>,
    /// True if `modules.builtin` exists.
    pub(crate) known: bool,
}

impl Builtin {
    /// Reads both files. If `modules.builtin` is missing, the list is empty and `known` is false.
    pub fn read(directory: &Path) -> Result<Self, ModuleError> {
        let list = directory.join("modules.builtin");
        let info = directory.join("modules.builtin.modinfo");
        let text = if list.exists() { Some(super::error::read_text(&list, LIMIT)?) } else { None };
        let modinfo = if info.exists() { super::error::read_bytes(&info, LIMIT)? } else { Vec::new() };
        Ok(Self::parse(text.as_deref(), modinfo))
    }

    /// Parses the contents of the two files.
    pub fn parse(list: Option<&str>, modinfo: Vec<u8>) -> Self {
        let names = list.into_iter().flat_map(str::lines).filter_map(|line| name::of_path(line.trim()));
        Self { names: names.map(std::borrow::Cow::into_owned).collect(), modinfo, known: list.is_some() }
    }

    /// Returns true if the module with this normalized name is built in.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Returns the built-in modules with an alias that matches this normalized name.
    ///
    /// Includes modules that `modules.builtin` does not list: code that cannot be built as a module has aliases, too.
    pub(crate) fn by_alias(&self, wanted: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in self.modinfo.split(|byte| *byte == 0) {
            let Ok(entry) = std::str::from_utf8(entry) else { continue };
            let Some((key, pattern)) = entry.split_once('=') else { continue };
            let Some(module) = key.strip_suffix(".alias") else { continue };
            if name::matches(&name::normal_pattern(pattern), wanted) {
                found.push(name::normal(module).into_owned());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Builtin;

    #[test]
    fn names_and_aliases_are_found() {
        let modinfo = b"ext4.alias=fs-ext4\0ext4.license=GPL\0x.alias=pci:*\0\xff.alias=z\0junk".to_vec();
        let builtin = Builtin::parse(Some("kernel/fs/ext4/ext4.ko\nkernel/a/virtio-ring.ko\n"), modinfo);
        assert!(builtin.known && builtin.has("ext4") && builtin.has("virtio_ring") && !builtin.has("xfs"));
        assert_eq!(builtin.by_alias("fs_ext4"), ["ext4"]);
        assert_eq!(builtin.by_alias("pci:v1"), ["x"]);
        assert!(!Builtin::parse(None, Vec::new()).known);
    }
}

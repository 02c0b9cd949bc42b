//! Reader of the module tables of one kernel, in depmod's text formats.
//!
//! Reads the whole `modules.dep` (0.6 MB in a distribution). Reads `modules.alias`, which is twice as long, only if a
//! name is not the name of a module. Paths in `modules.dep` are relative to its directory; old files have absolute
//! paths (modules.dep(5)).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::ModuleError;
use crate::format::modules::name;

/// Size limit of a table, in bytes, far above real ones.
const TABLE_LIMIT: u64 = 256 << 20;

/// Module tables of one kernel.
#[derive(Debug)]
pub struct Index {
    /// Directory of the tables.
    tables: PathBuf,
    dep: String,
    /// Maps a normalized name to its line in `dep`: offsets of the start, the colon and the end.
    lines: HashMap<String, (usize, usize, usize)>,
    soft: HashMap<String, Soft>,
    weak: HashMap<String, Vec<String>>,
    alias: OnceLock<String>,
}

/// Soft dependencies of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Soft {
    /// Modules to load before the module.
    pub(crate) pre: Vec<String>,
    /// Modules to load after the module.
    pub(crate) post: Vec<String>,
}

/// A module listed in `modules.dep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Path, as listed.
    pub(crate) path: &'a str,
    depends: &'a str,
}

impl<'a> Listed<'a> {
    /// Returns the paths of all dependencies, direct and indirect, in load order.
    pub(crate) fn depends(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.depends.split_ascii_whitespace().rev()
    }
}

impl Index {
    /// Reads the tables in `directory`; `None` if depmod did not run there.
    pub fn read(directory: &Path) -> Result<Option<Self>, ModuleError> {
        let dep = directory.join("modules.dep");
        // A failed depmod leaves an empty file.
        if !std::fs::metadata(&dep).is_ok_and(|found| found.len() > 0) {
            return Ok(None);
        }
        let optional = |name: &str| {
            let path = directory.join(name);
            if path.exists() { super::error::read_text(&path, TABLE_LIMIT) } else { Ok(String::new()) }
        };
        let soft = parse_softdep(&optional("modules.softdep")?);
        let weak = parse_weakdep(&optional("modules.weakdep")?);
        let dep = super::error::read_text(&dep, TABLE_LIMIT)?;
        let lines = parse_dep(&dep);
        Ok(Some(Self { tables: directory.to_owned(), dep, lines, soft, weak, alias: OnceLock::new() }))
    }

    /// Creates an index of generated tables. `directory` is their directory.
    pub fn of(directory: &Path, tables: &super::depmod::Tables) -> Self {
        Self {
            tables: directory.to_owned(),
            dep: tables.dep.clone(),
            lines: parse_dep(&tables.dep),
            soft: parse_softdep(&tables.softdep),
            weak: parse_weakdep(&tables.weakdep),
            alias: OnceLock::from(tables.alias.clone()),
        }
    }

    /// Returns the module with this normalized name.
    pub(crate) fn module(&self, name: &str) -> Option<Listed<'_>> {
        let (start, colon, end) = *self.lines.get(name)?;
        Some(Listed { path: self.dep.get(start..colon)?, depends: self.dep.get(colon + 1..end)? })
    }

    /// Returns the names of all modules, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.lines.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Returns the soft dependencies of the module with this normalized name.
    pub(crate) fn soft(&self, name: &str) -> Option<&Soft> {
        self.soft.get(name)
    }

    /// Returns the weak dependencies of the module with this normalized name.
    pub(crate) fn weak(&self, name: &str) -> &[String] {
        self.weak.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns all modules with an alias that matches this normalized name, in table order.
    pub(crate) fn by_alias(&self, wanted: &str) -> Result<Vec<String>, ModuleError> {
        let text = if let Some(text) = self.alias.get() {
            text
        } else {
            let path = self.tables.join("modules.alias");
            let text = if path.exists() { super::error::read_text(&path, TABLE_LIMIT)? } else { String::new() };
            self.alias.get_or_init(|| text)
        };
        let mut found: Vec<String> = Vec::new();
        for line in text.lines() {
            let Some((pattern, module)) = line.strip_prefix("alias ").and_then(|rest| rest.rsplit_once(' ')) else {
                continue;
            };
            // Most patterns differ in the first letters. Compare those before the expensive match.
            let plain = pattern.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let same = wanted.get(..plain.min(wanted.len())) == pattern.get(..plain.min(wanted.len()));
            if same && name::matches(&name::normal_pattern(pattern.trim()), wanted) {
                let module = name::normal(module.trim()).into_owned();
                if !found.contains(&module) {
                    found.push(module);
                }
            }
        }
        Ok(found)
    }
}

/// Finds the lines of `modules.dep`. If a name occurs twice, the first line is used, as in kmod.
fn parse_dep(text: &str) -> HashMap<String, (usize, usize, usize)> {
    let mut lines = HashMap::with_capacity(text.len() / 128);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end().len();
        if let Some(colon) = line.find(':')
            && let Some(name) = line.get(..colon).and_then(name::of_path)
            && start + colon < end
        {
            lines.entry(name.into_owned()).or_insert((start, start + colon, end));
        }
        start += line.len();
    }
    lines
}

/// Parses lines of the form `softdep NAME pre: a b post: c`. Ignores names before the first tag, as libkmod does
/// (`S_NONE`).
///
/// libkmod uses only the first line of a module. depmod writes one line per `MODULE_SOFTDEP`, so this parser uses all
/// lines.
pub(super) fn parse_softdep(text: &str) -> HashMap<String, Soft> {
    let mut all: HashMap<String, Soft> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("softdep") {
            continue;
        }
        let Some(module) = words.next() else { continue };
        let soft = all.entry(name::normal(module).into_owned()).or_default();
        let mut list: Option<&mut Vec<String>> = None;
        for word in words {
            match word {
                "pre:" => list = Some(&mut soft.pre),
                "post:" => list = Some(&mut soft.post),
                word => {
                    if let Some(list) = list.as_deref_mut() {
                        list.push(word.to_owned());
                    }
                }
            }
        }
    }
    all
}

/// Parses lines of the form `weakdep NAME a b`.
fn parse_weakdep(text: &str) -> HashMap<String, Vec<String>> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some("weakdep"), Some(module)) = (words.next(), words.next()) {
            all.entry(name::normal(module).into_owned()).or_default().extend(words.map(str::to_owned));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{Index, Soft, parse_dep, parse_softdep};
    use crate::root::modules::depmod::Tables;
    use proptest::prelude::{ProptestConfig, any, proptest};
    use std::path::Path;

    fn index(dep: &str, alias: &str) -> Index {
        let tables = Tables { dep: dep.to_owned(), alias: alias.to_owned(), ..Tables::default() };
        Index::of(Path::new("/nowhere"), &tables)
    }

    #[test]
    fn a_module_is_found_by_its_normalized_name_and_dependencies_load_right_to_left() {
        let index = index("kernel/i2c-i801.ko.xz: kernel/i2c-smbus.ko.xz kernel/core.ko.xz\n/abs/x.ko:\nbroken\n", "");
        let found = index.module("i2c_i801").expect("found");
        assert_eq!(found.path, "kernel/i2c-i801.ko.xz");
        assert_eq!(found.depends().collect::<Vec<_>>(), ["kernel/core.ko.xz", "kernel/i2c-smbus.ko.xz"]);
        assert_eq!(index.module("x").map(|found| found.path), Some("/abs/x.ko"));
        assert_eq!(index.names(), ["i2c_i801", "x"]);
    }

    #[test]
    fn all_modules_of_an_alias_are_found_once() {
        let index =
            index("", "# c\nalias pci:v8086d* a-b\nalias pci:v*d1 c\nalias pci:v8086d? a_b\nalias fs-xfs xfs\n");
        assert_eq!(index.by_alias("pci:v8086d1").expect("matched"), ["a_b", "c"]);
        assert_eq!(index.by_alias("fs_xfs").expect("matched"), ["xfs"]);
        assert!(index.by_alias("usb:x").expect("matched").is_empty());
    }

    #[test]
    fn names_before_any_tag_are_ignored() {
        let all = parse_softdep("softdep a-b x pre: y z post: w\nsoftdep a_b pre: v\nsoftdep c x\n");
        let expected = Soft { pre: ["y", "z", "v"].map(str::to_owned).into(), post: vec!["w".to_owned()] };
        assert_eq!(all.get("a_b"), Some(&expected));
        assert_eq!(all.get("c"), Some(&Soft::default()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_handled(text in any::<String>(), structured in "([ab/:. \n-]|\\.ko:? ?){0,40}") {
            for text in [&text, &structured] {
                let index = index(text, text);
                for name in index.names() {
                    let _ = index.module(name).expect("listed").depends().count();
                }
                let _ = parse_dep(text);
                let _ = parse_softdep(text);
                let _ = index.by_alias("a_b").expect("matched");
            }
        }
    }
}

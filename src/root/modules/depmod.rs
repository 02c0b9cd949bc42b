//! Generates depmod's tables from `.modinfo`: `modules.dep`, `.softdep`, `.weakdep` and `.alias`.
//!
//! modpost derives `depends=` from the same symbols that depmod resolves, so the closure is the same. Of two modules
//! with the same name, the one that depmod prefers is used: `updates/` before the rest (depmod.d(5)).

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::scan::Scanned;
use crate::format::modules::name;

/// Contents of the tables, in depmod's formats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `modules.dep`: `path: dependencies`, direct and indirect, in reverse load order.
    pub dep: String,
    /// `modules.softdep`: `softdep name pre: a post: b`.
    pub softdep: String,
    /// `modules.weakdep`: `weakdep name a b`.
    pub weakdep: String,
    /// `modules.alias`: `alias pattern name`.
    pub alias: String,
}

impl Tables {
    /// Returns names and contents of the files.
    pub(crate) fn files(&self) -> [(&'static str, &str); 4] {
        [
            ("modules.dep", &self.dep),
            ("modules.softdep", &self.softdep),
            ("modules.weakdep", &self.weakdep),
            ("modules.alias", &self.alias),
        ]
    }

    /// Generates the tables of these modules.
    pub(crate) fn of(modules: &[Scanned]) -> Self {
        let mut by_name: HashMap<String, &Scanned> = HashMap::with_capacity(modules.len());
        for module in modules {
            let Some(name) = name::of_path(&module.path) else { continue };
            let held = by_name.entry(name.into_owned()).or_insert(module);
            if rank(&module.path) < rank(&held.path) {
                *held = module;
            }
        }
        let mut names: Vec<&String> = by_name.keys().collect();
        names.sort();
        let mut tables = Self::default();
        for name in names {
            let Some(module) = by_name.get(name) else { continue };
            tables.add(name, module, &by_name);
        }
        tables
    }

    fn add(&mut self, name: &str, module: &Scanned, by_name: &HashMap<String, &Scanned>) {
        // Writing to a String cannot fail.
        let _ = write!(self.dep, "{}:", module.path);
        for needed in closure(module, by_name).into_iter().rev() {
            let _ = write!(self.dep, " {}", needed.path);
        }
        self.dep.push('\n');
        for softdep in &module.info.softdeps {
            let _ = writeln!(self.softdep, "softdep {name} {}", one_line(softdep));
        }
        if !module.info.weakdeps.is_empty() {
            let _ = writeln!(self.weakdep, "weakdep {name} {}", one_line(&module.info.weakdeps.join(" ")));
        }
        for alias in &module.info.aliases {
            let _ = writeln!(self.alias, "alias {} {name}", one_line(alias));
        }
    }
}

/// Replaces line breaks, which would start a new record.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Returns depmod's search order of a path: lower is preferred.
fn rank(path: &str) -> u8 {
    match path.split('/').next() {
        Some("updates") => 0,
        Some("extra") => 1,
        Some("weak-updates") => 2,
        Some(_) | None => 3,
    }
}

/// Returns the transitive dependencies of `module`, in load order. Ignores unknown names: they are built in, or
/// reported later. Breaks cycles, which a kernel cannot load either.
fn closure<'a>(module: &'a Scanned, by_name: &HashMap<String, &'a Scanned>) -> Vec<&'a Scanned> {
    let mut order = Vec::new();
    let mut seen: HashSet<&str> = HashSet::new();
    // Iterative depth-first search: a malicious dependency chain may be too long for recursion. `true` marks a module
    // whose dependencies are done.
    let mut ahead: Vec<(&Scanned, bool)> = vec![(module, false)];
    while let Some((at, done)) = ahead.pop() {
        if done {
            order.push(at);
            continue;
        }
        if !seen.insert(&at.path) {
            continue;
        }
        if at.path != module.path {
            ahead.push((at, true));
        }
        for needed in at.info.depends.iter().rev() {
            if let Some(next) = by_name.get(name::normal(needed).as_ref())
                && !seen.contains(next.path.as_str())
            {
                ahead.push((next, false));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::Tables;
    use crate::format::modules::modinfo::Modinfo;
    use crate::root::modules::scan::Scanned;

    fn module(path: &str, section: &str) -> Scanned {
        Scanned { path: path.to_owned(), info: Modinfo::parse(section.replace(' ', "\0").as_bytes()) }
    }

    #[test]
    fn dependencies_are_in_reverse_load_order() {
        let tables = Tables::of(&[
            module("kernel/a.ko", "depends=b-x,c"),
            module("kernel/b_x.ko", "depends=c"),
            module("kernel/c.ko", "depends="),
        ]);
        assert_eq!(tables.dep, "kernel/a.ko: kernel/b_x.ko kernel/c.ko\nkernel/b_x.ko: kernel/c.ko\nkernel/c.ko:\n");
    }

    #[test]
    fn updates_take_precedence_over_modules_of_the_kernel() {
        let tables = Tables::of(&[
            module("extra/a.ko", "alias=extra"),
            module("kernel/a.ko", "alias=old"),
            module("updates/a.ko.xz", "alias=new"),
        ]);
        assert_eq!(tables.dep, "updates/a.ko.xz:\n");
        assert_eq!(tables.alias, "alias new a\n");
    }

    #[test]
    fn cycles_and_unknown_names_are_ignored() {
        let tables = Tables::of(&[module("a.ko", "depends=b,gone"), module("b.ko", "depends=a")]);
        assert_eq!(tables.dep, "a.ko: b.ko\nb.ko: a.ko\n");
    }
}

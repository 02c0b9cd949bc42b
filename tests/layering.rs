//! Rows of the module table in `src/lib.rs`: a module imports only from rows above its own, and there are no import
//! cycles between files. Checks every path in `src/`, parsed by syn, except in test modules.

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// The rows from the bottom up: each row may import only from earlier rows.
const ROWS: [&str; 14] = [
    "sys", "arch", "process", "cache", "format", "output", "root", "initrd", "disk", "qemu", "guest", "suite",
    "regress", "watch",
];

/// A module path without `crate`.
type Module = Vec<String>;

/// The paths that one file uses, as written.
#[derive(Default)]
struct Paths {
    imports: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // A re-export is not a dependency of the re-exporting file.
        if matches!(item.vis, Visibility::Inherited) && !is_test(&item.attrs) {
            self.flatten(&item.tree, &mut Vec::new());
        }
    }

    // `pub(super)` is not an import.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.imports.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

impl Paths {
    fn flatten(&mut self, tree: &UseTree, prefix: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.flatten(&path.tree, prefix);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.flatten(tree, prefix)),
            UseTree::Name(name) => self.push(prefix, name.ident.to_string()),
            UseTree::Rename(rename) => self.push(prefix, rename.ident.to_string()),
            UseTree::Glob(_) => self.imports.push(prefix.clone()),
        }
    }

    fn push(&mut self, prefix: &[String], name: String) {
        let mut path = prefix.to_vec();
        path.extend((name != "self").then_some(name));
        self.imports.push(path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Returns the module of a file; `None` for the crate roots, the program and test files.
fn module_of(path: &Path) -> Option<Module> {
    let path = path.strip_prefix("src").ok()?.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let is_skipped = ["lib", "main", "cli"].contains(&module.first()?.as_str()) || module.last()? == "tests";
    (!is_skipped).then_some(module)
}

/// Returns the longest prefix of a path that is one of `modules`.
fn resolve(path: &[String], here: &[String], modules: &BTreeSet<Module>) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let absolute: Module = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [here, &path[1..]].concat(),
        "super" => [&here[..here.len().checked_sub(ups)?], &path[ups..]].concat(),
        _ => return None,
    };
    (1..=absolute.len()).rev().map(|len| absolute[..len].to_vec()).find(|module| modules.contains(module))
}

/// Returns the imports of each module.
fn imports(files: &[(Module, String)]) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules: BTreeSet<Module> = files.iter().map(|(module, _)| module.clone()).collect();
    let of_file = |(module, text): &(Module, String)| {
        let mut paths = Paths::default();
        paths.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{module:?}: {error}")));
        let found = paths.imports.iter().filter_map(|path| resolve(path, module, &modules));
        (module.clone(), found.filter(|other| other != module).collect())
    };
    files.iter().map(of_file).collect()
}

/// Returns imports against the order of the rows, and modules without a row.
fn breaches(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let row = |module: &Module| ROWS.iter().position(|row| *row == module[0]);
    let mut found = Vec::new();
    for (module, others) in imports {
        let Some(own) = row(module) else {
            found.push(format!("{}: no row in tests/layering.rs", module.join("::")));
            continue;
        };
        let above = others.iter().filter(|other| row(other).is_none_or(|other| other > own));
        found.extend(above.map(|other| format!("{} imports from the higher {}", module.join("::"), other.join("::"))));
    }
    found
}

/// Returns the import cycles, each once.
fn cycles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reachable = |from: &Module| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&Module> = imports.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(imports.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|module| (module, reachable(module))).collect();
    let cycle = |module: &Module| -> Vec<String> {
        let others = imports.keys().filter(|other| reached[module].contains(*other) && reached[other].contains(module));
        others.map(|other| other.join("::")).collect()
    };
    let found: BTreeSet<Vec<String>> = imports.keys().map(cycle).filter(|cycle| cycle.len() > 1).collect();
    found.iter().map(|cycle| cycle.join(", ")).collect()
}

fn files() -> Vec<(Module, String)> {
    let files = sources::below("src");
    assert!(files.len() > 100, "source files not found");
    files.into_iter().filter_map(|file| Some((module_of(&file.path)?, file.text))).collect()
}

#[test]
fn no_row_imports_from_a_higher_row() {
    let found = breaches(&imports(&files()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_import_cycles_exist() {
    assert_eq!(cycles(&imports(&files())), Vec::<String>::new());
}

#[test]
fn an_import_is_found_in_every_form() {
    let file = |path: &str, text: &str| (path.split("::").map(str::to_owned).collect::<Module>(), text.to_owned());
    for text in [
        "use crate::guest::driver::run;",
        "use crate::{guest::{driver::{self, run}}, arch};",
        "fn f() -> crate::guest::driver::Run { todo!() }",
        "use super::super::guest::driver;",
    ] {
        let files = [file("disk::check", text), file("guest::driver", "")];
        let found = breaches(&imports(&files));
        assert_eq!(found, ["disk::check imports from the higher guest::driver"], "{text}");
    }
    for text in [
        "// use crate::guest::driver;",
        "use other::guest::driver;",
        "#[cfg(test)] mod tests { use crate::guest::driver; }",
    ] {
        assert_eq!(breaches(&imports(&[file("disk::check", text), file("guest::driver", "")])), Vec::<String>::new());
    }
    let two = [
        file("disk::a", "use super::b::B;"),
        file("disk::b", "use crate::disk::a::A;"),
        file("disk::c", "use super::a;"),
    ];
    assert_eq!(cycles(&imports(&two)), ["disk::a, disk::b"]);
    assert_eq!(breaches(&imports(&[file("helpers", "")])), ["helpers: no row in tests/layering.rs"]);
}

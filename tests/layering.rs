//! Rows of the architecture (`docs/architecture.md`): a lower row never imports from a higher one, and no files import each
//! other in a circle. Reads every path in `src/`, parsed by syn; test modules do not count.

#[path = "support/sources.rs"]
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// The rows from the bottom up: each may import from those before it, none from those after it.
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
        // A re-export is no dependency of the file that offers it.
        if matches!(item.vis, Visibility::Inherited) && !is_test(&item.attrs) {
            self.flatten(&item.tree, &mut Vec::new());
        }
    }

    // `pub(super)` is no import.
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

/// The module of a file; `None` for the crate roots, the program and files of tests.
fn module_of(path: &Path) -> Option<Module> {
    let path = path.strip_prefix("src").ok()?.with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let is_skipped = ["lib", "main", "cli"].contains(&module.first()?.as_str()) || module.last()? == "tests";
    (!is_skipped).then_some(module)
}

/// The longest module that a path leads to, if it is one of `modules`.
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

/// Imports of each module, by module.
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

/// Imports against the order of the rows, and modules without a row.
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

/// Modules that import each other in a circle, each circle once.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
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
    let circle = |module: &Module| -> Vec<String> {
        let others = imports.keys().filter(|other| reached[module].contains(*other) && reached[other].contains(module));
        others.map(|other| other.join("::")).collect()
    };
    let found: BTreeSet<Vec<String>> = imports.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    found.iter().map(|circle| circle.join(", ")).collect()
}

fn files() -> Vec<(Module, String)> {
    let files = sources::below("src");
    assert!(files.len() > 100, "the sources are not where this test expects them");
    files.into_iter().filter_map(|file| Some((module_of(&file.path)?, file.text))).collect()
}

#[test]
fn no_row_imports_from_a_higher_one() {
    let found = breaches(&imports(&files()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = circles(&imports(&files()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_import_is_found_however_it_is_written() {
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
    assert_eq!(circles(&imports(&two)), ["disk::a, disk::b"]);
    assert_eq!(breaches(&imports(&[file("helpers", "")])), ["helpers: no row in tests/layering.rs"]);
}

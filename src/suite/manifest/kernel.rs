//! `[kernels]`: names for what `--kernel` takes.

use toml::de::DeValue;

use super::keys::{Keys, Said};
use super::{DEFAULT, name};

/// A kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSpec {
    /// What it is called.
    pub name: String,
    /// An image file, a build tree, a package, or a release that is installed; `None`: the newest one that can be read.
    pub kernel: Option<String>,
    /// Whether `kernel` was typed on the command line: paths start at the current directory then.
    pub is_typed: bool,
    /// Further words for its command line.
    pub append: Vec<String>,
    /// Its tags: all its cells have them.
    pub tags: Vec<String>,
}

/// All of them, those of the command line in place of the manifest's of the same name.
pub(super) fn read_all(table: Option<Keys<'_, '_>>, typed: &[KernelSpec]) -> Vec<KernelSpec> {
    let mut kernels = Vec::new();
    if let Some(table) = table {
        for (said, value) in table.entries() {
            name::check(table.sheet(), &said.value, &said.at);
            kernels.push(match value.get_ref() {
                DeValue::String(text) => {
                    if text.is_empty() {
                        table.sheet().wrong(&value.span(), "a kernel is a file, a build tree, a package or a release");
                    }
                    KernelSpec { name: said.value, kernel: Some(text.to_string()), ..KernelSpec::default() }
                }
                DeValue::Table(inner) => one(said.value, Keys::new(table.sheet(), inner, said.at)),
                _ => {
                    table.sheet().wrong(&value.span(), "a kernel is a string, or a table with `kernel = \"...\"`");
                    continue;
                }
            });
        }
    }
    for typed in typed {
        match kernels.iter_mut().find(|kernel| kernel.name == typed.name) {
            Some(kernel) => (kernel.kernel, kernel.is_typed) = (typed.kernel.clone(), true),
            None => kernels.push(typed.clone()),
        }
    }
    if kernels.is_empty() {
        kernels.push(KernelSpec { name: DEFAULT.to_owned(), ..KernelSpec::default() });
    }
    kernels
}

fn one(name: String, mut keys: Keys<'_, '_>) -> KernelSpec {
    let kernel = keys.text("kernel").map(|Said { value, .. }| value);
    let kernel =
        KernelSpec { name, kernel, is_typed: false, append: keys.words("append"), tags: name::tags(&mut keys) };
    keys.done();
    kernel
}

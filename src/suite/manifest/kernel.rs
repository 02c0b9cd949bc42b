//! `[kernels]`: named values for `--kernel`.

use toml::de::DeValue;

use super::keys::{Keys, Said};
use super::{DEFAULT, name};

/// A kernel of the manifest or the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSpec {
    /// Kernel name.
    pub name: String,
    /// Image file, build tree, package, or installed release; `None`: the newest readable kernel.
    pub kernel: Option<String>,
    /// True if `kernel` is from the command line, where paths start at the current directory.
    pub is_typed: bool,
    /// Additional kernel command line arguments.
    pub append: Vec<String>,
    /// Tags, which all its cells inherit.
    pub tags: Vec<String>,
}

/// Reads all kernels. A kernel of the command line replaces the manifest's kernel of the same name.
pub(super) fn read_all(table: Option<Keys<'_, '_>>, typed: &[KernelSpec]) -> Vec<KernelSpec> {
    let mut kernels = Vec::new();
    if let Some(table) = table {
        for (said, value) in table.entries() {
            name::check(table.sheet(), &said.value, &said.at);
            kernels.push(match value.get_ref() {
                DeValue::String(text) => {
                    if text.is_empty() {
                        table.sheet().wrong(&value.span(), "empty kernel: expected a file, tree, package or release");
                    }
                    KernelSpec { name: said.value, kernel: Some(text.to_string()), ..KernelSpec::default() }
                }
                DeValue::Table(inner) => one(said.value, Keys::new(table.sheet(), inner, said.at)),
                _ => {
                    table.sheet().wrong(&value.span(), "a kernel must be a string or a table with `kernel = \"...\"`");
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

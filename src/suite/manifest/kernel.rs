//! `[kernels]`: names for kernels, which are specified as for `--kernel`.

use toml::de::DeValue;

use super::table::Table;
use super::{DEFAULT, name};
use crate::arch::Arch;

/// A kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelSpec {
    /// Name.
    pub name: String,
    /// An image file, a build tree, a package, or an installed release; `None` for the newest readable one.
    pub kernel: Option<String>,
    /// True if `kernel` comes from the command line: relative paths then start at the current directory.
    pub is_typed: bool,
    /// Architecture; `None`: the machine's, or that of the image.
    pub arch: Option<Arch>,
    /// Additional arguments for the kernel command line.
    pub append: Vec<String>,
    /// Tags of all cells of this kernel.
    pub tags: Vec<String>,
}

/// Reads all kernels. Those of the command line replace the manifest's of the same name.
#[expect(clippy::needless_pass_by_value, reason = "a table is read once")]
pub(super) fn read_all(table: Option<Table<'_, '_>>, typed: &[KernelSpec]) -> Vec<KernelSpec> {
    let mut kernels: Vec<KernelSpec> = table.as_ref().map(read_table).unwrap_or_default();
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

fn read_table(table: &Table<'_, '_>) -> Vec<KernelSpec> {
    let document = table.document();
    let entries = table.entries().into_iter();
    let kernels = entries.filter_map(|(key, value)| {
        name::check(document, &key.value, &key.span);
        let mut kernel = KernelSpec { name: key.value, ..KernelSpec::default() };
        match value.get_ref() {
            DeValue::String(text) => {
                if text.is_empty() {
                    document
                        .error(&value.span(), "empty kernel: expected a file, a build tree, a package or a release");
                }
                kernel.kernel = Some(text.to_string());
            }
            DeValue::Table(inner) => {
                let mut keys = Table::new(document, inner, key.span);
                kernel.kernel = keys.text("kernel");
                kernel.arch = keys.parsed("arch", Arch::for_guests);
                kernel.append = keys.texts("append");
                kernel.tags = name::tags(&mut keys);
                keys.finish();
            }
            _ => {
                document.error(&value.span(), "invalid kernel: expected a string, or a table with `kernel = \"...\"`");
                return None;
            }
        }
        Some(kernel)
    });
    kernels.collect()
}

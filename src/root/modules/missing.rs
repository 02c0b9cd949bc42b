//! Errors for modules that a kernel does not have, with the reason and the files searched.

use std::path::Path;

use super::builtin::Builtin;
use super::error::ModuleError;
use super::order::{Order, similar_names};
use super::scan;
use crate::format::modules::name;
use crate::root::fact::Why;
use crate::root::kernel::{Kernel, ModuleDir, ModuleLayout, tree};

impl ModuleError {
    /// Adds the kernel to the error of a missing dependency.
    pub(super) fn placed(self, kernel: &Kernel) -> Self {
        match self {
            Self::Missing { name, why, place, near } if place.is_empty() => {
                let place = place_of(kernel, &name, false);
                Self::Missing { name, why, place, near }
            }
            other => other,
        }
    }
}

/// Describes why the kernel does not have the module `name`, or the files searched.
fn place_of(kernel: &Kernel, name: &str, builtin_known: bool) -> String {
    let release = kernel.release.as_deref().unwrap_or("of unknown release");
    if let Some(config) = &kernel.config
        && config.is_unset("MODULES")
    {
        return format!("kernel {release} cannot load modules: CONFIG_MODULES is not set in {}", config.source());
    }
    match &kernel.modules {
        Some(ModuleDir { host, layout: ModuleLayout::BuildTree, .. }) if is_ordered(host, name) => {
            format!("listed in {}/modules.order, but not built; run make modules there", host.display())
        }
        Some(ModuleDir { host, layout, .. }) => {
            let tables = match layout {
                ModuleLayout::Installed => "modules.dep, modules.alias",
                ModuleLayout::BuildTree => "modules.order, the aliases of its modules",
            };
            let builtin = if builtin_known { "modules.builtin" } else { "modules.builtin, which is missing" };
            format!(
                "not found in kernel {release} by name or alias (searched {}/{tables} and {builtin})",
                host.display()
            )
        }
        None => match tree::of_image(&kernel.image) {
            Some(top) => format!("build tree {} has no modules.order; run make modules there", top.display()),
            None => format!(
                "kernel {release} ({}) has no modules; pass a package, a build tree or an installed release with --kernel; \
                 if another package has the modules (Ubuntu: linux-modules-{release}), both: --kernel A.deb,B.deb",
                kernel.origin
            ),
        },
    }
}

/// Returns true if the `modules.order` of a build tree lists a module of this name.
fn is_ordered(directory: &Path, name: &str) -> bool {
    let listed = scan::list(directory, ModuleLayout::BuildTree).unwrap_or_default();
    listed.iter().any(|path| name::of_path(path).is_some_and(|found| found == name::normal(name)))
}

/// Returns the error for a request that matches no module.
pub(super) fn not_found(name: &str, kernel: &Kernel, order: &Order<'_>, builtin: &Builtin, why: Why) -> ModuleError {
    let near = similar_names(name, &order.names());
    ModuleError::Missing {
        name: name.to_owned(),
        why: Box::new(why),
        place: place_of(kernel, name, builtin.known),
        near,
    }
}

#[cfg(test)]
mod tests {
    use super::place_of;
    use crate::arch::Arch;
    use crate::root::kernel::{Config, ImageKind, Kernel, ModuleDir, ModuleLayout};
    use std::fs;

    #[test]
    fn a_module_that_was_not_built_is_distinguished_from_one_that_does_not_exist() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let top = dir.path().to_owned();
        fs::create_dir_all(top.join("include/config")).expect("made");
        fs::write(top.join("include/config/kernel.release"), "6.9.0\n").expect("written");
        let modules = ModuleDir { host: top.clone(), release: "6.9.0".to_owned(), layout: ModuleLayout::BuildTree };
        let tree = Kernel {
            image: top.join("vmlinux"),
            kind: ImageKind::BzImage,
            arch: Arch::X86_64,
            release: Some("6.9.0".to_owned()),
            modules: None,
            config: None,
            origin: "tree".to_owned(),
        };
        let place =
            |kernel: &Kernel, name: &str| place_of(kernel, name, true).replace(&top.display().to_string(), "TREE");
        assert_eq!(place(&tree, "dummy"), "build tree TREE has no modules.order; run make modules there");
        fs::write(top.join("modules.order"), "drivers/net/dummy-x.o\n").expect("written");
        let tree = Kernel { modules: Some(modules), ..tree };
        assert_eq!(place(&tree, "dummy_x"), "listed in TREE/modules.order, but not built; run make modules there");
        assert_eq!(
            place(&tree, "dumy"),
            "not found in kernel 6.9.0 by name or alias (searched TREE/modules.order, the aliases of its modules and modules.builtin)"
        );
        let config = Some(Config::new("# CONFIG_MODULES is not set\n".to_owned(), "TREE/.config"));
        assert_eq!(
            place(&Kernel { config, ..tree }, "dummy_x"),
            "kernel 6.9.0 cannot load modules: CONFIG_MODULES is not set in TREE/.config"
        );
        let alone = Kernel {
            image: dir.path().join("none/vmlinuz"),
            kind: ImageKind::BzImage,
            arch: Arch::X86_64,
            release: None,
            modules: None,
            config: None,
            origin: "./vmlinuz".to_owned(),
        };
        assert!(place(&alone, "x").starts_with("kernel of unknown release (./vmlinuz) has no modules; pass a package"));
    }
}

//! Kernel build trees (the directory of `make`, or its `O=`): image, release, configuration and modules as built.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Kernel, ModuleDir, ModuleLayout, config, error::KernelError, image};
use crate::format::kernel::release;

/// Paths of the images of an x86 build. `vmlinux` is first because it needs no decompression.
const IMAGES: [&str; 3] = ["vmlinux", "arch/x86/boot/bzImage", "arch/x86_64/boot/bzImage"];
/// Other files read from a build tree: release, configuration, names of modules.
const FACTS: [&str; 4] = ["include/config/kernel.release", ".config", "modules.order", "modules.builtin"];

/// Returns true if the directory looks like a build tree.
pub(super) fn is(directory: &Path) -> bool {
    IMAGES.iter().chain(&["include/config/kernel.release", ".config"]).any(|name| directory.join(name).exists())
}

/// Returns the paths in a build tree that determine which kernel is found there. A change to one of them may change the
/// result. Excludes images that are tried only after `image`, the one that was found.
pub(crate) fn paths(directory: &Path, image: Option<&Path>) -> Vec<PathBuf> {
    let used = IMAGES.iter().position(|name| image.is_some_and(|image| image.ends_with(name)));
    let images = &IMAGES[..used.map_or(IMAGES.len(), |at| at + 1)];
    images.iter().chain(&FACTS).map(|name| directory.join(name)).collect()
}

/// Returns the kernel built in `directory`.
pub(super) fn find(directory: &Path, origin: &str) -> Result<Kernel, KernelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KernelError::Io { doing: "read", path, source }
    };
    let directory = fs::canonicalize(directory).map_err(failed(directory))?;
    let stated = fs::read_to_string(directory.join("include/config/kernel.release")).ok();
    let stated = stated.map(|text| text.trim().to_owned()).filter(|text| release::is_release(text));
    let mut refused = Vec::new();
    for name in IMAGES {
        let path = directory.join(name);
        if !path.exists() {
            refused.push(format!("{name}: not built"));
            continue;
        }
        let found = match image::identify(&path)? {
            Ok(found) => found,
            Err(why) => {
                refused.push(format!("{name}: {}", why.what));
                continue;
            }
        };
        // If the image was not rebuilt, kernel.release is newer than the image. Use the release of the image, since the
        // image is booted.
        let release = found.release.or_else(|| stated.clone());
        let host = directory.clone();
        let modules = directory.join("modules.order").exists().then_some(());
        let modules =
            modules.and(release.clone()).map(|release| ModuleDir { host, release, layout: ModuleLayout::BuildTree });
        return Ok(Kernel {
            image: path,
            kind: found.kind,
            arch: found.arch,
            release,
            modules,
            config: config::read(&directory.join(".config"))?,
            origin: origin.to_owned(),
        });
    }
    Err(KernelError::NotBuilt { path: directory, tried: refused })
}

#[cfg(test)]
mod tests {
    use super::{find, is, paths};
    use crate::format::kernel::bzimage::tests::image;
    use crate::format::kernel::vmlinux::tests::vmlinux;
    use crate::root::kernel::{ImageKind, ModuleLayout, error::KernelError};
    use std::fs;

    #[test]
    fn a_build_tree_provides_image_release_config_and_modules() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("arch/x86/boot")).expect("made");
        fs::create_dir_all(dir.path().join("include/config")).expect("made");
        fs::write(dir.path().join("include/config/kernel.release"), "6.9.0-test\n").expect("written");
        fs::write(dir.path().join(".config"), "CONFIG_PVH=y\n").expect("written");
        fs::write(dir.path().join("modules.order"), "drivers/a.o\n").expect("written");
        assert!(is(dir.path()));
        let unbuilt = find(dir.path(), "tree").expect_err("nothing built");
        assert!(matches!(&unbuilt, KernelError::NotBuilt { tried, .. } if tried.len() == 3), "{unbuilt}");
        fs::write(dir.path().join("arch/x86/boot/bzImage"), image(b"payload!")).expect("written");
        fs::write(dir.path().join("vmlinux"), vmlinux(62, false)).expect("written");
        let kernel = find(dir.path(), "tree").expect("found");
        assert_eq!((kernel.kind, kernel.release.as_deref()), (ImageKind::BzImage, Some("6.9.0-test")));
        assert_eq!(kernel.modules.expect("modules").layout, ModuleLayout::BuildTree);
        assert!(kernel.config.expect("a configuration").is_builtin("PVH"));
        fs::write(dir.path().join("vmlinux"), vmlinux(62, true)).expect("written");
        let found = find(dir.path(), "tree").expect("found");
        assert_eq!(found.kind, ImageKind::VmlinuxPvh);
        let images = |image| paths(dir.path(), image).iter().filter(|path| path.ends_with("vmlinux")).count();
        assert_eq!((images(Some(found.image.as_path())), images(None)), (1, 1));
        let bzimages = |image| paths(dir.path(), image).iter().filter(|path| path.ends_with("bzImage")).count();
        assert_eq!((bzimages(Some(found.image.as_path())), bzimages(None)), (0, 2), "vmlinux precedes them");
    }
}

//! Kernel build trees (the directory of `make`, or its `O=`): image, release, configuration and modules as built.

use std::fs;
use std::path::{Path, PathBuf};

use super::container::{self, Located};
use super::{Kernel, ModuleDir, ModuleLayout, config, error::KernelError, ikconfig, image};
use crate::arch::Arch;
use crate::cache::Cache;
use crate::format::kernel::release;

/// Other files read from a build tree: release, configuration, names of modules.
const FACTS: [&str; 4] = ["include/config/kernel.release", ".config", "modules.order", "modules.builtin"];

/// Files at the top of the kernel's source.
const SOURCE: [&str; 3] = ["Kbuild", "Kconfig", "MAINTAINERS"];
/// Limit of the number of directory entries that are searched for builds.
const ENTRIES_LIMIT: usize = 4096;

/// Returns the paths of the images of a build. A build is for one architecture, so the others' images do not exist.
fn images() -> impl Iterator<Item = &'static str> {
    Arch::with_guests().flat_map(|arch| arch.guest().images).copied()
}

/// Returns true if the directory looks like a build tree, or like the source of one.
pub(super) fn is(directory: &Path) -> bool {
    let mut built = images().chain(["include/config/kernel.release", ".config"]);
    built.any(|name| directory.join(name).exists()) || is_source(directory)
}

/// Returns true if the directory looks like the top of the kernel's source.
fn is_source(directory: &Path) -> bool {
    SOURCE.iter().all(|name| directory.join(name).exists())
}

/// Returns the paths in a build tree that determine which kernel is found there. A change to one of them may change the
/// result. Excludes images that are tried only after `image`, the one that was found.
pub(crate) fn paths(directory: &Path, image: Option<&Path>) -> Vec<PathBuf> {
    let directory = locate(directory).unwrap_or_else(|_| directory.to_owned());
    let used = images().position(|name| image.is_some_and(|image| image.ends_with(name)));
    let tried = images().take(used.map_or(usize::MAX, |at| at + 1));
    tried.chain(FACTS).map(|name| directory.join(name)).collect()
}

/// Returns the top of the build tree that contains this image: vmlinux is at the top, bzImage three levels below.
pub(crate) fn of_image(image: &Path) -> Option<PathBuf> {
    let tops = [image.parent(), image.ancestors().nth(4)];
    let found = tops.into_iter().flatten().find(|top| top.join("include/config/kernel.release").exists());
    found.map(Path::to_owned)
}

/// Returns the paths of the bzImages of a build tree.
pub(super) fn bzimages(directory: &Path) -> Vec<PathBuf> {
    Arch::X86_64.guest().images.iter().skip(1).map(|name| directory.join(name)).collect()
}

/// Returns the directory of the build: `directory`, or, for a source tree without an image, the directory that was
/// passed to `make O=`. kbuild creates the link `source` there. `KBUILD_OUTPUT`, the subdirectories and the directories
/// beside the source are searched.
fn locate(directory: &Path) -> Result<PathBuf, KernelError> {
    let has_image = |directory: &Path| images().any(|name| directory.join(name).exists());
    if has_image(directory) || !is_source(directory) {
        return Ok(directory.to_owned());
    }
    let Ok(source) = fs::canonicalize(directory) else { return Ok(directory.to_owned()) };
    let is_build = |output: &PathBuf| {
        has_image(output) && fs::canonicalize(output.join("source")).is_ok_and(|link| link == source)
    };
    let stated = std::env::var_os("KBUILD_OUTPUT").filter(|value| !value.is_empty()).map(|value| source.join(value));
    if let Some(stated) = stated.filter(is_build) {
        return Ok(stated);
    }
    let around = [Some(source.as_path()), source.parent()].into_iter().flatten().map(fs::read_dir);
    let entries = around.flatten().flat_map(|entries| entries.flatten().take(ENTRIES_LIMIT));
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_build).collect();
    found.sort();
    match found.len() {
        0 => Ok(directory.to_owned()),
        1 => Ok(found.swap_remove(0)),
        _ => Err(KernelError::SeveralBuilds {
            path: directory.to_owned(),
            found: found.iter().map(|path| path.display().to_string()).collect(),
        }),
    }
}

/// Returns the kernel built in `directory`, or built from the source there.
pub(super) fn find(
    directory: &Path,
    origin: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KernelError::Io { doing: "read", path, source }
    };
    let located = locate(directory)?;
    let origin = if located == directory { origin.to_owned() } else { located.display().to_string() };
    let directory = fs::canonicalize(&located).map_err(failed(&located))?;
    let stated = fs::read_to_string(directory.join("include/config/kernel.release")).ok();
    let stated = stated.map(|text| text.trim().to_owned()).filter(|text| release::is_release(text));
    let (mut refused, mut containers) = (Vec::new(), Vec::new());
    let mut located = None;
    for name in images() {
        let path = directory.join(name);
        if !path.exists() {
            refused.push(format!("{name}: not built"));
            continue;
        }
        match image::identify(&path)? {
            Ok(found) => {
                located = Some(Located { path, found });
                break;
            }
            Err(why) => {
                refused.push(format!("{name}: {}", why.what));
                containers.push(path);
            }
        }
    }
    // An image that must be extracted is used only if there is no other.
    for path in containers {
        if located.is_none() {
            located = container::locate(&path, &origin, cache, progress)?.ok();
        }
    }
    let Some(Located { path: image, found }) = located else {
        return Err(KernelError::NotBuilt { path: directory, tried: refused });
    };
    // If the image was not rebuilt, kernel.release is newer than the image. Use the release of the image, since the
    // image is booted.
    let release = found.release.or(stated);
    let modules = directory.join("modules.order").exists().then_some(directory.clone());
    let modules = modules.zip(release.clone()).map(|(host, release)| ModuleDir {
        host,
        release,
        layout: ModuleLayout::BuildTree,
    });
    let config = config::read(&directory.join(".config"))?;
    let mut kernel = Kernel { image, kind: found.kind, arch: found.arch, release, modules, config, origin };
    if kernel.config.is_none() {
        kernel.config = ikconfig::find(&kernel, cache)?;
    }
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::{find, is, paths};
    use crate::cache::Cache;
    use crate::format::kernel::bzimage::tests::image;
    use crate::format::kernel::vmlinux::tests::vmlinux;
    use crate::root::kernel::{ImageKind, ModuleLayout, error::KernelError};
    use std::fs;

    #[test]
    fn a_build_tree_provides_image_release_config_and_modules() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        fs::create_dir_all(dir.path().join("arch/x86/boot")).expect("made");
        fs::create_dir_all(dir.path().join("include/config")).expect("made");
        fs::write(dir.path().join("include/config/kernel.release"), "6.9.0-test\n").expect("written");
        fs::write(dir.path().join(".config"), "CONFIG_PVH=y\n").expect("written");
        fs::write(dir.path().join("modules.order"), "drivers/a.o\n").expect("written");
        assert!(is(dir.path()));
        let unbuilt = find(dir.path(), "tree", &cache, &mut |_| {}).expect_err("nothing built");
        assert!(matches!(&unbuilt, KernelError::NotBuilt { tried, .. } if tried.len() == 6), "{unbuilt}");
        fs::write(dir.path().join("arch/x86/boot/bzImage"), image(b"payload!")).expect("written");
        fs::write(dir.path().join("vmlinux"), vmlinux(62, false)).expect("written");
        let kernel = find(dir.path(), "tree", &cache, &mut |_| {}).expect("found");
        assert_eq!((kernel.kind, kernel.release.as_deref()), (ImageKind::BzImage, Some("6.9.0-test")));
        assert_eq!(kernel.modules.expect("modules").layout, ModuleLayout::BuildTree);
        assert!(kernel.config.expect("a configuration").is_builtin("PVH"));
        fs::write(dir.path().join("vmlinux"), vmlinux(62, true)).expect("written");
        let found = find(dir.path(), "tree", &cache, &mut |_| {}).expect("found");
        assert_eq!(found.kind, ImageKind::VmlinuxPvh);
        let images = |image| paths(dir.path(), image).iter().filter(|path| path.ends_with("vmlinux")).count();
        assert_eq!((images(Some(found.image.as_path())), images(None)), (1, 1));
        let bzimages = |image| paths(dir.path(), image).iter().filter(|path| path.ends_with("bzImage")).count();
        assert_eq!((bzimages(Some(found.image.as_path())), bzimages(None)), (0, 2), "vmlinux precedes them");
    }

    #[test]
    fn a_build_outside_the_source_is_found_by_its_link() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let source = dir.path().join("linux");
        fs::create_dir_all(&source).expect("made");
        for name in super::SOURCE {
            fs::write(source.join(name), "").expect("written");
        }
        let error = find(&source, "linux", &cache, &mut |_| {}).expect_err("not built").to_string();
        assert!(error.contains("vmlinux: not built") && error.contains("make O="), "{error}");
        let build = |name: &str| {
            let output = dir.path().join(name);
            fs::create_dir_all(&output).expect("made");
            fs::write(output.join("vmlinux"), vmlinux(62, true)).expect("written");
            std::os::unix::fs::symlink(&source, output.join("source")).expect("a link");
            fs::canonicalize(output).expect("real")
        };
        let beside = build("build");
        let kernel = find(&source, "linux", &cache, &mut |_| {}).expect("found");
        assert_eq!(
            (kernel.image.as_path(), kernel.origin.as_str()),
            (beside.join("vmlinux").as_path(), beside.to_str().expect("UTF-8"))
        );
        assert!(paths(&source, Some(&kernel.image)).contains(&beside.join(".config")));
        build("linux/out");
        let error = find(&source, "linux", &cache, &mut |_| {}).expect_err("two").to_string();
        assert!(error.contains("several builds") && error.contains("linux/out"), "{error}");
    }
}

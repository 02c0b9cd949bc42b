//! Lookup of the kernel that `--kernel` names.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::container::{self, Located};
use super::image::search_release;
use super::{
    ImageKind, Kernel, ModuleDir, ModuleLayout,
    config::{self, Config},
    deb,
    error::KernelError,
    ikconfig, tree,
};
use crate::arch::Arch;
use crate::cache::Cache;
use crate::format::kernel::{package, release};
use crate::root::directory::Root;
use crate::root::fetch::{Fetch, KernelPackage, Packages};
use crate::{format::archive_path::ArchivePath, root::request::KernelRef};

/// Limit of the number of files in a directory of packages.
const PACKAGES_LIMIT: usize = 4096;

/// Finds the requested kernel. Calls `progress` once for each step that takes noticeably long. `arch` selects a kernel that
/// is available for several architectures; it does not restrict others. Default: the host's.
pub fn find(
    root: &Root,
    wanted: &KernelRef,
    arch: Option<Arch>,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    match wanted {
        KernelRef::Newest => newest(root, cache, progress),
        KernelRef::Named(name) => named(root, name, arch, cache, progress),
    }
}

/// Finds the requested kernel to build an image for it. The image of the kernel may be missing or unreadable, as
/// `/boot/vmlinuz-*` is on some distributions: a build requires only the modules.
pub fn find_to_build(
    root: &Root,
    wanted: &KernelRef,
    arch: Option<Arch>,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    match find(root, wanted, arch, cache, progress) {
        Err(error) if error.is_without_image() => without_image(root, wanted)?.ok_or(error),
        other => other,
    }
}

/// Returns the kernel whose modules are installed below the root: the one with this release, or the newest.
fn without_image(root: &Root, wanted: &KernelRef) -> Result<Option<Kernel>, KernelError> {
    let releases = match wanted {
        KernelRef::Named(name) => {
            Vec::from_iter(name.to_str().filter(|text| release::is_release(text)).map(str::to_owned))
        }
        KernelRef::Newest => {
            let mut all =
                [list(root, &ArchivePath::new("/lib/modules"))?, list(root, &ArchivePath::new("/usr/lib/modules"))?]
                    .concat();
            all.sort_by(|one, other| release::compare(other, one));
            all
        }
    };
    for release in releases {
        let Some(host) = installed_modules(root, &release) else { continue };
        let modules = ModuleDir { host: host.clone(), release: release.clone(), layout: ModuleLayout::Installed };
        return Ok(Some(Kernel {
            config: config_near(root, &host, &release, Some(&modules))?,
            origin: host.display().to_string(),
            image: host,
            kind: ImageKind::Absent,
            arch: Arch::host().unwrap_or(Arch::X86_64),
            release: Some(release),
            modules: Some(modules),
        }));
    }
    Ok(None)
}

/// Returns the directory of a release's modules below the root. A directory that contains only links to headers has none.
fn installed_modules(root: &Root, release: &str) -> Option<PathBuf> {
    let below = ["/lib/modules", "/usr/lib/modules"].map(|modules| ArchivePath::new(modules).join(release));
    let mut found = below.iter().filter_map(|path| root.find(path)).map(|found| root.host_path(&found.real));
    found.find(|host| ["modules.dep", "kernel", "updates", "extra"].iter().any(|name| host.join(name).exists()))
}

/// Finds a kernel by its path, by its release below the root, or by the name of a package that is fetched.
fn named(
    root: &Root,
    name: &OsStr,
    arch: Option<Arch>,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    let path = Path::new(name);
    let mut tried = vec![path.display().to_string()];
    if there(path)? {
        return at_path(root, path, cache, progress);
    }
    if let Some(package) = KernelPackage::from_reference(name) {
        let arch = arch.or(Arch::host()).unwrap_or(Arch::X86_64);
        let fetch = Fetch { arch, cache, refresh: false };
        let path = fetch.get(&Packages::Kernel(package?), progress)?;
        return deb::find(&[path], &name.to_string_lossy(), cache, progress);
    }
    if name.as_bytes().contains(&b',') {
        let parts: Vec<PathBuf> =
            name.as_bytes().split(|byte| *byte == b',').map(|part| PathBuf::from(OsStr::from_bytes(part))).collect();
        let missing = parts.iter().filter(|part| !part.is_file());
        let missing: Vec<String> = missing.map(|part| part.display().to_string()).collect();
        if missing.is_empty() {
            return deb::find(&parts, &name.to_string_lossy(), cache, progress);
        }
        tried.extend(missing);
    }
    if name.as_bytes().contains(&b'/') {
        let inside = root.host_path(&root.typed(path));
        if there(&inside)? {
            return at_path(root, &inside, cache, progress);
        }
        if inside != path {
            tried.push(inside.display().to_string());
        }
    } else if let Some(text) = name.to_str().filter(|text| release::is_release(text)) {
        for place in places(text) {
            let place = ArchivePath::new(place);
            match root.resolve(&place) {
                Ok(found) => {
                    return image_file(root, &root.host_path(&found.real), &root.host_path(&place), cache, progress);
                }
                Err(error) if error.is_missing() => tried.push(root.host_path(&place).display().to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(modules) = installed_modules(root, text) {
            tried.push(format!("{}, which has modules but no image", modules.display()));
        }
    }
    Err(KernelError::NotFound { wanted: path.display().to_string(), tried })
}

/// Returns the paths at which distributions install the image of a release.
fn places(release: &str) -> [String; 4] {
    [
        format!("/boot/vmlinuz-{release}"),
        format!("/lib/modules/{release}/vmlinuz"),
        format!("/usr/lib/modules/{release}/vmlinuz"),
        format!("/boot/vmlinux-{release}"),
    ]
}

/// Returns true if the path exists.
fn there(path: &Path) -> Result<bool, KernelError> {
    path.try_exists().map_err(|source| KernelError::Io { doing: "access", path: path.to_owned(), source })
}

/// Returns true if the file is a package.
fn is_package(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let mut magic = [0; package::MAGIC.len()];
    // Opening the archive in a .deb takes longer.
    if file.read_exact_at(&mut magic, 0).is_ok() && magic == package::MAGIC {
        return Ok(true);
    }
    Ok(package::files(&file, file.metadata()?.len())?.is_some())
}

/// Returns the packages in a directory, in alphabetical order.
fn packages_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)?.take(PACKAGES_LIMIT) {
        let path = entry?.path();
        if path.is_file()
            && [".deb", ".apk", ".pkg.tar.zst"].iter().any(|end| path.as_os_str().as_bytes().ends_with(end.as_bytes()))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the kernel in a file or directory on the host.
fn at_path(root: &Root, path: &Path, cache: &Cache, progress: &mut dyn FnMut(&str)) -> Result<Kernel, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: path.to_owned(), source };
    let origin = path.display().to_string();
    if path.is_dir() {
        if !tree::is(path) {
            let packages = packages_in(path).map_err(failed)?;
            if !packages.is_empty() {
                return deb::find(&packages, &origin, cache, progress);
            }
            // The files of a package.
            if ["boot", "lib/modules", "usr/lib/modules"].iter().any(|name| path.join(name).is_dir()) {
                return newest(&Root::new(path)?, cache, progress);
            }
            let tried = vec!["no vmlinux, arch/x86/boot/bzImage or .config".to_owned()];
            return Err(KernelError::NotBuilt { path: path.to_owned(), tried });
        }
        return tree::find(path, &origin, cache, progress);
    }
    if is_package(path).map_err(failed)? {
        return deb::find(&[path.to_owned()], &origin, cache, progress);
    }
    let real = fs::canonicalize(path).map_err(failed)?;
    image_file(root, &real, path, cache, progress)
}

/// Identifies a kernel image and finds its modules and configuration.
fn image_file(
    root: &Root,
    image: &Path,
    typed: &Path,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    let located = container::locate(image, &typed.display().to_string(), cache, progress)?;
    let located = located.map_err(|refused| KernelError::NotBootable {
        path: typed.to_owned(),
        what: refused.what,
        advice: refused.advice,
    })?;
    complete(root, image, typed, located, cache)
}

/// Finds modules and configuration of the image in a file.
fn complete(root: &Root, image: &Path, typed: &Path, located: Located, cache: &Cache) -> Result<Kernel, KernelError> {
    let Located { path, mut found } = located;
    if found.kind == ImageKind::Arm64 {
        found.release = search_release(&path)?;
    }
    let release = found.release.clone();
    let mut kernel = Kernel {
        image: path,
        kind: found.kind,
        arch: found.arch,
        release: found.release,
        modules: None,
        config: None,
        origin: typed.display().to_string(),
    };
    if let Some(top) = tree::of_image(image) {
        kernel.config = config::read(&top.join(".config"))?;
        if let Some(release) = release.filter(|_| top.join("modules.order").exists()) {
            kernel.modules = Some(ModuleDir { host: top, release, layout: ModuleLayout::BuildTree });
        }
    } else if let Some(release) = release {
        kernel.modules = modules_near(root, image, &release);
        kernel.config = config_near(root, image, &release, kernel.modules.as_ref())?;
    }
    if kernel.config.is_none() {
        kernel.config = ikconfig::find(&kernel, cache)?;
    }
    Ok(kernel)
}

/// Finds the modules: the directory of the image, `lib/modules/RELEASE` beside the image's `boot`, or below the root.
fn modules_near(root: &Root, image: &Path, release: &str) -> Option<ModuleDir> {
    let beside = image
        .ancestors()
        .nth(2)
        .into_iter()
        .flat_map(|base| ["lib/modules", "usr/lib/modules"].map(|modules| base.join(modules).join(release)));
    let around = image.parent().filter(|parent| parent.ends_with(release)).map(Path::to_owned);
    let below = ["/lib/modules", "/usr/lib/modules"].map(|modules| ArchivePath::new(modules).join(release));
    let below = below.iter().filter_map(|path| root.find(path)).map(|found| root.host_path(&found.real));
    let host = around.into_iter().chain(beside).chain(below).find(|path| path.is_dir())?;
    Some(ModuleDir { host, release: release.to_owned(), layout: ModuleLayout::Installed })
}

/// Reads `config-RELEASE` beside the image or below the root, `config` in the directory of modules, or a `.config` of
/// this version beside the image.
fn config_near(
    root: &Root,
    image: &Path,
    release: &str,
    modules: Option<&ModuleDir>,
) -> Result<Option<Config>, KernelError> {
    let name = format!("config-{release}");
    let below = root.find(&ArchivePath::new("/boot").join(&name)).map(|found| root.host_path(&found.real));
    let parent = image.parent();
    let places = parent.map(|parent| parent.join(&name)).into_iter();
    let places: Vec<PathBuf> = places.chain(modules.map(|dir| dir.host.join("config"))).chain(below).collect();
    for place in places {
        if let Some(config) = config::read(&place)? {
            return Ok(Some(config));
        }
    }
    let beside = parent.map_or(Ok(None), |parent| config::read(&parent.join(".config")))?;
    Ok(beside.filter(|config| config.fits(release)))
}

/// Returns the newest readable kernel below the root.
fn newest(root: &Root, cache: &Cache, progress: &mut dyn FnMut(&str)) -> Result<Kernel, KernelError> {
    let mut candidates: Vec<(String, ArchivePath)> = Vec::new();
    let boot = ArchivePath::new("/boot");
    for name in list(root, &boot)? {
        if let Some(release) = name.strip_prefix("vmlinuz-") {
            candidates.push((release.to_owned(), boot.join(&name)));
        }
    }
    for modules in ["/lib/modules", "/usr/lib/modules"].map(ArchivePath::new) {
        for release in list(root, &modules)? {
            let image = modules.join(&release).join("vmlinuz");
            if root.find(&image).is_some() {
                candidates.push((release, image));
            }
        }
    }
    // Newest release first. Within a release, /boot sorts first.
    candidates.sort_by(|one, other| release::compare(&other.0, &one.0).then_with(|| one.1.cmp(&other.1)));
    let mut skipped = Vec::new();
    for (_, path) in candidates {
        let typed = root.host_path(&path);
        let Some(found) = root.find(&path) else {
            skipped.push(format!("{}: dangling symbolic link", typed.display()));
            continue;
        };
        let image = root.host_path(&found.real);
        match container::locate(&image, &typed.display().to_string(), cache, progress) {
            Ok(Ok(located)) => return complete(root, &image, &typed, located, cache),
            Ok(Err(refused)) => skipped.push(format!("{} is {}", typed.display(), refused.what)),
            Err(KernelError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                let path = typed.display();
                skipped.push(format!("{path} is not readable, fix with sudo chmod a+r {path}"));
            }
            Err(other) => return Err(other),
        }
    }
    let tried = ["boot/vmlinuz-*", "lib/modules/*/vmlinuz"].map(|place| root.directory().join(place));
    Err(KernelError::None { tried: tried.map(|place| place.display().to_string()).into(), skipped })
}

/// Lists the UTF-8 names in a directory; none if the directory is missing or unreadable.
fn list(root: &Root, path: &ArchivePath) -> Result<Vec<String>, KernelError> {
    if root.find(path).is_none() {
        return Ok(Vec::new());
    }
    match root.list(path) {
        Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
        Err(crate::root::directory::RootError::Io { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(Vec::new())
        }
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{find, find_to_build};
    use crate::cache::Cache;
    use crate::format::kernel::bzimage::tests::image;
    use crate::format::kernel::package::tests::package;
    use crate::format::kernel::vmlinux::tests::vmlinux;
    use crate::format::modules::modinfo::tests::module;
    use crate::root::directory::Root;
    use crate::root::fact::{Content, Node};
    use crate::root::kernel::unpack::tests::archive;
    use crate::root::kernel::{ImageKind, Kernel, error::KernelError};
    use crate::root::modules::resolve_with;
    use crate::root::request::{KernelRef, ModuleRequest};
    use std::ffi::OsString;
    use std::fs::{self, File};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    struct World {
        dir: tempfile::TempDir,
        cache: Cache,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let cache = Cache::at(dir.path().join("cache"), 1 << 30).expect("a cache");
            fs::create_dir(dir.path().join("root")).expect("made");
            Self { dir, cache }
        }

        fn write(&self, path: &str, bytes: &[u8]) -> &Self {
            let path = self.path(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, bytes).expect("written");
            self
        }

        fn path(&self, path: &str) -> std::path::PathBuf {
            self.dir.path().join(path)
        }

        fn find(&self, wanted: &KernelRef) -> Result<Kernel, KernelError> {
            let root = Root::new(self.path("root")).expect("a root");
            find(&root, wanted, None, &self.cache, &mut |_| {})
        }

        fn named(&self, path: impl AsRef<Path>) -> Result<Kernel, KernelError> {
            self.find(&KernelRef::Named(path.as_ref().as_os_str().to_owned()))
        }
    }

    /// Builds a bzImage of this release.
    fn bzimage(release: &str) -> Vec<u8> {
        with_release(image(b"payload!"), release)
    }

    fn with_release(mut bytes: Vec<u8>, release: &str) -> Vec<u8> {
        bytes[0x300..0x340].fill(0);
        bytes[0x300..0x300 + release.len()].copy_from_slice(release.as_bytes());
        bytes[0x300 + release.len()] = b' ';
        bytes
    }

    #[test]
    fn the_newest_release_is_chosen_with_its_modules_and_configuration() {
        let world = World::new();
        world
            .write("root/boot/vmlinuz-6.9.0", &bzimage("6.9.0"))
            .write("root/boot/config-6.12.1", b"CONFIG_X=y\n")
            .write("root/usr/lib/modules/6.12.1/modules.dep", b"")
            .write("root/boot/vmlinuz-6.12.1", &bzimage("6.12.1"))
            .write("root/usr/lib/modules/6.10.0/vmlinuz", &bzimage("6.10.0"))
            .write("root/boot/vmlinuz-7.0.0", b"not a kernel");
        let kernel = world.find(&KernelRef::Newest).expect("found");
        assert_eq!((kernel.release.as_deref(), kernel.kind), (Some("6.12.1"), ImageKind::BzImage));
        assert!(kernel.config.expect("a configuration").is_builtin("X"));
        assert!(kernel.modules.expect("modules").host.ends_with("usr/lib/modules/6.12.1"));
        let other = world.named("6.10.0").expect("found by its release");
        assert!(other.image.ends_with("usr/lib/modules/6.10.0/vmlinuz"));
    }

    #[test]
    fn to_build_the_modules_of_a_release_are_enough() {
        let world = World::new();
        world
            .write("root/lib/modules/6.9.0/kernel/a.ko", &module(&["depends="]))
            .write("root/lib/modules/6.10.0/build/Makefile", b"")
            .write("root/boot/config-6.9.0", b"CONFIG_X=y\n");
        let root = Root::new(world.path("root")).expect("a root");
        for wanted in [KernelRef::Named("6.9.0".into()), KernelRef::Newest] {
            let kernel = find_to_build(&root, &wanted, None, &world.cache, &mut |_| {}).expect("its modules are there");
            assert_eq!((kernel.kind, kernel.release.as_deref()), (ImageKind::Absent, Some("6.9.0")));
            assert!(kernel.config.as_ref().is_some_and(|config| config.is_builtin("X")));
            let request = ModuleRequest { name: "a".into(), params: OsString::new() };
            let cache = || Ok(world.cache.clone());
            let modules = resolve_with(&root, &kernel, &[request], &[], &cache).expect("resolved");
            assert_eq!(modules.loads.len(), 1);
        }
        let error = world.named("6.9.0").expect_err("nothing to boot").to_string();
        assert!(error.contains("lib/modules/6.9.0, which has modules but no image"), "{error}");
        let headers = KernelRef::Named("6.10.0".into());
        let error =
            find_to_build(&root, &headers, None, &world.cache, &mut |_| {}).expect_err("no modules").to_string();
        assert!(error.contains("6.10.0: no such file or release") && !error.contains("no image"), "{error}");
    }

    #[test]
    fn without_a_kernel_the_error_lists_skipped_images_and_advice() {
        let world = World::new();
        let error = world.find(&KernelRef::Newest).expect_err("none").to_string();
        assert!(error.contains("boot/vmlinuz-*") && error.contains("--kernel debian:"), "{error}");
        world.write("root/boot/vmlinuz-6.9.0", b"");
        let error = world.find(&KernelRef::Newest).expect_err("none").to_string();
        assert!(error.contains("vmlinuz-6.9.0 is an empty file"), "{error}");
        let error = world.named("6.6.6").expect_err("none").to_string();
        assert!(error.contains("boot/vmlinuz-6.6.6") && error.contains("lib/modules/6.6.6/vmlinuz"), "{error}");
    }

    #[test]
    fn an_unsupported_image_is_identified_in_the_error() {
        let world = World::new();
        let mut i386 = bzimage("6.9.0");
        i386[0x236] = 0;
        let cut = bzimage("6.9.0")[..1040].to_vec();
        for (name, bytes, expected) in [
            ("i386", i386, "32-bit x86"),
            ("cut", cut, "truncated"),
            ("arm64", vmlinux(183, true), "a vmlinux for aarch64"),
            ("riscv64", vmlinux(243, true), "ELF file for riscv64"),
            ("nopvh", vmlinux(62, false), "without a PVH entry note"),
            ("module.ko", module(&[]), "kernel module"),
            ("initrd", b"070701".to_vec(), "--initrd"),
        ] {
            world.write(name, &bytes);
            let error = world.named(world.path(name)).expect_err(name).to_string();
            assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
        }
        let error = world.named(world.dir.path()).expect_err("a directory").to_string();
        assert!(error.contains("no kernel image in directory"), "{error}");
    }

    #[test]
    fn an_image_in_a_build_tree_uses_the_modules_of_the_tree() {
        let world = World::new();
        world
            .write("tree/include/config/kernel.release", b"6.9.0\n")
            .write("tree/modules.order", b"a.o\n")
            .write("tree/arch/x86/boot/bzImage", &bzimage("6.9.0"));
        let kernel = world.named(world.path("tree/arch/x86/boot/bzImage")).expect("found");
        assert_eq!(kernel.modules.expect("modules").host, fs::canonicalize(world.path("tree")).expect("real"));
    }

    #[test]
    fn a_package_is_unpacked_once_and_again_after_damage() {
        let world = World::new();
        let tar = archive(&[
            ("./boot/vmlinuz-6.9.0", &bzimage("6.9.0")),
            ("./boot/config-6.9.0", b"CONFIG_X=y\n"),
            ("./lib/modules/6.9.0/kernel/a.ko", &module(&["depends=b"])),
            ("./lib/modules/6.9.0/kernel/b.ko", &module(&["depends="])),
        ]);
        world.write("k.deb", &package(&[("debian-binary", b"2.0\n"), ("data.tar", &tar)]));
        let root = Root::new(world.path("root")).expect("a root");
        let wanted = KernelRef::Named(OsString::from(world.path("k.deb")));
        let mut reports = Vec::new();
        let kernel =
            find(&root, &wanted, None, &world.cache, &mut |text| reports.push(text.to_owned())).expect("found");
        assert_eq!((reports.len(), kernel.release.as_deref()), (1, Some("6.9.0")));
        let modules = kernel.modules.expect("modules").host;
        let dep = fs::read_to_string(modules.join("modules.dep")).expect("tables");
        assert_eq!(dep, "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n");
        let again = find(&root, &wanted, None, &world.cache, &mut |_| panic!("unpacked again")).expect("found");
        assert_eq!(again.image, kernel.image);
        fs::write(&kernel.image, b"garbage").expect("damaged");
        let again = find(&root, &wanted, None, &world.cache, &mut |text| reports.push(text.to_owned())).expect("found");
        assert_eq!((reports.len(), fs::read(&again.image).expect("read")), (2, bzimage("6.9.0")));
        fs::write(modules.join("kernel/b.ko"), b"garbage").expect("damaged");
        fs::remove_file(modules.join("kernel/a.ko")).expect("damaged");
        let request = ModuleRequest { name: "a".into(), params: "x=1".into() };
        let resolved =
            resolve_with(&root, &again, &[request], &["gone"], &|| Ok(world.cache.clone())).expect("renewed");
        let loads: Vec<_> = resolved.loads.iter().map(|load| (load.path.to_string(), load.params.clone())).collect();
        let at = |name: &str| format!("/lib/modules/6.9.0/kernel/{name}.ko");
        assert_eq!(loads, [(at("b"), "".into()), (at("a"), "x=1".into())]);
        assert_eq!(fs::read(modules.join("kernel/b.ko")).expect("read"), module(&["depends="]));
    }

    #[test]
    fn a_kernel_is_found_in_several_packages_and_in_unpacked_ones() {
        let world = World::new();
        let image: (&str, &[u8]) = ("./boot/vmlinuz-6.9.0", &bzimage("6.9.0"));
        let [a, b] = ["depends=b", "depends="].map(|info| module(&[info]));
        let a: (&str, &[u8]) = ("./lib/modules/6.9.0/kernel/a.ko", &a);
        let b: (&str, &[u8]) = ("./usr/lib/modules/6.9.0/kernel/b.ko", &b);
        let deb = |files: &[(&str, &[u8])]| package(&[("data.tar", &archive(files))]);
        let pacman = zstd::encode_all(archive(&[a, b]).as_slice(), 1).expect("compressed");
        world.write("all/image.deb", &deb(&[image])).write("all/modules.deb", &deb(&[a]));
        world.write("all/modules-extra.deb", &deb(&[b]));
        world.write("arch/image.deb", &deb(&[image])).write("arch/modules.pkg.tar.zst", &pacman);
        for (name, content) in [image, a, ("lib/modules/6.9.0/kernel/b.ko", b.1)] {
            world.write(&format!("unpacked/{name}"), content);
        }
        let root = Root::new(world.path("root")).expect("a root");
        let at = |name: &str| world.path(name).display().to_string();
        let comma = format!("{},{},{}", at("all/modules.deb"), at("all/image.deb"), at("all/modules-extra.deb"));
        for wanted in [at("all"), comma.clone(), at("arch"), at("unpacked")] {
            let kernel = world.named(&wanted).expect(&wanted);
            assert_eq!(kernel.release.as_deref(), Some("6.9.0"), "{wanted}");
            let request = ModuleRequest { name: "a".into(), params: OsString::new() };
            let cache = || Ok(world.cache.clone());
            let modules = resolve_with(&root, &kernel, &[request], &[], &cache).expect(&wanted);
            assert_eq!(modules.loads.len(), 2, "{wanted}");
        }
        let error = world.named(format!("{comma},{}", at("gone.deb"))).expect_err("missing").to_string();
        assert!(error.contains("no such file or release") && error.contains("gone.deb"), "{error}");
        world.write("all/other.deb", &deb(&[("./boot/vmlinuz-6.10.0", image.1)]));
        let error = world.named(at("all")).expect_err("two kernels").to_string();
        assert!(error.contains("several kernels: boot/vmlinuz-6.10.0, boot/vmlinuz-6.9.0"), "{error}");
    }

    /// Pseudo-random numbers, the same in each run (xorshift64).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % limit.max(1) as u64) as usize
        }
    }

    /// Damages a file or directory of the cache; of half of the files, the time of the last write stays. Returns a
    /// description.
    fn damage(cache: &Path, numbers: &mut Numbers) -> String {
        let all = walkdir::WalkDir::new(cache).min_depth(1).sort_by_file_name().into_iter();
        let all: Vec<_> = all.map(|item| item.expect("listed").path().to_owned()).collect();
        let path = &all[numbers.below(all.len())];
        if path.is_dir() {
            fs::remove_dir_all(path).expect("removed");
            return format!("{} removed", path.display());
        }
        let later = match numbers.below(2) {
            0 => fs::metadata(path).and_then(|found| found.modified()).expect("a time"),
            _ => SystemTime::now() + Duration::from_secs(1 + numbers.below(1000) as u64),
        };
        let len = fs::metadata(path).expect("metadata").len();
        match numbers.below(3) {
            0 => fs::remove_file(path).expect("removed"),
            1 => {
                let file = File::options().write(true).open(path).expect("opened");
                file.set_len(numbers.below(len as usize) as u64).expect("truncated");
                file.set_modified(later).expect("set");
            }
            _ => {
                let mut bytes = fs::read(path).expect("read");
                let at = numbers.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
                fs::write(path, bytes).expect("written");
                File::options().write(true).open(path).expect("opened").set_modified(later).expect("set");
            }
        }
        format!("{} damaged", path.display())
    }

    #[test]
    fn random_damage_to_the_cache_is_repaired_within_the_same_lookup() {
        let world = World::new();
        let mut payload = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut payload, &vmlinux(62, true)).expect("compressed");
        let bootable = with_release(image(&payload.finish().expect("finished")), "6.9.0");
        let (a, b) = (module(&["depends=b", "alias=pci:v1*"]), module(&["depends="]));
        let tar = archive(&[
            ("./boot/vmlinuz-6.9.0", &bootable),
            ("./boot/config-6.9.0", b"CONFIG_X=y\n"),
            ("./lib/modules/6.9.0/kernel/a.ko", &a),
            ("./lib/modules/6.9.0/kernel/b.ko", &b),
            ("./lib/modules/6.9.0/modules.builtin", b"kernel/c.ko\n"),
        ]);
        world.write("k.deb", &package(&[("debian-binary", b"2.0\n"), ("data.tar", &tar)]));
        let wanted = KernelRef::Named(OsString::from(world.path("k.deb")));
        // The files of the image and of the modules, as a run would use them.
        let look_up = || -> Result<Vec<Vec<u8>>, (Option<std::path::PathBuf>, String)> {
            let root = Root::new(world.path("root")).expect("a root");
            let failed = |error: KernelError| (error.file().map(Path::to_owned), error.to_string());
            let kernel = find(&root, &wanted, None, &world.cache, &mut |_| {}).map_err(failed)?;
            assert!(kernel.config.as_ref().is_some_and(|config| config.is_builtin("X")));
            let elf = crate::root::kernel::vmlinux(&kernel, &world.cache, &mut |_| {}).map_err(failed)?;
            let request = |name: &str| ModuleRequest { name: name.into(), params: OsString::new() };
            let requests = [request("pci:v1d2"), request("c")];
            let found = resolve_with(&root, &kernel, &requests, &[], &|| Ok(world.cache.clone()));
            let found = found.map_err(|error| (error.file().map(Path::to_owned), error.to_string()))?;
            let modules = found.facts.iter().map(|fact| match &fact.node {
                Node::File { content: Content::Host { path, .. }, .. } => fs::read(path).expect("read"),
                other => panic!("{other:?}"),
            });
            Ok([kernel.image, elf.expect("PVH")]
                .map(|path| fs::read(path).expect("read"))
                .into_iter()
                .chain(modules)
                .collect())
        };
        let expected = look_up().expect("undamaged");
        assert_eq!(expected, [bootable, vmlinux(62, true), b, a]);
        let mut numbers = Numbers(0x5eed_cafe);
        let mut retries = 0;
        for round in 0..300 {
            let done: Vec<String> =
                (0..=numbers.below(2)).map(|_| damage(world.cache.directory(), &mut numbers)).collect();
            let found = look_up().or_else(|(file, error)| {
                let file = file.unwrap_or_else(|| panic!("{round}: {done:?}: {error}"));
                assert!(world.cache.discard_holder(&file), "{round}: {done:?}: {error}");
                retries += 1;
                look_up()
            });
            assert_eq!(found.unwrap_or_else(|(_, error)| panic!("{round}: {done:?}: {error}")), expected, "{done:?}");
        }
        assert!(retries < 300, "most damage is detected without a failure");
    }

    #[test]
    fn damage_that_leaves_size_and_time_is_repaired_when_a_module_is_unreadable() {
        let world = World::new();
        let file = module(&["depends="]);
        let tar = archive(&[("./boot/vmlinuz-6.9.0", &bzimage("6.9.0")), ("./lib/modules/6.9.0/kernel/a.ko", &file)]);
        world.write("k.deb", &package(&[("data.tar", &tar)]));
        let root = Root::new(world.path("root")).expect("a root");
        let kernel = world.named(world.path("k.deb")).expect("found");
        let path = kernel.modules.as_ref().expect("modules").host.join("kernel/a.ko");
        let time = fs::metadata(&path).and_then(|found| found.modified()).expect("a time");
        fs::write(&path, vec![0; file.len()]).expect("damaged");
        File::options().write(true).open(&path).expect("opened").set_modified(time).expect("set");
        let request = ModuleRequest { name: "a".into(), params: OsString::new() };
        resolve_with(&root, &kernel, &[request], &[], &|| Ok(world.cache.clone())).expect("renewed");
        assert_eq!(fs::read(path).expect("read"), file);
    }

    #[test]
    fn packages_without_a_kernel_are_refused_with_the_reason() {
        let world = World::new();
        world.write("meta.deb", &package(&[("data.tar", &archive(&[("./usr/share/doc/x", b"x")]))]));
        world.write(
            "modules.deb",
            &package(&[("data.tar", &archive(&[("./lib/modules/6.9.0/kernel/a.ko", &module(&[]))]))]),
        );
        for (name, expected) in [("meta.deb", "apt-cache depends"), ("modules.deb", "1 modules but no image")] {
            let error = world.named(world.path(name)).expect_err(name).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

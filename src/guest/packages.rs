//! Packages in place of a kernel or a root: `debian:cloud`, `debian:bash,iproute2`. They are fetched when a guest is first
//! prepared.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::{Listener, RunSpec, VmError};
use crate::arch::Arch;
use crate::cache::Cache;
use crate::root::fetch::{DEFAULT_ROOT, Fetch, FetchError, KernelPackage, Packages, RootPackages};
use crate::root::request::KernelRef;

/// Returns the specification with a directory as its root. Fetches the packages of a root that is a reference, and those of
/// a default root if the kernel is a package for another architecture than the host's and no root is requested: no program
/// of the host runs there.
pub(super) fn fetch_root<'a>(spec: &'a RunSpec, listener: &mut dyn Listener) -> Result<Cow<'a, RunSpec>, VmError> {
    let packages = match RootPackages::from_reference(&spec.initrd.root) {
        Some(_) if spec.initrd.root.is_dir() => return Ok(Cow::Borrowed(spec)),
        Some(packages) => packages?,
        None if needs_root(spec) => RootPackages::new([])?,
        None => return Ok(Cow::Borrowed(spec)),
    };
    let arch = arch(spec.boot.arch)?;
    let cache = spec.open_cache()?;
    let fetch = Fetch { arch, cache: &cache, refresh: false };
    let wanted = Packages::Root(packages);
    if needs_root(spec) && !fetch.has(&wanted) {
        let names = DEFAULT_ROOT.join(", ");
        listener.note(&format!(
            "no --sysroot: programs come from Debian's {names} for {arch} (--sysroot debian:PACKAGE,... selects others)"
        ));
    }
    let root = fetch_noted(&fetch, &wanted, listener)?;
    let mut spec = spec.clone();
    spec.initrd.root = root;
    Ok(Cow::Owned(spec))
}

/// Returns the directory of a root that is a path or a reference to packages.
pub fn root_directory(root: &Path, requested: Option<Arch>, listener: &mut dyn Listener) -> Result<PathBuf, VmError> {
    match RootPackages::from_reference(root) {
        Some(packages) if !root.is_dir() => {
            let wanted = Packages::Root(packages?);
            fetch_noted(&Fetch { arch: arch(requested)?, cache: &Cache::open()?, refresh: false }, &wanted, listener)
        }
        Some(_) | None => Ok(root.to_owned()),
    }
}

/// Fetches the kernel of a specification if it is a package.
pub(super) fn fetch_kernel(spec: &RunSpec, cache: &Cache, listener: &mut dyn Listener) -> Result<(), VmError> {
    if let Some(package) = kernel_package(spec) {
        let fetch = Fetch { arch: arch(spec.boot.arch)?, cache, refresh: false };
        fetch_noted(&fetch, &Packages::Kernel(package?), listener)?;
    }
    Ok(())
}

/// Fetches packages. What takes long is announced by a note, which a log shows too.
fn fetch_noted(fetch: &Fetch<'_>, wanted: &Packages, listener: &mut dyn Listener) -> Result<PathBuf, VmError> {
    if !fetch.has(wanted) {
        listener.note(&format!("fetching {wanted} for {} with apt, once", fetch.arch));
    }
    Ok(fetch.get(wanted, &mut |doing| listener.progress(doing))?)
}

/// Returns the kernel's package, if the kernel is one.
fn kernel_package(spec: &RunSpec) -> Option<Result<KernelPackage, FetchError>> {
    match &spec.kernel {
        Some(KernelRef::Named(name)) if !Path::new(name).exists() => KernelPackage::from_reference(name),
        Some(KernelRef::Named(_) | KernelRef::Newest) | None => None,
    }
}

/// Returns true if programs of the host cannot run, and no others are requested.
fn needs_root(spec: &RunSpec) -> bool {
    let is_foreign = spec.boot.arch.is_some_and(|arch| Some(arch) != Arch::host());
    is_foreign && spec.ready_made.is_none() && spec.initrd.root == Path::new("/") && kernel_package(spec).is_some()
}

fn arch(requested: Option<Arch>) -> Result<Arch, VmError> {
    requested.or(Arch::host()).ok_or(VmError::UnknownArch)
}

#[cfg(test)]
mod tests {
    use super::{Arch, RunSpec, fetch_root, needs_root};
    use crate::guest::Silent;
    use crate::root::request::KernelRef;

    #[test]
    fn only_a_fetched_kernel_of_another_architecture_brings_a_root() {
        let foreign = if Arch::host() == Some(Arch::Aarch64) { Arch::X86_64 } else { Arch::Aarch64 };
        let spec = |kernel: &str, arch: Option<Arch>, root: &str| {
            let mut spec = RunSpec { kernel: Some(KernelRef::Named(kernel.into())), ..RunSpec::default() };
            (spec.boot.arch, spec.initrd.root) = (arch, root.into());
            spec
        };
        assert!(needs_root(&spec("debian:", Some(foreign), "/")));
        assert!(needs_root(&spec("debian:cloud", Some(foreign), "/")));
        for other in [
            spec("debian:", None, "/"),
            spec("debian:", Arch::host(), "/"),
            spec("debian:", Some(foreign), "/srv/arm64"),
            spec("vmlinuz", Some(foreign), "/"),
            RunSpec { ready_made: Some("initrd".into()), ..spec("debian:", Some(foreign), "/") },
        ] {
            assert!(!needs_root(&other), "{other:?}");
            assert_eq!(fetch_root(&other, &mut Silent).expect("a directory").initrd.root, other.initrd.root);
        }
    }
}

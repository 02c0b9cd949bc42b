//! Kernels from packages. A package is unpacked once into the cache, without its package manager, and its modules are
//! indexed. Several packages are unpacked together: Ubuntu has image, modules and further modules in one each.
//!
//! depmod did not run on an unpacked package, so this module generates its tables (see `modules::depmod`). A record
//! beside the files describes the image, and a stamp file has the seal of each module, so that damage is
//! detected before a guest uses the files.

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};

use super::container;
use super::unpack::{STAMPS, Unpacked, stamp, unpack};
use super::{Kernel, ModuleDir, ModuleLayout, config, error::KernelError, ikconfig, image};
use crate::cache::{Cache, Key, SealedFile, Sealing};
use crate::format::kernel::package::files;
use crate::format::kernel::release::is_release;
use crate::root::modules::depmod::Tables;
use crate::root::modules::scan::Scanned;

/// File name of the record in the directory of the cache entry.
const RECORD: &str = "kernel";

/// Separator of the paths of several packages in the record.
const SEPARATOR: char = '\t';

/// Content of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    release: String,
    /// Path of the image, relative to the directory.
    image: String,
    /// File stamp of the image.
    stamp: String,
    modules: bool,
    /// Paths of the packages, to create the entry again.
    source: String,
}

impl Record {
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n{}\n{}\n", self.release, self.image, self.stamp, self.modules, self.source)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::to_owned);
        let (release, image, stamp) = (lines.next()?, lines.next()?, lines.next()?);
        let modules = lines.next()? == "true";
        Some(Self { release, image, stamp, modules, source: lines.next()? })
    }
}

/// Returns the kernel in these packages, unpacked into the cache: one package, or those that its files are distributed over.
pub(super) fn find(
    paths: &[PathBuf],
    origin: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |source| KernelError::Io { doing: "read", path: path.clone(), source };
        let path = fs::canonicalize(path).map_err(failed)?;
        let file = File::open(&path).map_err(failed)?;
        files.push(PackageFile { metadata: file.metadata().map_err(failed)?, path, file });
    }
    let keys: Vec<Key> = files.iter().map(|file| Key::of_file("deb 1", &file.path, &file.metadata)).collect();
    let key = match <[Key; 1]>::try_from(keys) {
        Ok([key]) => key,
        Err(keys) => Key::of("packages 1", &keys.iter().map(|key| key.as_str().as_bytes()).collect::<Vec<_>>()),
    };
    for _ in 0..2 {
        let made = |directory: &Path| {
            progress(&format!("unpacking {origin} (once)"));
            unpack_packages(&files, origin, directory)
        };
        // Each module is checked when it is used, see STAMPS.
        let directory = cache.tree(&key, Sealing::ContentsExcept(".ko"), made)?;
        if let Some(mut kernel) = read_record(&directory, origin)? {
            if kernel.config.is_none() {
                kernel.config = ikconfig::find(&kernel, cache)?;
            }
            return Ok(kernel);
        }
        cache.discard_holder(&directory);
    }
    Err(KernelError::Damaged {
        path: cache.directory().to_owned(),
        why: "a cache entry changed while it was created".into(),
    })
}

/// Discards the unpacked package that contains a directory of modules, and unpacks it again to the same path. Returns
/// false if the directory is not from a package in the cache, or if the package no longer exists.
pub(crate) fn renew(modules: &ModuleDir, cache: &Cache) -> Result<bool, KernelError> {
    let record = modules.host.ancestors().nth(3).and_then(|data| fs::read_to_string(data.join(RECORD)).ok());
    let Some(record) = record.as_deref().and_then(Record::parse) else { return Ok(false) };
    cache.discard_holder(&modules.host);
    let sources: Vec<PathBuf> = record.source.split(SEPARATOR).map(PathBuf::from).collect();
    if sources.iter().all(|source| source.exists()) {
        find(&sources, &record.source, cache, &mut |_| {})?;
    }
    Ok(modules.host.exists())
}

/// Returns the kernel of an unpacked package; `None` if its files are missing or changed.
fn read_record(directory: &Path, origin: &str) -> Result<Option<Kernel>, KernelError> {
    let Ok(text) = fs::read_to_string(directory.join(RECORD)) else { return Ok(None) };
    let Some(record) = Record::parse(&text) else { return Ok(None) };
    let image = directory.join(&record.image);
    if !fs::metadata(&image).is_ok_and(|found| stamp(&found) == record.stamp) {
        return Ok(None);
    }
    let Ok(found) = image::identify(&image)? else { return Ok(None) };
    let host = directory.join("lib/modules").join(&record.release);
    if record.modules && !host.join(STAMPS).exists() {
        return Ok(None);
    }
    let mut config = None;
    for name in [format!("boot/config-{}", record.release), format!("lib/modules/{}/config", record.release)] {
        if config.is_none() {
            let found = config::read(&directory.join(&name))?;
            config = found.map(|config| config.from(format!("{name} in {origin}")));
        }
    }
    let release = record.release;
    let modules = ModuleDir { host, release: release.clone(), layout: ModuleLayout::Installed };
    Ok(Some(Kernel {
        image,
        kind: found.kind,
        arch: found.arch,
        release: Some(release),
        modules: record.modules.then_some(modules),
        config,
        origin: origin.to_owned(),
    }))
}

/// A package.
struct PackageFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
}

/// Unpacks packages into an empty directory.
fn unpack_packages(packages: &[PackageFile], origin: &str, into: &Path) -> Result<(), KernelError> {
    // CACHE/.new-XXXXXX/data
    let cache = into.ancestors().nth(2).unwrap_or(into);
    let mut all = Unpacked::default();
    for PackageFile { path, file, metadata } in packages {
        let bad = |source| KernelError::unpacking(path, cache, source);
        let not_package = || bad(std::io::Error::other("not a package: expected .deb, .pkg.tar.zst or .apk"));
        let archive = files(file, metadata.len()).map_err(bad)?.ok_or_else(not_package)?;
        let unpacked = unpack(archive, into).map_err(bad)?;
        all.images.extend(unpacked.images);
        all.modules.extend(unpacked.modules);
    }
    all.images.sort();
    all.modules.sort_by(|one, other| (&one.0, &one.1.path).cmp(&(&other.0, &other.1.path)));
    let (path, unpacked) = (Path::new(origin), all);
    let bad = |source| KernelError::unpacking(path, cache, source);
    let (image, release) = choose_image(&unpacked, path, into, packages.len() > 1)?;
    let found = fs::metadata(into.join(&image)).map_err(bad)?;
    let modules: Vec<Scanned> =
        unpacked.modules.into_iter().filter(|(of, _)| *of == release).map(|(_, module)| module).collect();
    let sources: Vec<String> = packages.iter().map(|package| package.path.display().to_string()).collect();
    let source = sources.join(&SEPARATOR.to_string());
    let record = Record { stamp: stamp(&found), modules: !modules.is_empty(), release, image, source };
    if record.modules {
        index(&into.join("lib/modules").join(&record.release), &modules).map_err(bad)?;
    }
    fs::write(into.join(RECORD), record.text()).map_err(bad)
}

/// Returns the path of the bootable kernel image in packages, and its release. `is_several`: there are several packages,
/// which must be of one kernel.
fn choose_image(
    unpacked: &Unpacked,
    path: &Path,
    into: &Path,
    is_several: bool,
) -> Result<(String, String), KernelError> {
    let mut refused = Vec::new();
    if is_several && unpacked.images.len() > 1 {
        let images = unpacked.images.join(", ");
        refused.push(format!("several kernels: {images}; pass the packages of one"));
        return Err(KernelError::NoImage { path: path.to_owned(), refused, modules: unpacked.modules.len() });
    }
    for name in &unpacked.images {
        let image = match container::extract_into(&into.join(name), into)? {
            Ok(image) => image,
            Err(why) => {
                refused.push(format!("{name} is {}", why.what));
                continue;
            }
        };
        match image::identify(&image)? {
            Ok(found) => {
                // boot/vmlinuz-RELEASE, lib/modules/RELEASE/vmlinuz
                let named = name.split_once('-').filter(|_| name.starts_with("boot/")).map(|(_, release)| release);
                let named = named.or_else(|| name.split('/').nth(2)).unwrap_or_default().to_owned();
                let image = image.strip_prefix(into).unwrap_or(&image).to_string_lossy().into_owned();
                // Alpine names images after their flavor: boot/vmlinuz-virt.
                let release = found.release.or_else(|| is_release(&named).then(|| named.clone()));
                let of_modules = || unpacked.modules.first().map(|(release, _)| release.clone());
                return Ok((image, release.or_else(of_modules).unwrap_or(named)));
            }
            Err(why) => refused.push(format!("{name} is {}", why.what)),
        }
    }
    Err(KernelError::NoImage { path: path.to_owned(), refused, modules: unpacked.modules.len() })
}

/// Writes depmod's tables and the file stamps beside the modules.
fn index(directory: &Path, modules: &[Scanned]) -> std::io::Result<()> {
    for (name, text) in Tables::of(modules).files() {
        fs::write(directory.join(name), text)?;
    }
    let mut stamps = String::new();
    for module in modules {
        stamps.push_str(&SealedFile::of(directory, &module.path, true)?.line());
    }
    fs::write(directory.join(STAMPS), stamps)
}

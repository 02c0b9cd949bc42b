//! Kernels from Debian packages. A package is unpacked once into the cache, without dpkg, and its modules are indexed.
//!
//! depmod did not run on an unpacked package, so this module generates its tables (see `modules::depmod`). A record
//! beside the files describes the image, and a stamp file has the seal of each module, so that damage is
//! detected before a guest uses the files.

use std::fs::{self, File, Metadata};
use std::path::Path;

use super::unpack::{STAMPS, Unpacked, stamp, unpack};
use super::{Kernel, ModuleDir, ModuleLayout, config, error::KernelError, ikconfig, image};
use crate::cache::{Cache, Key, SealedFile, Sealing};
use crate::format::kernel::package::{data_member, tar_of};
use crate::root::modules::depmod::Tables;
use crate::root::modules::scan::Scanned;

/// File name of the record in the directory of the cache entry.
const RECORD: &str = "kernel";

/// Content of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    release: String,
    /// Path of the image, relative to the directory.
    image: String,
    /// File stamp of the image.
    stamp: String,
    modules: bool,
    /// Path of the package, to create the entry again.
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

/// Returns the kernel in the package at `path`, unpacked into the cache.
pub(super) fn find(
    path: &Path,
    origin: &str,
    cache: &Cache,
    progress: &mut dyn FnMut(&str),
) -> Result<Kernel, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: path.to_owned(), source };
    let path = fs::canonicalize(path).map_err(failed)?;
    let file = File::open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let key = Key::of_file("deb 1", &path, &metadata);
    for _ in 0..2 {
        let made = |directory: &Path| {
            progress(&format!("unpacking {origin} (once)"));
            unpack_package(&file, &metadata, &path, directory)
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
    if Path::new(&record.source).exists() {
        find(Path::new(&record.source), &record.source, cache, &mut |_| {})?;
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

/// Unpacks a package into an empty directory.
fn unpack_package(file: &File, metadata: &Metadata, path: &Path, into: &Path) -> Result<(), KernelError> {
    // CACHE/.new-XXXXXX/data
    let cache = into.ancestors().nth(2).unwrap_or(into);
    let bad = |source| KernelError::unpacking(path, cache, source);
    let (name, member) = data_member(file, metadata.len()).map_err(bad)?;
    let tar = tar_of(&name, member).map_err(bad)?;
    let unpacked = unpack(tar, into).map_err(bad)?;
    let (image, release) = choose_image(&unpacked, path, into)?;
    let found = fs::metadata(into.join(&image)).map_err(bad)?;
    let modules: Vec<Scanned> =
        unpacked.modules.into_iter().filter(|(of, _)| *of == release).map(|(_, module)| module).collect();
    let source = path.display().to_string();
    let record = Record { stamp: stamp(&found), modules: !modules.is_empty(), release, image, source };
    if record.modules {
        index(&into.join("lib/modules").join(&record.release), &modules).map_err(bad)?;
    }
    fs::write(into.join(RECORD), record.text()).map_err(bad)
}

/// Returns the path of the package's bootable kernel image, and its release.
fn choose_image(unpacked: &Unpacked, path: &Path, into: &Path) -> Result<(String, String), KernelError> {
    let mut refused = Vec::new();
    for name in &unpacked.images {
        match image::identify(&into.join(name))? {
            Ok(found) => {
                // boot/vmlinuz-RELEASE, lib/modules/RELEASE/vmlinuz
                let named = name.split_once('-').filter(|_| name.starts_with("boot/")).map(|(_, release)| release);
                let named = named.or_else(|| name.split('/').nth(2)).unwrap_or_default().to_owned();
                return Ok((name.clone(), found.release.unwrap_or(named)));
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

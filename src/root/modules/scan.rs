//! Lists the modules of a directory and reads their `.modinfo` in parallel.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::ModuleError;
use crate::format::compression::{Compression, DecompressReader};
use crate::format::modules::modinfo::{Modinfo, ModinfoError};
use crate::format::modules::symbols::Symbols;
use crate::format::modules::{kunit, name};
use crate::root::kernel::ModuleLayout;

/// Limit of the number of modules in a directory, far above any distribution's.
const FILES_LIMIT: usize = 100_000;
/// Size limit of a module, in bytes.
const MODULE_LIMIT: u64 = 512 << 20;
/// Size limit of `modules.order`, in bytes. Real ones are well below 1 MB.
const LIST_LIMIT: u64 = 64 << 20;

/// A module and its `.modinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Path relative to the directory, as in `modules.dep`.
    pub(crate) path: String,
    /// Parsed `.modinfo`.
    pub(crate) info: Modinfo,
}

/// Returns the paths of all modules below `directory`, sorted. Includes links to files (`weak-updates/`). Does not
/// follow links to directories (`build`, `source`).
pub(crate) fn list(directory: &Path, layout: ModuleLayout) -> Result<Vec<String>, ModuleError> {
    let order = directory.join("modules.order");
    if layout == ModuleLayout::BuildTree && order.exists() {
        let text = super::error::read_text(&order, LIST_LIMIT)?;
        let mut paths: Vec<String> = text.lines().filter_map(ordered).collect();
        paths.sort();
        paths.dedup();
        return Ok(paths);
    }
    let mut paths = Vec::new();
    for item in walkdir::WalkDir::new(directory) {
        let item = item.map_err(|error| ModuleError::io("list", directory, error.into()))?;
        let path = item.path().strip_prefix(directory).ok().and_then(Path::to_str);
        let Some(path) = path.filter(|path| !item.file_type().is_dir() && name::stem(path).is_some()) else { continue };
        if paths.len() >= FILES_LIMIT {
            return Err(ModuleError::Unreadable {
                path: directory.to_owned(),
                why: format!("more than {FILES_LIMIT} modules"),
            });
        }
        paths.push(path.to_owned());
    }
    paths.sort();
    Ok(paths)
}

/// Parses a line of a build tree's `modules.order`: `.ko` before Linux 6.2, `.o` since. Old trees prepend `kernel/`.
fn ordered(line: &str) -> Option<String> {
    let line = line.trim();
    let base = line.strip_suffix(".ko").or_else(|| line.strip_suffix(".o"))?;
    let base = base.strip_prefix("./").unwrap_or(base);
    let sane = !base.starts_with('/') && !base.split('/').any(|part| part == "..");
    sane.then(|| format!("{base}.ko"))
}

/// Reads the `.modinfo` of all `paths`. Skips missing files, since a build tree's list may contain modules that are not
/// built yet. Fails if a file is not a module.
pub(crate) fn scan(directory: &Path, paths: &[String]) -> Result<Vec<Scanned>, ModuleError> {
    let found = each(directory, paths, modinfo_of)?;
    Ok(found.into_iter().map(|(path, info)| Scanned { path, info }).collect())
}

/// Reads all `paths` in parallel. Returns those for which `read` returns a value, sorted.
pub(super) fn each<T: Send>(
    directory: &Path,
    paths: &[String],
    read: impl Fn(&Path) -> Result<Option<T>, ModuleError> + Sync,
) -> Result<Vec<(String, T)>, ModuleError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(16);
    let next = AtomicUsize::new(0);
    let parts: Vec<Result<Vec<(String, T)>, ModuleError>> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            // Take one path at a time instead of equal parts: module sizes vary by a factor of 1000.
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(value) = read(&directory.join(path))? {
                    done.push((path.clone(), value));
                }
            }
            Ok(done)
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let died =
            || Err(ModuleError::Unreadable { path: directory.to_owned(), why: "a worker thread panicked".to_owned() });
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| died())).collect()
    });
    let mut all: Vec<_> = parts.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(all)
}

/// Reads the `.modinfo` of one module; `None` if the file does not exist.
pub(crate) fn modinfo_of(path: &Path) -> Result<Option<Modinfo>, ModuleError> {
    match read_module(path) {
        Ok((info, _)) => Ok(Some(info)),
        Err(ModuleError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the `.modinfo` of a module and, if the file is compressed, its decompressed content.
///
/// Modules are decompressed on the host because a kernel reads only the format it is configured for
/// (`CONFIG_MODULE_COMPRESS_*`), and only with `CONFIG_MODULE_DECOMPRESS`. Signatures stay valid.
pub(super) fn read_module(path: &Path) -> Result<(Modinfo, Option<Vec<u8>>), ModuleError> {
    let bad = |source: ModinfoError| ModuleError::NotAModule { path: path.to_owned(), source };
    let unpack = |error| ModuleError::io("decompress", path, error);
    let file = open(path)?;
    let len = file.metadata().map_err(|error| ModuleError::io("access", path, error))?.len();
    let mut module = DecompressReader::new(BufReader::new(&file), MODULE_LIMIT).map_err(unpack)?;
    if module.compression() == Compression::None {
        return Ok((Modinfo::read(&file).map_err(bad)?, None));
    }
    // The compression ratio of modules is about 4. Reserving too much costs less than growing the vector.
    let mut content = Vec::with_capacity(usize::try_from(len.saturating_mul(5).min(MODULE_LIMIT)).unwrap_or(0));
    module.read_to_end(&mut content).map_err(unpack)?;
    Ok((Modinfo::read(&content).map_err(bad)?, Some(content)))
}

/// Reads the symbols of one module.
pub(super) fn symbols_of(path: &Path) -> Result<Symbols, ModuleError> {
    let bad = |source: ModinfoError| ModuleError::NotAModule { path: path.to_owned(), source };
    match read_module(path)? {
        (_, Some(content)) => Symbols::read(&content).map_err(bad),
        (_, None) => Symbols::read(&open(path)?).map_err(bad),
    }
}

/// Reads the names of the `KUnit` suites of one module; `None` if it has none or the file does not exist.
pub(super) fn kunit_suites_of(path: &Path) -> Result<Option<Vec<String>>, ModuleError> {
    let bad = |source: ModinfoError| ModuleError::NotAModule { path: path.to_owned(), source };
    match read_module(path) {
        Ok((_, Some(content))) => kunit::suites(&content).map_err(bad),
        Ok((_, None)) => kunit::suites(&open(path)?).map_err(bad),
        Err(ModuleError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path) -> Result<File, ModuleError> {
    File::open(path).map_err(|error| ModuleError::io("open", path, error))
}

/// Returns path, size and modification time of each module, one per line. Changes if the index is out of date.
pub(crate) fn fingerprint(directory: &Path, paths: &[String]) -> String {
    use std::fmt::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    paths.iter().fold(String::with_capacity(paths.len() * 80), |mut text, path| {
        let stamp = fs::metadata(directory.join(path)).map_or((0, 0, 0), |m| (m.len(), m.mtime(), m.mtime_nsec()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{path} {} {}.{}", stamp.0, stamp.1, stamp.2);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{list, ordered, scan};
    use crate::format::modules::modinfo::tests::module;
    use crate::root::kernel::ModuleLayout;
    use crate::root::modules::error::ModuleError;
    use std::fs;

    #[test]
    fn both_formats_of_modules_order_are_parsed_and_unsafe_paths_refused() {
        assert_eq!(ordered("drivers/a/b.o").as_deref(), Some("drivers/a/b.ko"));
        assert_eq!(ordered("kernel/drivers/b.ko").as_deref(), Some("kernel/drivers/b.ko"));
        for bad in ["", "b.a", "../b.ko", "/etc/b.ko"] {
            assert_eq!(ordered(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_modules_of_a_directory_are_read_and_other_files_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("kernel/x")).expect("made");
        fs::write(dir.path().join("kernel/x/a.ko"), module(&["depends=b"])).expect("written");
        let packed = zstd::encode_all(module(&["depends="]).as_slice(), 1).expect("compressed");
        fs::write(dir.path().join("kernel/b.ko.zst"), packed).expect("written");
        fs::write(dir.path().join("kernel/README"), "").expect("written");
        let mut paths = list(dir.path(), ModuleLayout::Installed).expect("listed");
        assert_eq!(paths, ["kernel/b.ko.zst", "kernel/x/a.ko"]);
        paths.push("kernel/gone.ko".to_owned());
        let all = scan(dir.path(), &paths).expect("read");
        assert_eq!(all.iter().map(|one| one.info.depends.len()).collect::<Vec<_>>(), [0, 1]);
        fs::write(dir.path().join("kernel/x/a.ko"), "garbage").expect("written");
        assert!(matches!(scan(dir.path(), &paths), Err(ModuleError::NotAModule { .. })));
    }
}

//! Library search of glibc's dynamic loader (`_dl_map_new_object` in elf/dl-load.c), without running it.
//!
//! Baseline libraries are preferred over `glibc-hwcaps` variants, since the guest's CPU differs from the host's; a
//! variant is used only if there is no baseline library. A library that is not found is returned with all locations
//! searched. The directories for single CPUs of glibc before 2.37 (`tls/`, `haswell/`) are not searched: they contain
//! variants too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::binary::BinaryError;
use super::directory::Root;
use super::dirs::{Dirs, Found};
use super::ldconf;
use super::object::Object;
use crate::arch::Arch;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::Abi;
use crate::format::ldcache::LdCache;

/// Size limit of the cache; on a system with many libraries it has a few hundred kilobytes.
const MAX_CACHE: u64 = 16 << 20;

/// Result of a library search.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The library was found.
    Found {
        /// The file.
        found: Rc<Found>,
        /// True if only `/etc/ld.so.cache` leads to it, so that the guest needs a generated cache.
        by_cache: bool,
    },
    /// The name denotes the dynamic loader itself (musl).
    Loader,
    /// Not found; all locations searched.
    Missing(std::sync::Arc<[String]>),
}

/// Libraries known to ldconfig.
#[derive(Debug)]
pub enum System {
    /// The host's own `/etc/ld.so.cache`.
    Cache(LdCache),
    /// The directories in `etc/ld.so.conf` of a root other than the host's.
    Directories(Vec<Vec<u8>>),
}

impl System {
    /// Reads the host's cache, or else the directories in `ld.so.conf`: for other roots, and if the cache is missing or
    /// damaged.
    pub fn of(root: &Root) -> Self {
        let cache = ArchivePath::new("/etc/ld.so.cache");
        if root.is_host()
            && let Some(cache) = root.read(&cache, MAX_CACHE).ok().and_then(|bytes| LdCache::parse(bytes).ok())
        {
            return Self::Cache(cache);
        }
        Self::Directories(ldconf::directories(root))
    }
}

/// glibc's loader for one ABI, with its compiled-in directories.
#[derive(Debug)]
pub(crate) struct Glibc<'a> {
    dirs: &'a Dirs<'a>,
    system: &'a System,
    lib_path: &'a [Vec<u8>],
    abi: Abi,
    defaults: Vec<Vec<u8>>,
    /// Results for objects without search paths, which are the same for all such objects.
    plain: RefCell<HashMap<(OsString, bool), Answer>>,
}

/// One step of a search.
enum Step {
    Dir(Vec<u8>),
    System,
}

impl<'a> Glibc<'a> {
    /// Creates the loader at `interpreter` (free of links); its location determines the compiled-in directories.
    pub(crate) fn new(
        dirs: &'a Dirs<'a>,
        system: &'a System,
        lib_path: &'a [Vec<u8>],
        abi: Abi,
        interpreter: Option<&ArchivePath>,
    ) -> Self {
        Self { dirs, system, lib_path, abi, defaults: default_dirs(abi, interpreter), plain: RefCell::default() }
    }

    /// Searches for `name`, required by `objects[by]`.
    pub(crate) fn search(&self, objects: &[Object], by: usize, name: &OsStr) -> Result<Answer, BinaryError> {
        let Some(loader) = objects.get(by) else {
            return Ok(Answer::Missing(std::sync::Arc::default()));
        };
        if name.as_bytes().contains(&b'/') {
            return self.by_path(loader, name);
        }
        let elf = &loader.found.elf;
        let chain = if elf.runpath.is_some() { Vec::new() } else { rpath_chain(objects, by) };
        if chain.is_empty() && elf.runpath.is_none() {
            let key = (name.to_owned(), elf.no_default_lib);
            if let Some(known) = self.plain.borrow().get(&key) {
                return Ok(known.clone());
            }
            let answer = self.in_steps(&self.steps(&[], None, elf.no_default_lib), name, elf.no_default_lib)?;
            self.plain.borrow_mut().insert(key, answer.clone());
            return Ok(answer);
        }
        let runpath = elf.runpath.as_deref().map(|runpath| (runpath, loader.found.origin()));
        self.in_steps(&self.steps(&chain, runpath, elf.no_default_lib), name, elf.no_default_lib)
    }

    /// Returns true if the loader searches `dir` by default.
    pub(crate) fn is_default(&self, dir: &ArchivePath) -> bool {
        self.defaults.iter().any(|default| self.dirs.dir(default).is_some_and(|found| found.real == *dir))
    }

    fn steps(
        &self,
        chain: &[(&OsStr, ArchivePath)],
        runpath: Option<(&OsStr, ArchivePath)>,
        no_default_lib: bool,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for (rpath, origin) in chain {
            steps.extend(self.expand_path(rpath, origin));
        }
        steps.extend(self.lib_path.iter().cloned().map(Step::Dir));
        if let Some((runpath, origin)) = runpath {
            steps.extend(self.expand_path(runpath, &origin));
        }
        steps.push(Step::System);
        if !no_default_lib {
            steps.extend(self.defaults.iter().cloned().map(Step::Dir));
        }
        steps
    }

    fn in_steps(&self, steps: &[Step], name: &OsStr, no_default_lib: bool) -> Result<Answer, BinaryError> {
        for variants in [false, true] {
            for step in steps {
                let (found, by_cache) = match step {
                    Step::Dir(dir) => (self.in_dir(dir, name, variants)?, false),
                    Step::System => {
                        let found = self.in_system(name, variants, no_default_lib)?;
                        let off = found.as_ref().is_some_and(|found| !self.is_default(&found.origin()));
                        (found, off)
                    }
                };
                if let Some(found) = found {
                    return Ok(Answer::Found { found, by_cache });
                }
            }
        }
        let tried = steps.iter().flat_map(|step| match step {
            Step::Dir(dir) => vec![String::from_utf8_lossy(dir).into_owned()],
            Step::System => match self.system {
                System::Cache(_) => vec!["/etc/ld.so.cache".to_owned()],
                System::Directories(dirs) => dirs.iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect(),
            },
        });
        Ok(Answer::Missing(tried.collect()))
    }

    fn in_dir(&self, dir: &[u8], name: &OsStr, variants: bool) -> Result<Option<Rc<Found>>, BinaryError> {
        let Some(dir) = self.dirs.dir(dir) else {
            return Ok(None);
        };
        if !variants {
            return self.dirs.library(&dir, name, self.abi);
        }
        for variant in self.dirs.variants(&dir).iter() {
            if let Some(found) = self.dirs.library(variant, name, self.abi)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn in_system(&self, name: &OsStr, variants: bool, no_default_lib: bool) -> Result<Option<Rc<Found>>, BinaryError> {
        match self.system {
            System::Directories(dirs) => {
                for dir in dirs.iter().filter(|dir| !(no_default_lib && self.defaults.contains(dir))) {
                    if let Some(found) = self.in_dir(dir, name, variants)? {
                        return Ok(Some(found));
                    }
                }
            }
            System::Cache(cache) => {
                let Some(arch) = self.abi.arch() else {
                    return Ok(None);
                };
                for entry in cache.entries(name, arch).filter(|entry| entry.variant == variants) {
                    let Some((dir, file)) = split(entry.path) else {
                        continue;
                    };
                    let default = self.defaults.iter().any(|default| starts_with_dir(dir, default));
                    if no_default_lib && default {
                        continue;
                    }
                    // A stale entry is not an error: the loader continues with the default directories.
                    if let Some(dir) = self.dirs.dir(dir)
                        && let Some(found) = self.dirs.library(&dir, OsStr::from_bytes(file), self.abi)?
                    {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Opens a name with a slash directly, without a search.
    fn by_path(&self, loader: &Object, name: &OsStr) -> Result<Answer, BinaryError> {
        let paths = expand_tokens(name.as_bytes(), &loader.found.origin(), self.lib_token());
        let mut tried = Vec::new();
        for path in paths {
            let text = String::from_utf8_lossy(&path).into_owned();
            match split(&path).filter(|_| path.starts_with(b"/")) {
                Some((dir, file)) => {
                    if let Some(dir) = self.dirs.dir(dir)
                        && let Some(found) = self.dirs.library(&dir, OsStr::from_bytes(file), self.abi)?
                    {
                        return Ok(Answer::Found { found, by_cache: false });
                    }
                    tried.push(text);
                }
                None => tried.push(format!("{text} (relative to a current directory that the guest lacks)")),
            }
        }
        Ok(Answer::Missing(tried.into()))
    }

    fn expand_path(&self, path: &OsStr, origin: &ArchivePath) -> Vec<Step> {
        let parts = path.as_bytes().split(|byte| *byte == b':');
        let expanded = parts.flat_map(|part| expand_tokens(part, origin, self.lib_token()));
        // Empty and relative parts denote the current directory, which the guest does not share.
        expanded.filter(|dir| dir.starts_with(b"/")).map(Step::Dir).collect()
    }

    /// Returns the value of `$LIB`: the loader's own directory, relative to `/` or `/usr`.
    fn lib_token(&self) -> &[u8] {
        let first = self.defaults.first().map_or(b"/lib".as_slice(), Vec::as_slice);
        let first = first.strip_prefix(b"/usr").unwrap_or(first);
        first.strip_prefix(b"/").unwrap_or(first)
    }
}

/// Returns `DT_RPATH` of the object, of the object that loaded it, and so on up to the program, each with its
/// `$ORIGIN`.
fn rpath_chain(objects: &[Object], by: usize) -> Vec<(&OsStr, ArchivePath)> {
    let mut chain = Vec::new();
    let mut at = Some(by);
    while let Some(object) = at.and_then(|at| objects.get(at)) {
        if let Some(rpath) = &object.found.elf.rpath {
            chain.push((rpath.as_os_str(), object.found.origin()));
        }
        // An object precedes the objects that it loads, so the loop terminates.
        at = object.loader.filter(|loader| at.is_some_and(|at| *loader < at));
    }
    chain
}

/// Returns the loader's compiled-in directories, derived from its location.
///
/// `/usr/lib/x86_64-linux-gnu` is used by Debian and its derivatives, `/usr/lib64` by Fedora, `/usr/lib` by Arch. A
/// loader in any other place (Nix) searches its own directory.
fn default_dirs(abi: Abi, interpreter: Option<&ArchivePath>) -> Vec<Vec<u8>> {
    let multiarch = abi.arch().map_or("", Arch::multiarch);
    let place = interpreter.and_then(ArchivePath::parent);
    let place = place.as_ref().map(ArchivePath::as_bytes);
    let below = place.map(|place| place.strip_prefix(b"usr/").unwrap_or(place));
    let debian = [format!("/lib/{multiarch}"), format!("/usr/lib/{multiarch}"), "/lib".into(), "/usr/lib".into()];
    match below {
        Some(below) if below.strip_prefix(b"lib/") == Some(multiarch.as_bytes()) => {
            debian.map(String::into_bytes).to_vec()
        }
        Some(below) if below.starts_with(b"lib") => {
            vec![[b"/", below].concat(), [b"/usr/", below].concat()]
        }
        Some(_) => vec![[b"/", place.unwrap_or_default()].concat()],
        None => debian.map(String::into_bytes).into_iter().chain([b"/lib64".into(), b"/usr/lib64".into()]).collect(),
    }
}

/// Expands `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces. `$PLATFORM` yields one path for each possible
/// value.
fn expand_tokens(path: &[u8], origin: &ArchivePath, lib: &[u8]) -> Vec<Vec<u8>> {
    // AT_PLATFORM as set by the kernel, and glibc's replacement on newer CPUs.
    const PLATFORMS: [&[u8]; 2] = [b"x86_64", b"haswell"];
    if !path.contains(&b'$') {
        return vec![path.to_vec()];
    }
    let origin = origin.to_absolute();
    let origin = origin.as_os_str().as_bytes();
    let expand = |platform: &[u8]| {
        let mut out = Vec::with_capacity(path.len() + origin.len());
        let mut rest = path;
        while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
            let (before, token) = rest.split_at(at);
            out.extend_from_slice(before);
            let values = [(b"ORIGIN".as_slice(), origin), (b"LIB", lib), (b"PLATFORM", platform)];
            let hit = values.into_iter().find_map(|(name, value)| Some((value, after_token(token, name)?)));
            if let Some((value, after)) = hit {
                out.extend_from_slice(value);
                rest = after;
            } else {
                out.push(b'$');
                rest = token.get(1..).unwrap_or_default();
            }
        }
        out.extend_from_slice(rest);
        out
    };
    let mut paths: Vec<Vec<u8>> = PLATFORMS.iter().map(|platform| expand(platform)).collect();
    paths.dedup();
    paths
}

/// Returns the text after `$NAME` or `${NAME}`, if `token` starts with it. As `is_dst` in elf/dl-load.c.
fn after_token<'t>(token: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let token = token.strip_prefix(b"$")?;
    if let Some(braced) = token.strip_prefix(b"{") {
        return braced.strip_prefix(name)?.strip_prefix(b"}");
    }
    let rest = token.strip_prefix(name)?;
    let goes_on = rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (!goes_on).then_some(rest)
}

/// Splits a path into directory and file name.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some((path.get(..slash)?, path.get(slash + 1..)?))
}

fn starts_with_dir(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::{default_dirs, expand_tokens};
    use crate::arch::Arch;
    use crate::format::archive_path::ArchivePath;
    use crate::format::elf::Abi;

    #[test]
    fn tokens_expand_with_and_without_braces() {
        let origin = ArchivePath::new("/opt/x/bin");
        for (path, meant) in [
            ("$ORIGIN/../lib", "/opt/x/bin/../lib"),
            ("${ORIGIN}/../$LIB", "/opt/x/bin/../lib64"),
            ("/a/$ORIGINAL/${LIB", "/a/$ORIGINAL/${LIB"),
            ("/plain", "/plain"),
        ] {
            assert_eq!(expand_tokens(path.as_bytes(), &origin, b"lib64"), [meant.as_bytes()], "{path}");
        }
        let both = expand_tokens(b"/a/${PLATFORM}", &origin, b"lib");
        assert_eq!(both, [b"/a/x86_64".as_slice(), b"/a/haswell"]);
    }

    #[test]
    fn default_directories_follow_from_the_loaders_location() {
        for (arch, interpreter, meant) in [
            (
                Arch::X86_64,
                "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                "/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib /usr/lib",
            ),
            (Arch::X86_64, "/usr/lib64/ld-linux-x86-64.so.2", "/lib64 /usr/lib64"),
            (Arch::X86, "/usr/lib32/ld-linux.so.2", "/lib32 /usr/lib32"),
            (Arch::Aarch64, "/usr/lib/ld-linux-aarch64.so.1", "/lib /usr/lib"),
            (Arch::X86_64, "/nix/store/x-glibc/lib/ld-linux-x86-64.so.2", "/nix/store/x-glibc/lib"),
        ] {
            let dirs = default_dirs(Abi::of(arch), Some(&ArchivePath::new(interpreter)));
            let dirs: Vec<String> = dirs.iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect();
            assert_eq!(dirs.join(" "), meant, "{interpreter}");
        }
    }
}

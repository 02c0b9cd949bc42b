//! Library search of musl's dynamic loader (`load_library` in ldso/dynlink.c), without running it.
//!
//! `DT_RUNPATH` is treated like `DT_RPATH` and takes precedence over it; both are inherited. `$ORIGIN` is the only
//! token.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::binary::BinaryError;
use super::dirs::Dirs;
use super::ldso::{Answer, split};
use super::object::Object;
use crate::format::archive_path::ArchivePath;
use crate::format::elf::Abi;

/// Libraries that are the loader itself (`reserved` in ldso/dynlink.c).
const RESERVED: [&[u8]; 7] = [b"libc.", b"libpthread.", b"librt.", b"libm.", b"libdl.", b"libutil.", b"libxnet."];
const MAX_PATH_FILE: u64 = 1 << 20;

/// Returns true if the file name of `PT_INTERP` is musl's.
pub(crate) fn is_musl(interpreter: &OsStr) -> bool {
    interpreter.as_bytes().starts_with(b"ld-musl-")
}

/// musl's loader for one architecture.
#[derive(Debug)]
pub(crate) struct Musl<'a> {
    dirs: &'a Dirs<'a>,
    lib_path: &'a [Vec<u8>],
    abi: Abi,
    system: Vec<Vec<u8>>,
    /// `etc/ld-musl-ARCH.path`, if it exists: the guest needs it too.
    pub(crate) path_file: Option<ArchivePath>,
}

impl<'a> Musl<'a> {
    /// Creates the loader at `interpreter`, the path that the program names, such as `/lib/ld-musl-x86_64.so.1`.
    pub(crate) fn new(dirs: &'a Dirs<'a>, lib_path: &'a [Vec<u8>], abi: Abi, interpreter: &ArchivePath) -> Self {
        // dynlink.c: PREFIX is the loader's path without "/lib/ld-musl-ARCH.so.1".
        let name = interpreter.file_name().as_bytes();
        let arch = name.strip_suffix(b".so.1").unwrap_or(name);
        let prefix = interpreter.parent().and_then(|dir| dir.parent()).unwrap_or_default();
        let file = prefix.join("etc").join(OsStr::from_bytes(&[arch, b".path"].concat()));
        let bytes = dirs.root.find(&file).and_then(|_| dirs.root.read(&file, MAX_PATH_FILE).ok());
        let path_file = bytes.is_some().then_some(file);
        let paths = bytes.unwrap_or_else(|| b"/lib:/usr/local/lib:/usr/lib".to_vec());
        Self { dirs, lib_path, abi, system: list(&paths), path_file }
    }

    /// Searches for `name`, required by `objects[by]`.
    pub(crate) fn search(&self, objects: &[Object], by: usize, name: &OsStr) -> Result<Answer, BinaryError> {
        let bytes = name.as_bytes();
        if RESERVED.iter().any(|reserved| bytes.starts_with(reserved)) || is_musl(name) {
            return Ok(Answer::Loader);
        }
        if bytes.contains(&b'/') {
            let found = split(bytes)
                .filter(|_| bytes.starts_with(b"/"))
                .map(|(dir, file)| self.lookup(dir, OsStr::from_bytes(file)));
            let tried = || Answer::Missing([name.to_string_lossy().into_owned()].into());
            return Ok(found.transpose()?.flatten().unwrap_or_else(tried));
        }
        let mut tried = self.lib_path.to_vec();
        let mut at = Some(by);
        while let Some(object) = at.and_then(|at| objects.get(at)) {
            tried.extend(object_paths(object));
            at = object.loader.filter(|loader| at.is_some_and(|at| *loader < at));
        }
        tried.extend(self.system.iter().cloned());
        for dir in &tried {
            if let Some(answer) = self.lookup(dir, name)? {
                return Ok(answer);
            }
        }
        Ok(Answer::Missing(tried.iter().map(|dir| String::from_utf8_lossy(dir).into_owned()).collect()))
    }

    fn lookup(&self, dir: &[u8], name: &OsStr) -> Result<Option<Answer>, BinaryError> {
        let Some(dir) = self.dirs.dir(dir) else {
            return Ok(None);
        };
        let found = self.dirs.library(&dir, name, self.abi)?;
        Ok(found.map(|found| Answer::Found { found, by_cache: false }))
    }
}

/// Returns an object's own search path; empty if it contains a token other than `$ORIGIN` (`fixup_rpath`).
fn object_paths(object: &Object) -> Vec<Vec<u8>> {
    let elf = &object.found.elf;
    let Some(path) = elf.runpath.as_ref().or(elf.rpath.as_ref()) else {
        return Vec::new();
    };
    let origin = object.found.origin().to_absolute();
    let mut expanded = Vec::new();
    let mut rest = path.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        let (before, token) = rest.split_at(at);
        let after = token.strip_prefix(b"$ORIGIN").or_else(|| token.strip_prefix(b"${ORIGIN}"));
        let Some(after) = after else {
            return Vec::new();
        };
        expanded.extend_from_slice(before);
        expanded.extend_from_slice(origin.as_os_str().as_bytes());
        rest = after;
    }
    expanded.extend_from_slice(rest);
    list(&expanded)
}

/// Splits a list at colons and line ends, and returns the absolute directories.
fn list(paths: &[u8]) -> Vec<Vec<u8>> {
    let parts = paths.split(|byte| *byte == b':' || *byte == b'\n');
    parts.filter(|part| part.starts_with(b"/")).map(<[u8]>::to_vec).collect()
}

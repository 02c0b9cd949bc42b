//! A request: `--collect GUESTPATH[=DST]`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::format::protocol::collect::MAX_PATH;
use crate::root::glob::has_wildcard;

/// Default limit on the files that one command leaves for the host, bytes.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// Files of the guest to copy to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectRequest {
    /// Absolute path or pattern in the guest.
    pub(crate) guest: OsString,
    /// Destination on the host; `None`: the same name in the current directory.
    pub(crate) destination: Option<PathBuf>,
}

/// Place of an entry on the host: a directory that the user chose, and names below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) base: PathBuf,
    pub(super) names: Vec<OsString>,
}

impl FromStr for CollectRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (guest, destination) = match text.split_once('=') {
            None => (text, None),
            Some((_, "")) => return Err("missing destination after '='".to_owned()),
            Some((guest, destination)) => (guest, Some(PathBuf::from(destination))),
        };
        Self::new(guest.into(), destination)
    }
}

impl CollectRequest {
    /// Checks a path or pattern of the guest.
    pub(crate) fn new(guest: OsString, destination: Option<PathBuf>) -> Result<Self, String> {
        let bytes = guest.as_bytes();
        if !bytes.starts_with(b"/") {
            return Err("expected an absolute path or pattern of the guest, such as /tmp/results".to_owned());
        }
        let mut names = bytes.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        if names.peek().is_none() {
            return Err("the whole root directory cannot be collected: name files or directories".to_owned());
        }
        if names.any(|name| matches!(name, b"." | b"..")) {
            return Err("\".\" and \"..\" are not supported in paths of the guest".to_owned());
        }
        if bytes.len() > MAX_PATH || bytes.contains(&0) {
            return Err(format!("expected a path of at most {MAX_PATH} bytes without NUL"));
        }
        Ok(Self { guest, destination })
    }

    /// Returns true if the path contains wildcards, and may therefore match nothing.
    pub(crate) fn is_pattern(&self) -> bool {
        has_wildcard(self.guest.as_bytes())
    }

    /// Returns where an entry is stored. `path`: its path relative to the request; `is_file`: true for a regular file.
    pub(super) fn place(&self, path: &[u8], is_file: bool) -> Place {
        let below = |names: Vec<OsString>| -> Vec<OsString> {
            let path = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
            names.into_iter().chain(path.map(|name| OsString::from_vec(name.to_vec()))).collect()
        };
        let here = || PathBuf::from(".");
        if self.is_pattern() {
            return Place { base: self.destination.clone().unwrap_or_else(here), names: below(Vec::new()) };
        }
        let own = || vec![Path::new(&self.guest).file_name().unwrap_or(OsStr::new("root")).to_owned()];
        let Some(destination) = &self.destination else { return Place { base: here(), names: below(own()) } };
        let is_parent = destination.as_os_str().as_bytes().ends_with(b"/");
        if is_parent || is_file && path.is_empty() && destination.is_dir() {
            return Place { base: destination.clone(), names: below(own()) };
        }
        if is_file && path.is_empty() {
            let base = destination.parent().filter(|parent| *parent != Path::new("")).map_or_else(here, Path::to_owned);
            let name = destination.file_name().map(|name| vec![name.to_owned()]);
            return Place { base, names: name.unwrap_or_else(own) };
        }
        Place { base: destination.clone(), names: below(Vec::new()) }
    }
}

impl fmt::Display for CollectRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guest.display().fmt(f)
    }
}

impl Place {
    /// Returns the path for messages.
    pub(super) fn path(&self) -> PathBuf {
        let base = if self.base == Path::new(".") { PathBuf::new() } else { self.base.clone() };
        self.names.iter().fold(base, |path, name| path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::CollectRequest;

    #[test]
    fn entries_have_the_places_that_a_copy_would_give_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let existing = directory.path().display().to_string();
        let place = |typed: &str, path: &str, is_file| {
            let request: CollectRequest = typed.parse().expect(typed);
            request.place(path.as_bytes(), is_file).path().display().to_string()
        };
        for (typed, path, is_file, expected) in [
            ("/out/a.log", "", true, "a.log"),
            ("/out", "", false, "out"),
            ("/out/", "x/y", true, "out/x/y"),
            ("/out=results", "x/y", true, "results/x/y"),
            ("/out=results/", "x/y", true, "results/out/x/y"),
            ("/out/a.log=b.log", "", true, "b.log"),
            ("/out/a.log=d/b.log", "", true, "d/b.log"),
            ("/out/a.log=d/", "", true, "d/a.log"),
            ("/out/*.log", "a.log", true, "a.log"),
            ("/out/*.log=d", "a.log", true, "d/a.log"),
            ("/sys/class/net/*/address=d", "lo/address", true, "d/lo/address"),
        ] {
            assert_eq!(place(typed, path, is_file), expected, "{typed} {path}");
        }
        assert_eq!(place(&format!("/out/a.log={existing}"), "", true), format!("{existing}/a.log"));
        assert_eq!(place(&format!("/out={existing}"), "x", true), format!("{existing}/x"));
    }

    #[test]
    fn paths_that_leave_the_guest_or_name_all_of_it_are_refused() {
        for text in ["", "out", "=x", "/out=", "/", "//", "/a/../b", "/a/./b", "/.."] {
            assert!(text.parse::<CollectRequest>().is_err(), "{text}");
        }
        assert!("/a/..b/*".parse::<CollectRequest>().expect("valid").is_pattern());
    }
}

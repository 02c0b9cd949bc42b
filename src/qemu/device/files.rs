//! Requests for directories of the host in the guest: `--share` and `--root`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Word for the host's own root directory.
const HOST: &str = "host";

/// `--share DIR[=GUESTPATH][:ro|:rw]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRequest {
    /// The directory.
    pub directory: PathBuf,
    /// Its path in the guest; `None`: the same path.
    pub guest: Option<PathBuf>,
    /// True if the guest may write.
    pub writable: bool,
}

impl ShareRequest {
    /// Parses the option's value. A `=` that is part of an existing directory's name does not separate.
    pub fn parse(typed: &OsStr) -> Result<Self, String> {
        let bytes = typed.as_bytes();
        let (bytes, writable) = match (bytes.strip_suffix(b":rw"), bytes.strip_suffix(b":ro")) {
            (Some(rest), _) => (rest, true),
            (None, Some(rest)) => (rest, false),
            (None, None) => (bytes, false),
        };
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        let sign = bytes.iter().rposition(|byte| *byte == b'=').filter(|_| !path(bytes).is_dir());
        let (directory, guest) = match sign {
            None => (path(bytes), None),
            Some(at) => (path(&bytes[..at]), Some(path(&bytes[at + 1..]))),
        };
        if directory.as_os_str().is_empty() {
            return Err("expected DIR[=GUESTPATH][:ro|:rw]".to_owned());
        }
        if let Some(guest) = &guest
            && !guest.is_absolute()
        {
            return Err(format!("expected an absolute path after '=', found {:?}", guest.display().to_string()));
        }
        Ok(Self { directory, guest, writable })
    }
}

impl fmt::Display for ShareRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.directory.display())?;
        if let Some(guest) = &self.guest {
            write!(f, "={}", guest.display())?;
        }
        f.write_str(if self.writable { ":rw" } else { "" })
    }
}

/// `--root DIR|host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRequest {
    /// The directory: `/` for the host's own root.
    pub directory: PathBuf,
}

impl RootRequest {
    /// Parses the option's value.
    pub fn parse(typed: &OsStr) -> Result<Self, String> {
        match typed.to_str() {
            Some("") => Err("expected a directory, or host".to_owned()),
            Some(HOST) => Ok(Self { directory: "/".into() }),
            Some(_) | None => Ok(Self { directory: typed.into() }),
        }
    }

    /// Returns true for the host's own root.
    pub fn is_host(&self) -> bool {
        self.directory == Path::new("/")
    }
}

impl fmt::Display for RootRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() { f.write_str(HOST) } else { write!(f, "{}", self.directory.display()) }
    }
}

/// Directories of the host in a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesRequest {
    /// Shared directories, in order.
    pub shares: Vec<ShareRequest>,
    /// The command's root.
    pub root: Option<RootRequest>,
    /// Support of the machine regardless of this command's requests.
    pub support: Support,
}

/// Support of a machine for directories of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Support {
    /// Nothing.
    #[default]
    Nothing,
    /// The port, and the kernel's driver for shares.
    Shares,
    /// Also the kernel's driver for a root.
    Root,
}

impl FilesRequest {
    /// Returns what the machine needs.
    pub fn needs(&self) -> Support {
        let own = match (&self.root, &self.shares[..]) {
            (Some(_), _) => Support::Root,
            (None, [_, ..]) => Support::Shares,
            (None, []) => Support::Nothing,
        };
        own.max(self.support)
    }
}

#[cfg(test)]
mod tests {
    use super::{RootRequest, ShareRequest};
    use std::ffi::OsStr;

    #[test]
    fn shares_are_parsed_and_printed_alike() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("a=b")).expect("created");
        let path = dir.path().display();
        for (typed, printed) in [
            ("x".to_owned(), "x".to_owned()),
            ("x:ro".to_owned(), "x".to_owned()),
            ("x:rw".to_owned(), "x:rw".to_owned()),
            ("x=/y:rw".to_owned(), "x=/y:rw".to_owned()),
            ("x:y=/z".to_owned(), "x:y=/z".to_owned()),
            (format!("{path}/a=b:rw"), format!("{path}/a=b:rw")),
            (format!("{path}/a=b=/c"), format!("{path}/a=b=/c")),
        ] {
            let share = ShareRequest::parse(OsStr::new(&typed)).expect("a share");
            assert_eq!(share.to_string(), printed, "{typed}");
        }
        let share = ShareRequest::parse(OsStr::new("x=/y:rw")).expect("a share");
        assert_eq!((share.guest, share.writable), (Some("/y".into()), true));
        for typed in ["", ":rw", "=/x", "x=", "x=y"] {
            ShareRequest::parse(OsStr::new(typed)).expect_err(typed);
        }
    }

    #[test]
    fn the_host_is_a_root() {
        let root = |typed: &str| RootRequest::parse(OsStr::new(typed));
        assert!(root("host").expect("a root").is_host());
        assert_eq!(root("/srv/x").expect("a root").to_string(), "/srv/x");
        assert_eq!(root("/").expect("a root").to_string(), "host");
        root("").expect_err("empty");
    }
}

//! Directories of the host for one command, found and checked before the guest starts.

use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::tree::is_kernels_own;
use crate::format::protocol::files::MAX_SHARES;
use crate::qemu::device::files::FilesRequest;

/// Directories of a guest that belong to its kernel, or to pid 1.
const RESERVED: [&str; 4] = ["/proc", "/sys", "/dev", "/.bootling"];

/// Error: directories of the host that the guest cannot have.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It cannot be used.
    #[error("invalid {option} {value}: {why}")]
    Invalid {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// The fault and its fix.
        why: String,
    },
    /// It cannot be opened.
    #[error("failed to open {} for {option} {value}", path.display())]
    Open {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An option for the image, which a guest with a root of its own does not use.
    #[error("{option} cannot be used with --root: the guest has the programs and files of that root")]
    Image {
        /// The option.
        option: &'static str,
    },
    /// Only a server on the host provides files.
    #[error("--share and --root cannot be used with {0}: only a running bootling serves directories of the host")]
    NoServer(&'static str),
    /// The machine has no port.
    #[error("--share and --root require a virtio-serial port, but this guest's channel is a serial port (UART)")]
    NoPort,
    /// The guest was started without a port.
    #[error("this guest was started without directories of the host")]
    NotPrepared,
}

impl FilesError {
    /// One line of advice, if there is some.
    pub(crate) const fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Open { .. } => Some("give an existing directory that you may read"),
            Self::Image { .. } => Some("use --share DIR=GUESTPATH for additional files"),
            Self::NoPort => {
                Some("use a machine with PCI, and a kernel with CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE")
            }
            Self::NotPrepared => Some("start it with `Builder::host_files`, or with a share or a root"),
            Self::Invalid { .. } | Self::NoServer(_) => None,
        }
    }
}

/// A directory that is served.
#[derive(Debug)]
pub(crate) struct Share {
    /// The open directory, without access to its contents.
    pub(super) directory: File,
    /// Its path on the host.
    pub(crate) host: PathBuf,
    /// Its path in the guest; `None`: the root.
    pub(crate) guest: Option<PathBuf>,
    /// True if the guest may write.
    pub(crate) writable: bool,
}

/// Finds and checks the requested directories. The root, if any, is the first; a mount point inside another share follows that.
pub(crate) fn find(request: &FilesRequest) -> Result<Vec<Share>, FilesError> {
    let mut found = Vec::new();
    if let Some(root) = &request.root {
        let (directory, host) = open("--root", &root.to_string(), &root.directory)?;
        found.push(Share { directory, host, guest: None, writable: false });
    }
    let mut shares = Vec::new();
    for share in &request.shares {
        let value = share.to_string();
        let invalid = |why: String| FilesError::Invalid { option: "--share", value: value.clone(), why };
        let (directory, host) = open("--share", &value, &share.directory)?;
        let guest = if let Some(guest) = &share.guest {
            normal(guest).ok_or_else(|| invalid("the guest's path contains '..'".to_owned()))?
        } else {
            let typed = std::path::absolute(&share.directory).ok();
            typed.as_deref().and_then(normal).unwrap_or_else(|| host.clone())
        };
        if guest == Path::new("/") {
            return Err(invalid("the guest's path is /; use --root DIR for another root directory".to_owned()));
        }
        if let Some(reserved) = RESERVED.iter().find(|reserved| guest.starts_with(reserved)) {
            return Err(invalid(format!("{reserved} belongs to the guest; append =GUESTPATH with another path")));
        }
        if shares.iter().any(|other: &Share| other.guest.as_ref() == Some(&guest)) {
            let guest = guest.display();
            return Err(invalid(format!("another share has the guest's path {guest}, too; append =GUESTPATH")));
        }
        shares.push(Share { directory, host, guest: Some(guest), writable: share.writable });
    }
    shares.sort_by_key(|share| share.guest.as_ref().map_or(0, |guest| guest.components().count()));
    check_mount_points(&shares)?;
    found.extend(shares);
    if found.len() > MAX_SHARES {
        let (value, why) = (String::new(), format!("{} directories, the limit is {MAX_SHARES}", found.len()));
        return Err(FilesError::Invalid { option: "--share", value, why });
    }
    Ok(found)
}

/// Checks that the mount point of a share inside another share exists there: pid 1 creates none on the host.
fn check_mount_points(shares: &[Share]) -> Result<(), FilesError> {
    for (at, share) in shares.iter().enumerate() {
        let Some(guest) = &share.guest else { continue };
        // The longest path is the innermost mount.
        let outer =
            shares[..at].iter().rev().find_map(|outer| Some((outer, guest.strip_prefix(outer.guest.as_ref()?).ok()?)));
        let Some((outer, inside)) = outer else { continue };
        let place = outer.host.join(inside);
        if !place.is_dir() {
            let value = format!("{}={}", share.host.display(), guest.display());
            let why = format!("no directory {} for the mount inside another share; create it", place.display());
            return Err(FilesError::Invalid { option: "--share", value, why });
        }
    }
    Ok(())
}

/// Opens a directory. Returns its path without links, too.
fn open(option: &'static str, value: &str, path: &Path) -> Result<(File, PathBuf), FilesError> {
    let failed = |source| FilesError::Open { option, value: value.to_owned(), path: path.to_owned(), source };
    let host = path.canonicalize().map_err(failed)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, &host, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    // Fails now rather than in the guest.
    std::fs::read_dir(&host).map_err(failed)?;
    let directory = File::from(directory);
    if is_kernels_own(&directory).map_err(failed)? {
        let why = "a file system of the host's kernel; the guest has its own".to_owned();
        return Err(FilesError::Invalid { option, value: value.to_owned(), why });
    }
    Ok((directory, host))
}

/// Returns an absolute path without `.` and repeated slashes; `None` if it contains `..`.
fn normal(path: &Path) -> Option<PathBuf> {
    let is_up = path.components().any(|component| component == Component::ParentDir);
    (!is_up).then(|| path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::qemu::device::files::{FilesRequest, RootRequest, ShareRequest};
    use std::ffi::OsStr;
    use std::path::Path;

    fn request(shares: &[String]) -> FilesRequest {
        let parse = |typed: &String| ShareRequest::parse(OsStr::new(typed)).expect("a share");
        FilesRequest { shares: shares.iter().map(parse).collect(), ..FilesRequest::default() }
    }

    fn refused(shares: &[String]) -> String {
        find(&request(shares)).expect_err("refused").to_string()
    }

    #[test]
    fn shares_are_ordered_and_checked() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("created");
        std::fs::write(dir.path().join("file"), "").expect("written");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let found = find(&request(&[format!("{}=/x/b", at("a/b")), format!("{}=/x:rw", at("a"))])).expect("found");
        let guests: Vec<&Path> = found.iter().filter_map(|share| share.guest.as_deref()).collect();
        assert_eq!(guests, [Path::new("/x"), Path::new("/x/b")]);
        assert!(found[0].writable && !found[1].writable);
        for (shares, why) in [
            (vec![at("missing")], "failed to open"),
            (vec![at("file")], "failed to open"),
            (vec![format!("{}=/", at("a"))], "use --root DIR"),
            (vec![format!("{}=/proc/x", at("a"))], "/proc belongs to the guest"),
            (vec![format!("{}=/x/../y", at("a"))], "contains '..'"),
            (vec![format!("{}=/x", at("a")), format!("{}=/x/", at("a/b"))], "another share has the guest's path /x"),
            (vec![format!("{}=/x", at("a")), format!("{}=/x/c", at("a/b"))], "for the mount inside another share"),
            (vec!["/proc=/x".to_owned()], "a file system of the host's kernel"),
        ] {
            let error = refused(&shares);
            assert!(error.contains(why), "{shares:?}: {error}");
        }
        let root = RootRequest::parse(OsStr::new(&at("a"))).expect("a root");
        let found = find(&FilesRequest { root: Some(root), ..request(&[at("a/b")]) }).expect("found");
        assert_eq!(found[0].guest, None);
    }
}

//! Content of a root partition: an existing file, or a file system that mksquashfs or mkfs.ext4 creates from a
//! directory.
//!
//! The tools run without root privileges and write to an unnamed file, so that nothing is left behind after a failure.
//! The output is reproducible for the same directory: on squashfs, root owns all files, and times are limited to
//! `SOURCE_DATE_EPOCH`. mkfs.ext4 copies owners and times from the directory, so a copy of the directory may result in
//! different bytes. Refuses directories with unreadable files.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::disk::spec::{RootFileSystem, RootSpec};
use crate::format::Guid;
use crate::output::extents::{Extents, SourceFile};
use crate::sys;

/// Maximum number of lines of a tool's output to report: the last ones.
const COMPLAINT: usize = 5;
/// Maximum number of bytes of a tool's output to keep: the last ones.
const LAST: usize = 64 << 10;
/// Size in bytes to reserve on ext4 in addition to the files: journal, tables and free space.
const EXT4_EXTRA: u64 = 16 << 20;
const BLOCK: u64 = 4096;

/// Error from creating a root partition.
#[derive(Debug, thiserror::Error)]
pub enum RootFsError {
    /// I/O error from the source or the temporary file.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// Action, as an infinitive.
        doing: &'static str,
        /// Object of the action.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The source is neither a file nor a directory.
    #[error("invalid --root {}: neither a file nor a directory", .0.display())]
    Kind(PathBuf),
    /// The tool is not installed.
    #[error("failed to create a file system from {}: {tool} not found on PATH", path.display())]
    NoTool {
        /// Source directory.
        path: PathBuf,
        /// Program name.
        tool: &'static str,
        /// Debian package of the program.
        package: &'static str,
    },
    /// The tool failed.
    #[error("failed to create a file system from {}: {tool} failed ({status}){}", path.display(), last_lines(messages))]
    Tool {
        /// Source directory.
        path: PathBuf,
        /// Program name.
        tool: &'static str,
        /// Exit status.
        status: std::process::ExitStatus,
        /// Last lines of its standard error.
        messages: String,
    },
}

fn last_lines(messages: &str) -> String {
    if messages.is_empty() { String::new() } else { format!(": {messages}") }
}

impl RootFsError {
    /// Returns the package to install, if a tool is missing.
    pub fn package(&self) -> Option<&'static str> {
        match self {
            Self::NoTool { package, .. } => Some(package),
            Self::Io { .. } | Self::Kind(_) | Self::Tool { .. } => None,
        }
    }
}

/// Content of a root partition.
#[derive(Debug)]
pub struct RootContent {
    /// Bytes of the file system.
    pub content: Extents,
    /// Last lines of the tool's standard error.
    pub notes: Vec<String>,
}

/// Returns the content of the partition. `meanwhile` is a directory with enough space for a file system. `time` is the
/// time of the image.
pub fn root_content(spec: &RootSpec, meanwhile: &Path, time: u32) -> Result<RootContent, RootFsError> {
    let path = &spec.source;
    let failed = |source| RootFsError::Io { doing: "read --root", path: path.clone(), source };
    let metadata = path.metadata().map_err(failed)?;
    let mut notes = Vec::new();
    let file = if metadata.is_dir() {
        let file = tempfile::tempfile_in(meanwhile).map_err(|source| RootFsError::Io {
            doing: "create a temporary file in",
            path: meanwhile.to_owned(),
            source,
        })?;
        notes = match spec.file_system {
            RootFileSystem::Squashfs => squashfs(path, &file, time)?,
            RootFileSystem::Ext4 => ext4(path, &file, time)?,
        };
        SourceFile::new(file, path.clone()).map_err(failed)?
    } else if metadata.is_file() {
        SourceFile::open(path).map_err(failed)?
    } else {
        return Err(RootFsError::Kind(path.clone()));
    };
    Ok(RootContent { content: Extents::of_file(&file), notes })
}

fn squashfs(directory: &Path, into: &File, time: u32) -> Result<Vec<String>, RootFsError> {
    let mut command = Command::new("mksquashfs");
    // Without -exit-on-error, an unreadable file becomes an empty file, and mksquashfs succeeds.
    command.arg(directory).arg(path_of(into)).args([
        "-exit-on-error",
        "-noappend",
        "-all-root",
        "-no-progress",
        "-quiet",
    ]);
    command.env("SOURCE_DATE_EPOCH", time.to_string());
    run(command, "mksquashfs", "squashfs-tools", directory, into)
}

fn ext4(directory: &Path, into: &File, time: u32) -> Result<Vec<String>, RootFsError> {
    let failed = |source| RootFsError::Io { doing: "read --root", path: directory.to_owned(), source };
    let (size, inodes) = measure(directory).map_err(failed)?;
    into.set_len(size).map_err(failed)?;
    let id = uuid(&Guid::derived(&digest(directory).map_err(failed)?, "root file system"));
    let mut command = Command::new("mkfs.ext4");
    command.args(["-q", "-F", "-L", "root", "-U", &id, "-N", &inodes.to_string(), "-d"]).arg(directory);
    command.args(["-E", &format!("root_owner=0:0,hash_seed={id},lazy_itable_init=0,lazy_journal_init=0")]);
    command.arg(path_of(into));
    // Zero means the current time.
    command.env("E2FSPROGS_FAKE_TIME", time.max(1).to_string());
    run(command, "mkfs.ext4", "e2fsprogs", directory, into)
}

/// Returns the size in bytes and the number of inodes of an ext4 file system for the files in `directory`.
fn measure(directory: &Path) -> io::Result<(u64, u64)> {
    let (mut bytes, mut inodes) = (0u64, 0u64);
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let metadata = entry?.metadata()?;
        inodes += 1;
        // Extent trees, long link targets and directories use additional blocks.
        bytes += BLOCK + if metadata.is_file() { metadata.size().next_multiple_of(BLOCK) } else { BLOCK };
    }
    let inodes = inodes + inodes / 8 + 64;
    let bytes = bytes + bytes / 16 + inodes * 256 + EXT4_EXTRA;
    Ok((bytes.next_multiple_of(1 << 20), inodes))
}

/// Returns a digest of the names, modes, owners and contents in a directory. Times are not part of it, because a copy
/// of the directory may have other times.
fn digest(directory: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.path().strip_prefix(directory).unwrap_or(entry.path());
        add(name.as_os_str().as_encoded_bytes());
        for number in [metadata.mode(), metadata.uid(), metadata.gid()] {
            add(&number.to_le_bytes());
        }
        add(&metadata.rdev().to_le_bytes());
        if metadata.is_symlink() {
            add(entry.path().read_link()?.as_os_str().as_encoded_bytes());
        } else if metadata.is_file() {
            add(&digest_of_file(entry.path())?);
        }
    }
    Ok(hasher.finalize().into())
}

fn digest_of_file(path: &Path) -> io::Result<[u8; 32]> {
    let (mut hasher, mut file, mut buffer) = (Sha256::new(), File::open(path)?, vec![0; LAST]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Formats a UUID in lowercase for mkfs.
fn uuid(guid: &Guid) -> String {
    guid.to_string().to_lowercase()
}

/// Returns a path for an open file that a child process can open.
fn path_of(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn run(
    mut command: Command,
    tool: &'static str,
    package: &'static str,
    directory: &Path,
    into: &File,
) -> Result<Vec<String>, RootFsError> {
    // The PATH of unprivileged users may lack the directories of the tools.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let path = std::env::join_paths(places).unwrap_or(path);
    command.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let failed = |source| RootFsError::Io { doing: "run a tool for --root", path: directory.to_owned(), source };
    let mut child = match sys::spawn_tied(&mut command, &[into.as_fd()]) {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RootFsError::NoTool { path: directory.to_owned(), tool, package });
        }
        Err(error) => return Err(failed(error)),
    };
    let messages = match &mut child.stderr {
        Some(stderr) => last_bytes(stderr, LAST).map_err(failed)?,
        None => Vec::new(),
    };
    let status = child.wait().map_err(failed)?;
    let messages = String::from_utf8_lossy(&messages);
    let lines: Vec<&str> = messages.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let lines = &lines[lines.len().saturating_sub(COMPLAINT)..];
    if status.success() {
        return Ok(lines.iter().map(|line| format!("{tool}: {line}")).collect());
    }
    Err(RootFsError::Tool { path: directory.to_owned(), tool, status, messages: lines.join("; ") })
}

/// Reads to the end of the stream, so that the writer does not block, and returns the last `most` bytes.
fn last_bytes(stream: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    while stream.take(most as u64).read_to_end(&mut kept)? > 0 {
        kept.drain(..kept.len().saturating_sub(most));
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::{digest, last_bytes};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn long_output_is_read_completely_and_its_end_is_kept() {
        let messages: Vec<u8> = (0..1_000_000u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut left = messages.as_slice();
        assert_eq!(last_bytes(&mut left, 1000).expect("read"), messages[messages.len() - 1000..]);
        assert_eq!(left, b"");
        assert_eq!(last_bytes(&mut b"abc".as_slice(), 1000).expect("read"), b"abc");
    }

    #[test]
    fn the_digest_depends_on_names_modes_and_contents() {
        let tree = |name: &str, content: &str, mode: u32| {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join(name);
            fs::write(&path, content).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            digest(dir.path()).expect("a digest")
        };
        let one = tree("a", "x", 0o644);
        assert_eq!(one, tree("a", "x", 0o644));
        for other in [tree("b", "x", 0o644), tree("a", "y", 0o644), tree("a", "x", 0o600)] {
            assert_ne!(one, other);
        }
    }
}

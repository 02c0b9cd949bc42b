//! `--copy SRC[=DST]`: copies files, trees and pattern matches. Trees are copied completely, without following links in
//! them.
//!
//! An ELF program is copied without its libraries; `--with` includes those. Without DST, files keep their paths, and a
//! SRC that is a link is copied together with its target. With DST, the link is followed, since it would point
//! elsewhere from there. Rejects sources that do not exist and patterns without a match.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use walkdir::WalkDir;

use super::directory::{Resolved, Root};
use super::fact::Why;
use super::gather::{self, Gathered};
use super::glob;
use super::request::Copy;
use super::userland_error::UserlandError;
use crate::format::archive_path::ArchivePath;

/// Adds the files named by one option.
pub(crate) fn copy(root: &Root, copy: &Copy, out: &mut Gathered<'_>) -> Result<(), UserlandError> {
    let option = typed(copy);
    let source = root.typed(&copy.source);
    let matches = if root.exists(&source) || !glob::is_pattern(&source) {
        vec![source]
    } else {
        let glob = glob::expand(root, &source);
        glob.map_err(|source| UserlandError::Glob { option: option.to_string_lossy().into_owned(), source })?
    };
    if matches.is_empty() {
        return Err(UserlandError::NothingToCopy { option: option.to_string_lossy().into_owned() });
    }
    let several = matches.len() > 1;
    for path in matches {
        let destination = copy.destination.as_deref().map(|destination| {
            let below = several || destination.as_os_str().as_bytes().ends_with(b"/");
            let place = ArchivePath::new(destination);
            if below { place.join(path.file_name()) } else { place }
        });
        one(root, &path, destination, &option, out)?;
    }
    Ok(())
}

/// Returns the option as the user typed it.
fn typed(copy: &Copy) -> OsString {
    let mut option = OsString::from("--copy ");
    option.push(&copy.source);
    if let Some(destination) = &copy.destination {
        option.push("=");
        option.push(destination);
    }
    option
}

fn one(
    root: &Root,
    path: &ArchivePath,
    destination: Option<ArchivePath>,
    option: &OsString,
    out: &mut Gathered<'_>,
) -> Result<(), UserlandError> {
    let resolved = match root.resolve(path) {
        Err(error) if error.is_missing() && destination.is_none() && root.exists(path) => {
            // A dangling link is still a link.
            let place = root.place(path)?;
            out.note(format!("{path} is a dangling symbolic link; the link itself is copied"));
            out.hops(&place.hops, &place.real);
            return add(root, &place, place.real.clone(), option, out);
        }
        other => other?,
    };
    if destination.is_none() {
        out.hops(&resolved.hops, &resolved.real);
    }
    let destination = destination.unwrap_or_else(|| resolved.real.clone());
    if resolved.metadata.is_dir() {
        return tree(root, &resolved.real, &destination, option, out);
    }
    add(root, &resolved, destination, option, out)
}

fn add(
    root: &Root,
    from: &Resolved,
    to: ArchivePath,
    option: &OsString,
    out: &mut Gathered<'_>,
) -> Result<(), UserlandError> {
    let host = root.host_path(&from.real);
    let node = gather::node(&from.metadata, &host).map_err(|source| failed(&host, option, source))?;
    out.add(to, node, Why::Asked(option.clone()));
    Ok(())
}

/// Adds a directory and its contents, in name order.
fn tree(
    root: &Root,
    from: &ArchivePath,
    to: &ArchivePath,
    option: &OsString,
    out: &mut Gathered<'_>,
) -> Result<(), UserlandError> {
    let top = root.host_path(from);
    for entry in WalkDir::new(&top).sort_by_file_name() {
        let entry = entry.map_err(|error| walk_failed(&top, option, error))?;
        let metadata = entry.metadata().map_err(|error| walk_failed(entry.path(), option, error))?;
        let node = gather::node(&metadata, entry.path()).map_err(|source| failed(entry.path(), option, source))?;
        let below = entry.path().strip_prefix(&top).unwrap_or(Path::new(""));
        out.add(to.join(below), node, Why::Asked(option.clone()));
        if metadata.is_dir() {
            root.record_listing(entry.path().to_owned());
        }
        root.record(entry.into_path());
    }
    Ok(())
}

fn walk_failed(path: &Path, option: &OsString, error: walkdir::Error) -> UserlandError {
    let path = error.path().unwrap_or(path).to_path_buf();
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("directory loop"));
    failed(&path, option, source)
}

fn failed(path: &Path, option: &OsString, source: io::Error) -> UserlandError {
    UserlandError::Copy { path: path.to_path_buf(), option: option.to_string_lossy().into_owned(), source }
}

//! `--copy SRC[=DST]`: copies files, trees and pattern matches. Trees are copied completely, without following links in
//! them.
//!
//! An ELF program is copied without its libraries; `--with` includes those. Without DST, files keep their paths, and a
//! SRC that is a link is copied together with its target. With DST, the link is followed, since it would point
//! elsewhere from there. The contents of a tree are merged into DST, dot-files included, if SRC ends in `/` or `/.`, or
//! if DST is `/`; otherwise, the tree becomes DST, or is placed below a DST that ends in `/`. Rejects sources that do not exist and patterns without a match.

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
    let is_pattern = !root.exists(&source) && glob::is_pattern(&source);
    let matches = if is_pattern {
        let glob = glob::expand(root, &source);
        glob.map_err(|source| UserlandError::Glob { option: option.to_string_lossy().into_owned(), source })?
    } else {
        vec![source]
    };
    if matches.is_empty() {
        return Err(UserlandError::NothingToCopy { option: option.to_string_lossy().into_owned() });
    }
    let several = matches.len() > 1;
    let source = copy.source.as_os_str().as_bytes();
    let names_contents = source == b"." || source.ends_with(b"/") || source.ends_with(b"/.");
    for path in matches {
        let destination = copy.destination.as_deref().map(|destination| {
            let place = ArchivePath::new(destination);
            let is_tree = root.find(&path).is_some_and(|found| found.metadata.is_dir());
            let is_merged = is_tree && (names_contents || (place.is_root() && !is_pattern));
            let below = several || destination.as_os_str().as_bytes().ends_with(b"/");
            if below && !is_merged { place.join(path.file_name()) } else { place }
        });
        copy_one(root, &path, destination, &option, out)?;
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

fn copy_one(
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
        let node = match gather::node(&metadata, entry.path()) {
            Err(error) if metadata.is_file() => {
                out.note(format!("{} cannot be read and is left out: {error}", entry.path().display()));
                continue;
            }
            node => node.map_err(|source| failed(entry.path(), option, source))?,
        };
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

#[cfg(test)]
mod tests {
    use super::copy;
    use crate::root::directory::Root;
    use crate::root::fact::{Content, Node};
    use crate::root::gather::Gathered;
    use crate::root::request::Copy;
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Returns the paths in the archive.
    fn paths(root: &Root, source: &str, destination: &str) -> Vec<String> {
        let mut out = Gathered::new(root);
        let request = Copy { source: PathBuf::from(source), destination: Some(PathBuf::from(destination)) };
        copy(root, &request, &mut out).expect("copied");
        out.finish().0.into_iter().map(|fact| fact.path.to_string()).collect()
    }

    #[test]
    fn a_tree_is_merged_into_the_root_with_its_dot_files() {
        let dir = tempfile::tempdir().expect("a directory");
        for file in ["t/a", "t/.dot", "t/d/b"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, "").expect("a file");
        }
        let root = Root::new(dir.path()).expect("a root");
        for source in ["/t", "/t/", "/t/."] {
            assert_eq!(paths(&root, source, "/"), ["/.dot", "/a", "/d", "/d/b"], "{source}");
        }
        for source in ["/t/", "/t/."] {
            assert_eq!(paths(&root, source, "/x/"), ["/x", "/x/.dot", "/x/a", "/x/d", "/x/d/b"], "{source}");
        }
        assert_eq!(paths(&root, "/t", "/x"), ["/x", "/x/.dot", "/x/a", "/x/d", "/x/d/b"]);
        assert_eq!(paths(&root, "/t", "/x/"), ["/x/t", "/x/t/.dot", "/x/t/a", "/x/t/d", "/x/t/d/b"]);
        assert_eq!(paths(&root, "/t/*", "/"), ["/a", "/d", "/d/b"], "as in a shell");
        assert_eq!(paths(&root, "/t/d*", "/"), ["/d", "/d/b"], "however many match");
        assert_eq!(paths(&root, "/t/a", "/"), ["/a"]);
    }

    #[test]
    fn files_of_the_kernel_are_copied_although_their_sizes_are_unknown() {
        let root = Root::new("/").expect("a root");
        for path in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"] {
            let Ok(expected) = fs::read(path) else { continue };
            let mut out = Gathered::new(&root);
            copy(&root, &Copy { source: PathBuf::from(path), destination: None }, &mut out).expect("copied");
            let facts = out.finish().0;
            let Some(Node::File { content: Content::Bytes(bytes), .. }) = facts.last().map(|fact| &fact.node) else {
                panic!("{path}: {facts:?}")
            };
            assert_eq!(bytes[..], expected);
        }
        let mut out = Gathered::new(&root);
        let memory = Copy { source: Path::new("/proc/kmsg").to_owned(), destination: None };
        assert!(copy(&root, &memory, &mut out).is_err(), "reading it never ends, or is not allowed");
    }
}

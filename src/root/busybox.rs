//! busybox and its applets. The names are read from the binary ([`applets`]); busybox is never run.
//!
//! Debian's busybox is built with `FEATURE_PREFER_APPLETS` and `FEATURE_SH_STANDALONE`: its shell, and applets that start
//! programs (`env`, `xargs`, `find -exec`, ...), look a name up in the table of applets before PATH. So that a program
//! in the image runs instead of the applet of its name, the image's copy of busybox does not have that applet.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use super::binary::{Binaries, Binary, BinaryError};
use super::directory::Root;
use super::fact::{Content, Fact, Node, Why};
use super::gather::Gathered;
use super::path::SearchPath;
use super::userland_error::UserlandError;
use crate::format::applets::{self, Applets};
use crate::format::archive_path::ArchivePath;
use crate::format::read_at::ReadAt;

/// Limit on the bytes read per segment; far larger than any busybox.
const MAX_SIZE: u64 = 64 << 20;
/// A busybox binary and its applets.
#[derive(Debug)]
pub(crate) struct Busybox {
    /// Path at which busybox was found; symbolic links are not followed.
    pub(crate) path: ArchivePath,
    /// Its file, free of symbolic links.
    real: ArchivePath,
    /// Table of its applets; the offset is that in the file.
    table: Applets,
    /// Directory for the applet links, free of symbolic links.
    dir: ArchivePath,
    /// Target of the applet links.
    target: Vec<u8>,
}

impl Busybox {
    /// Searches for busybox in the root's PATH.
    pub(crate) fn find(root: &Root, path: &SearchPath<'_>, binaries: &Binaries<'_>) -> Result<Self, UserlandError> {
        let Some(found) = path.find(OsStr::new("busybox")) else {
            return Err(UserlandError::NoBusybox { tried: path.tried() });
        };
        let resolved = root.resolve(&found)?;
        let host = root.host_path(&resolved.real);
        let no_applets = || UserlandError::NoApplets { path: host.clone() };
        let Binary::Elf(elf) = binaries.get(&resolved.real)? else {
            return Err(UserlandError::NotAProgram { path: host, why: "not an ELF file" });
        };
        let io = |error: io::Error| BinaryError::new(&host, error);
        let file = File::open(&host).map_err(io)?;
        let whole = (0, file.size());
        // The table is constant data, so search the constant segments first: they are a fifth of the file.
        let mut table = None;
        for (offset, length) in elf.constants.iter().copied().chain([whole]) {
            let length = length.min(MAX_SIZE).min(file.size().saturating_sub(offset));
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_at(&mut bytes, offset).map_err(io)?;
            table = applets::find(&bytes);
            if let Some(table) = &mut table {
                table.at += usize::try_from(offset).unwrap_or(0);
                break;
            }
        }
        let table = table.ok_or_else(no_applets)?;
        let (dir, target) = if path.in_guest(&found) {
            let dir = root.resolve(&found.parent().unwrap_or_default())?.real;
            (dir, found.file_name().as_bytes().to_vec())
        } else {
            let standard = ArchivePath::new("/usr/bin");
            (
                root.find(&standard).map_or(standard, |found| found.real),
                found.to_absolute().as_os_str().as_bytes().to_vec(),
            )
        };
        Ok(Self { path: found, real: resolved.real, table, dir, target })
    }

    /// Returns true if `name` is one of the applets.
    pub(crate) fn has(&self, name: &OsStr) -> bool {
        self.table.names.binary_search_by(|applet| applet.as_bytes().cmp(name.as_bytes())).is_ok()
    }

    /// Adds a link for every applet, except for those that would shadow a program of the same name. `/bin/sh` is added
    /// in any case.
    pub(crate) fn links(&self, root: &Root, path: &SearchPath<'_>, out: &mut Gathered<'_>) {
        let taken: HashSet<OsString> = on_path(path, out).map(|fact| fact.path.file_name().to_owned()).collect();
        for applet in &self.table.names {
            if !taken.contains(applet) {
                let link = Node::Symlink { target: self.target.clone() };
                out.add(self.dir.join(applet), link, Why::Applet);
            }
        }
        if self.has(OsStr::new("sh")) {
            self.link(root, &ArchivePath::new("/bin/sh"), out);
        }
    }

    /// Adds a link at exactly `path` to the applet of that name.
    pub(crate) fn link(&self, root: &Root, path: &ArchivePath, out: &mut Gathered<'_>) {
        let dir = path.parent().unwrap_or_default();
        let dir = root.find(&dir).map_or(dir, |found| found.real);
        let target =
            if dir == self.dir { self.target.clone() } else { self.path.to_absolute().as_os_str().as_bytes().to_vec() };
        out.add(dir.join(path.file_name()), Node::Symlink { target }, Why::Applet);
    }

    /// Removes an applet from the image's copy of busybox if the image has a program of the same name. Called after
    /// [`Busybox::links`]. An applet stays if a link in the image leads to it.
    pub(crate) fn give_way(
        &self,
        root: &Root,
        path: &SearchPath<'_>,
        out: &mut Gathered<'_>,
    ) -> Result<(), UserlandError> {
        let programs: HashSet<OsString> = {
            let real = |fact: &&Fact| fact.why != Why::Applet && !self.is_led_to(root, fact);
            on_path(path, out).filter(real).map(|fact| fact.path.file_name().to_owned()).collect()
        };
        let kept: HashSet<OsString> =
            out.current().filter(|fact| fact.why == Why::Applet).map(|fact| fact.path.file_name().to_owned()).collect();
        let is_gone = |name: &OsStr| programs.contains(name) && !kept.contains(name);
        let gone: Vec<&OsString> = self.table.names.iter().filter(|name| is_gone(name)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let host = root.host_path(&self.real);
        let mut bytes = std::fs::read(&host).map_err(|error| BinaryError::new(&host, error))?;
        match applets::hide(&mut bytes, &self.table, is_gone) {
            Ok(()) => out.replace_content(&self.real, &Content::Bytes(bytes.into())),
            Err(why) => {
                let names: Vec<String> = gone.iter().map(|name| name.display().to_string()).collect();
                let names = names.join(", ");
                out.note(format!("busybox's shell runs its own {names} unless the path is given: {why}"));
            }
        }
        Ok(())
    }

    /// Returns true if the entry is busybox, or a link to it.
    fn is_led_to(&self, root: &Root, fact: &Fact) -> bool {
        match &fact.node {
            Node::Symlink { target } => {
                let name = target.rsplit(|byte| *byte == b'/').next();
                name == Some(self.real.file_name().as_bytes())
                    || root.find(&fact.path).is_some_and(|found| found.real == self.real)
            }
            Node::File { .. } => fact.path == self.real,
            Node::Dir { .. } | Node::Char { .. } | Node::Block { .. } | Node::Fifo { .. } | Node::Socket { .. } => true,
        }
    }
}

/// Returns the entries that the guest finds through PATH by their names.
fn on_path<'a>(path: &'a SearchPath<'_>, out: &'a Gathered<'_>) -> impl Iterator<Item = &'a Fact> {
    let facts = out.current().filter(|fact| !matches!(fact.node, Node::Dir { .. }));
    facts.filter(|fact| path.in_guest(&fact.path))
}

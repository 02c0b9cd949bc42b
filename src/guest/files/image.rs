//! The image of a guest whose root is a directory of the host: pid 1, its job, and the few files that cover the host's.
//!
//! The command is looked up in the guest, in that root. Only its user is looked up here.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::shares::{FilesError, Share};
use crate::format::archive_path::ArchivePath;
use crate::guest::compose::{BuildContext, Composition, Drivers, add_modules};
use crate::guest::{Cwd, VmError};
use crate::initrd::job::Job;
use crate::qemu::device::files::{FilesRequest, RootRequest};
use crate::root::directory::Root;
use crate::root::fact::{Content, Fact, Node, Why};
use crate::root::path::GUEST_PATH;
use crate::root::spec::{InitrdSpec, RunWhat};

/// Directory of the image with files that cover those of the root.
const IMAGE: &str = "/.bootling/image";
/// Size limit of `/etc/passwd` and `/etc/group`, bytes.
const LIMIT: u64 = 16 << 20;

/// Returns where the image has a file that covers the root's file at `path`.
pub(in crate::guest) fn image_path(path: &str) -> ArchivePath {
    ArchivePath::new(format!("{IMAGE}{path}"))
}

/// Composes an image for a guest with this root.
pub(in crate::guest) fn whole(
    context: BuildContext<'_>,
    spec: &InitrdSpec,
    drivers: Drivers,
    request: &RootRequest,
) -> Result<Composition, VmError> {
    let options = [
        ("--with", !spec.binaries.is_empty()),
        ("--copy", !spec.copies.is_empty()),
        ("--lib-path", !spec.lib_path.is_empty()),
    ];
    if let Some((option, _)) = options.into_iter().find(|(_, is_used)| *is_used) {
        return Err(FilesError::Image { option }.into());
    }
    let root = Root::new(&request.directory)?;
    let shell = || {
        let shells = if spec.run == RunWhat::Shell { &["/bin/bash", "/bin/sh"][..] } else { &["/bin/sh"] };
        shells.iter().find(|shell| root.exists(&ArchivePath::new(shell))).map(OsString::from).ok_or_else(|| {
            let why = "it has no /bin/sh; give a program as COMMAND".to_owned();
            FilesError::Invalid { option: "--root", value: request.to_string(), why }
        })
    };
    let args = match &spec.run {
        RunWhat::Command(words) if !words.is_empty() => words.clone(),
        RunWhat::Line(line) => vec![shell()?, "-c".into(), line.clone()],
        RunWhat::Command(_) | RunWhat::Shell => vec![shell()?],
    };
    let mut composition =
        Composition { job: Job { args, autoload: spec.autoload, ..Job::default() }, ..<_>::default() };
    composition.job.env = environment(request);
    composition.facts.push(Fact { path: image_path(""), node: Node::Dir { mode: 0o755 }, why: Why::Base });
    if spec.autoload {
        let sbin = ArchivePath::new("/sbin");
        let sbin = root.find(&sbin).map_or(sbin, |found| found.real).to_absolute();
        let path = image_path(&sbin.join("modprobe").to_string_lossy());
        let node = Node::Symlink { target: b"/proc/1/exe".to_vec() };
        composition.facts.push(Fact { path, node, why: Why::Base });
    }
    add_modules(&mut composition, context, &spec.modules, drivers)?;
    Ok(composition)
}

/// The environment of the command: in the host's own root, the user's PATH and home directory.
fn environment(request: &RootRequest) -> Vec<(OsString, OsString)> {
    let of_user = |name: &str| env::var_os(name).filter(|value| request.is_host() && !value.is_empty());
    let mut path = of_user("PATH").unwrap_or_default();
    let known: Vec<PathBuf> = env::split_paths(&path).collect();
    for directory in env::split_paths(GUEST_PATH).filter(|directory| !known.contains(directory)) {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(directory);
    }
    let home = of_user("HOME").unwrap_or_else(|| "/root".into());
    let lang = env::var_os("LANG").filter(|_| request.is_host()).map(|lang| ("LANG".into(), lang));
    let own = [
        ("PATH".into(), path),
        ("HOME".into(), home),
        ("USER".into(), "root".into()),
        ("LOGNAME".into(), "root".into()),
    ];
    own.into_iter().chain(lang).collect()
}

/// Returns the command's working directory if a directory of the host has it.
pub(in crate::guest) fn working_directory(wanted: &Cwd, request: &FilesRequest, shares: &[Share]) -> Option<PathBuf> {
    let Cwd::Here(here) = wanted else { return None };
    let is_shared = |share: &Share| {
        share
            .guest
            .as_ref()
            .is_some_and(|guest| here.strip_prefix(guest).is_ok_and(|rest| share.host.join(rest).is_dir()))
    };
    let is_in_root = |root: &RootRequest| {
        root.is_host() || here.strip_prefix("/").is_ok_and(|inside| root.directory.join(inside).is_dir())
    };
    let has_it = shares.iter().any(is_shared) || request.root.as_ref().is_some_and(is_in_root);
    (has_it && here != Path::new("/")).then(|| here.clone())
}

/// Returns the users and groups of a root.
pub(in crate::guest) fn users(request: &RootRequest) -> Result<Vec<Fact>, VmError> {
    let root = Root::new(&request.directory)?;
    let file = |path: &str| {
        let path = ArchivePath::new(path);
        let content = Content::Bytes(root.read(&path, LIMIT).ok()?.into());
        Some(Fact { path, node: Node::File { mode: 0o644, content, hardlink: None }, why: Why::Base })
    };
    Ok(["/etc/passwd", "/etc/group"].into_iter().filter_map(file).collect())
}

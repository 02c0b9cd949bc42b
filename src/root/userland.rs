//! Resolves the userland of an image: programs, libraries, busybox, copied files.
//!
//! Reads files of the root, but runs none. Other stages add pid 1, its job and the kernel modules.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::binary::Binaries;
use super::busybox::Busybox;
use super::closure::Linker;
use super::copy;
use super::directory::Root;
use super::dirs::Dirs;
use super::fact::{Fact, Why};
use super::gather::Gathered;
use super::layout;
use super::ldso::System;
use super::path::{GUEST_PATH, SearchPath};
use super::program::{Located, Programs};
use super::userland_error::UserlandError;
use crate::arch::Arch;
use crate::{
    format::archive_path::ArchivePath,
    root::spec::{InitrdSpec, RunWhat},
};

/// The userland of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Userland {
    /// One fact per entry. The same specification on the same root gives the same facts in the same order.
    pub facts: Vec<Fact>,
    /// Command that pid 1 runs; `None`: an interactive `/bin/sh`. The guest finds the first word unchanged.
    pub command: Option<Vec<OsString>>,
    /// Environment of the command.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Notes for the user, one line each.
    pub(crate) notes: Vec<String>,
}

/// Resolves everything that `spec` names below `root`, for a guest of architecture `arch`.
pub fn resolve(root: &Root, spec: &InitrdSpec, arch: Arch) -> Result<Userland, UserlandError> {
    let binaries = Binaries::new(root);
    let dirs = Dirs::new(root, &binaries);
    let system = System::of(root);
    let lib_path: Vec<ArchivePath> = spec.lib_path.iter().map(|dir| root.typed(dir)).collect();
    let lib_dirs: Vec<Vec<u8>> =
        lib_path.iter().map(|dir| dir.to_absolute().into_os_string().into_encoded_bytes()).collect();
    let path = SearchPath::of(root);
    let busybox = if spec.busybox { Some(Busybox::find(root, &path, &binaries)?) } else { None };
    let linker = Linker::new(&dirs, &system, &lib_dirs);
    let mut programs = Programs::new(root, &binaries, linker, &path, busybox.as_ref(), arch);

    let mut out = Gathered::new(root);
    layout::base(root, &mut out);
    if spec.autoload {
        layout::modprobe(root, &mut out);
    }
    if let Some(busybox) = &busybox {
        programs.include(&busybox.path, Why::Base, &busybox.path, 0, &mut out)?;
    }
    for binary in &spec.binaries {
        programs.ask(binary, &mut out)?;
    }
    let command = command(&spec.run, &mut programs, &mut out)?;
    for copy in &spec.copies {
        copy::copy(root, copy, &mut out)?;
    }
    programs.finish(&mut out);
    if let Some(busybox) = &busybox {
        busybox.links(root, &path, &mut out);
        busybox.give_way(root, &path, &mut out)?;
    }
    let (facts, notes) = out.finish();
    Ok(Userland { facts, command, env: env(&lib_path), notes })
}

/// Returns true if `word` is a program below `root`: an executable file, a name in PATH, or a busybox applet.
pub fn is_program(root: &Root, word: &OsStr) -> bool {
    let path = SearchPath::of(root);
    if word.as_bytes().contains(&b'/') {
        return path.is_program(&root.typed(Path::new(word)));
    }
    let busybox = || Busybox::find(root, &path, &Binaries::new(root)).is_ok_and(|busybox| busybox.has(word));
    path.find(word).is_some() || busybox()
}

/// Includes the command that pid 1 runs, and returns it as the guest calls it.
fn command(
    run: &RunWhat,
    programs: &mut Programs<'_>,
    out: &mut Gathered<'_>,
) -> Result<Option<Vec<OsString>>, UserlandError> {
    let shell = || OsString::from("/bin/sh");
    match run {
        RunWhat::Shell => {
            need_shell(programs, out)?;
            Ok(None)
        }
        RunWhat::Line(line) => {
            need_shell(programs, out)?;
            Ok(Some(vec![shell(), "-c".into(), line.clone()]))
        }
        RunWhat::Command(words) => {
            let Some((program, arguments)) = words.split_first() else {
                need_shell(programs, out)?;
                return Ok(None);
            };
            let name = in_guest(programs, program, out)?;
            Ok(Some([name].into_iter().chain(arguments.iter().cloned()).collect()))
        }
    }
}

/// Includes the root's own `/bin/sh`, unless busybox provides one.
fn need_shell(programs: &mut Programs<'_>, out: &mut Gathered<'_>) -> Result<(), UserlandError> {
    if programs.busybox.is_some_and(|busybox| busybox.has(OsStr::new("sh"))) {
        return Ok(());
    }
    let shell = ArchivePath::new("/bin/sh");
    programs.include(&shell, Why::Base, &shell, 0, out)
}

/// Includes the program of a command. A bare name is kept if the guest's PATH leads to the same file.
fn in_guest(programs: &mut Programs<'_>, typed: &OsStr, out: &mut Gathered<'_>) -> Result<OsString, UserlandError> {
    match programs.ask(typed, out)? {
        Located::Applet => Ok(typed.to_owned()),
        Located::File(path) if !typed.as_bytes().contains(&b'/') && programs.path.in_guest(&path) => {
            Ok(typed.to_owned())
        }
        Located::File(path) => Ok(path.to_absolute().into_os_string()),
    }
}

/// Returns the base environment of every command.
pub(crate) fn base_environment() -> Vec<(OsString, OsString)> {
    vec![("PATH".into(), GUEST_PATH.into()), ("HOME".into(), "/root".into())]
}

fn env(lib_path: &[ArchivePath]) -> Vec<(OsString, OsString)> {
    let mut env = base_environment();
    if !lib_path.is_empty() {
        let dirs: Vec<OsString> = lib_path.iter().map(|dir| dir.to_absolute().into_os_string()).collect();
        env.push(("LD_LIBRARY_PATH".into(), dirs.join(OsStr::new(":"))));
    }
    env
}

//! Unpacks an archive in memory, as the kernel does for an initrd (`init/initramfs.c`), in a guest that is already
//! running. Format: newc, uncompressed, written by bootling
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! The result is the same as if the guest had booted with the archive: members below mounted kernel file systems are
//! skipped, and a tmpfs on a scratch directory is unmounted if the archive has files for it.

use crate::mounts::SCRATCH;
use crate::syscall::Errno;
use crate::syscall::file::{
    Fd, WRITE_ONLY, create, make_directory, make_hard_link, make_link, make_node, open, remove, remove_directory,
    set_mode, set_times, unmount, write,
};
use crate::syscall::process::set_umask;
use core::ffi::CStr;

const MAGIC: &[u8] = b"070701";
const HEADER: usize = 110;
/// `S_IFMT` and file types.
const KIND: usize = 0o170_000;
const DIRECTORY: usize = 0o040_000;
const REGULAR: usize = 0o100_000;
const LINK: usize = 0o120_000;
const PERMISSIONS: usize = 0o7777;
/// Mount points of kernel file systems.
const HIDDEN: [&[u8]; 3] = [b"dev", b"proc", b"sys"];

/// Name of the member that failed, and the kernel's error number; 0 if the archive is malformed.
pub struct Refused<'a> {
    pub name: &'a CStr,
    pub errno: Errno,
}

/// Unpacks an archive to `/`. Only the first archive may unmount a tmpfs: later ones would discard files that commands
/// left there.
pub fn unpack(archive: &[u8], is_first: bool) -> Result<(), Refused<'_>> {
    let umask = set_umask(0);
    let done = walk(archive, is_first);
    set_umask(umask);
    done
}

fn walk(archive: &[u8], is_first: bool) -> Result<(), Refused<'_>> {
    let mut scratch = SCRATCH.map(|(path, _, _)| Scratch { path, mode: None, is_covered: is_first });
    let mut at = 0;
    loop {
        let Some(member) = Member::at(archive, at) else {
            return Err(Refused { name: c"archive", errno: Errno(0) });
        };
        if member.name == c"TRAILER!!!" {
            return Ok(());
        }
        let refused = |errno| Refused { name: member.name, errno };
        if is_hidden(member.name.to_bytes()) {
            member.fill_other_name(archive, at).map_err(refused)?;
        } else if !scratch.iter_mut().any(|directory| directory.keeps_from(&member)) {
            member.make(archive, at).map_err(refused)?;
        }
        at = member.end;
    }
}

fn is_hidden(name: &[u8]) -> bool {
    HIDDEN.iter().any(|hidden| name.strip_prefix(*hidden).is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))))
}

/// A directory with a tmpfs, unless the archive has files for it.
struct Scratch {
    path: &'static CStr,
    /// Mode of the directory in the archive.
    mode: Option<usize>,
    is_covered: bool,
}

impl Scratch {
    /// Returns true if the member is only the directory itself. Any member inside, or instead of it, unmounts the
    /// tmpfs.
    fn keeps_from(&mut self, member: &Member<'_>) -> bool {
        let name = self.path.to_bytes().strip_prefix(b"/").unwrap_or_default();
        match member.name.to_bytes().strip_prefix(name).map(<[u8]>::first) {
            Some(None) if member.mode & KIND == DIRECTORY => {
                self.mode = Some(member.mode & PERMISSIONS);
                true
            }
            Some(None | Some(b'/')) => {
                self.uncover();
                false
            }
            Some(Some(_)) | None => false,
        }
    }

    fn uncover(&mut self) {
        if self.is_covered {
            self.is_covered = false;
            // Ignore errors: an earlier command may have unmounted it, or the mount failed.
            let _ = unmount(self.path);
            if let Some(mode) = self.mode {
                let _ = set_mode(self.path, mode);
            }
        }
    }
}

/// An archive member.
struct Member<'a> {
    inode: u32,
    mode: usize,
    links: u32,
    time: u32,
    device: (usize, usize),
    name: &'a CStr,
    data: &'a [u8],
    /// Offset of the next member.
    end: usize,
}

impl<'a> Member<'a> {
    fn at(archive: &'a [u8], at: usize) -> Option<Self> {
        let header = archive.get(at..at.checked_add(HEADER)?)?;
        let fields = header.strip_prefix(MAGIC)?;
        let field = |index: usize| hex(fields.get(index * 8..index * 8 + 8)?);
        let name_at = at + HEADER;
        let name_end = name_at.checked_add(field(11)? as usize)?;
        let data_at = name_end.checked_next_multiple_of(4)?;
        let data_end = data_at.checked_add(field(6)? as usize)?;
        Some(Self {
            inode: field(0)?,
            mode: field(1)? as usize,
            links: field(4)?,
            time: field(5)?,
            device: (field(9)? as usize, field(10)? as usize),
            name: CStr::from_bytes_until_nul(archive.get(name_at..name_end)?).ok()?,
            data: archive.get(data_at..data_end)?,
            end: data_end.checked_next_multiple_of(4)?,
        })
    }

    /// Creates the file. `archive` and `at` locate the member.
    fn make(&self, archive: &'a [u8], at: usize) -> Result<(), Errno> {
        let permissions = self.mode & PERMISSIONS;
        match self.mode & KIND {
            DIRECTORY => match make_directory(self.name, permissions) {
                Err(Errno::EXIST) => set_mode(self.name, permissions),
                other => other,
            },
            REGULAR => self.make_file(archive, at, permissions),
            LINK => {
                // The target is not NUL-terminated in the archive.
                let target = crate::path::Path::join(&[self.data]).ok_or(Errno::INVAL)?;
                self.replacing(|| make_link(target.as_c(), self.name))
            }
            _ => self.replacing(|| make_node(self.name, self.mode, self.device.0, self.device.1)),
        }
    }

    fn make_file(&self, archive: &'a [u8], at: usize, permissions: usize) -> Result<(), Errno> {
        let file = match self.other_name(archive, at) {
            Some(first) => {
                self.replacing(|| make_hard_link(first, self.name))?;
                open(self.name, WRITE_ONLY)?
            }
            None => self.replacing(|| create(self.name, permissions))?,
        };
        self.fill(&file)
    }

    /// Writes data of a hidden member that belongs to an earlier hard link.
    fn fill_other_name(&self, archive: &'a [u8], at: usize) -> Result<(), Errno> {
        match self.other_name(archive, at) {
            Some(first) if self.mode & KIND == REGULAR => self.fill(&open(first, WRITE_ONLY)?),
            Some(_) | None => Ok(()),
        }
    }

    fn fill(&self, file: &Fd) -> Result<(), Errno> {
        let mut rest = self.data;
        while !rest.is_empty() {
            let len = write(file, rest)?;
            rest = rest.get(len..).unwrap_or_default();
        }
        set_times(file, self.time)
    }

    /// Returns the earlier name of a hard-linked file, if any: the last name carries the data.
    fn other_name(&self, archive: &'a [u8], at: usize) -> Option<&'a CStr> {
        let mut earlier = if self.links > 1 { 0 } else { at };
        while earlier < at {
            let member = Member::at(archive, earlier)?;
            if member.inode == self.inode && member.links > 1 && !is_hidden(member.name.to_bytes()) {
                return Some(member.name);
            }
            earlier = member.end;
        }
        None
    }

    /// Creates a file; replaces an existing one.
    fn replacing<T>(&self, make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        match make() {
            Err(Errno::EXIST) => {
                remove(self.name).or_else(|_| remove_directory(self.name))?;
                make()
            }
            other => other,
        }
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let mut value = 0;
    for &digit in digits {
        value = (value << 4)
            | u32::from(match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return None,
            });
    }
    Some(value)
}

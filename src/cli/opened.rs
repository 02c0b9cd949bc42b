//! What a file is that is only looked at: a disk in some container, an EFI program, or an initrd.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use anyhow::{Context, bail};

use super::output;
use bootling::disk::container::{self, Access, Image, Opening, content::Content};
use bootling::format::pe::Pe;
use bootling::format::{Stream, gpt};

/// A file, opened for reading as what it is.
#[derive(Debug)]
pub enum Opened {
    /// A disk image, or a block device.
    Disk(Image),
    /// A PE file: a UKI, a boot loader, a kernel.
    Program(Image),
    /// An initrd, or something else that is compressed.
    Initrd(Input),
}

/// What can be read in order, at least.
#[derive(Debug)]
pub enum Input {
    /// A file.
    File(File),
    /// Standard input, of which this was read already.
    Stdin(Cursor<Vec<u8>>),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Stdin(head) => match head.read(buffer)? {
                0 => io::stdin().lock().read(buffer),
                count => Ok(count),
            },
        }
    }
}

impl Opened {
    /// Its bytes in order, whatever they are.
    pub fn into_read(self) -> Box<dyn Read> {
        match self {
            Self::Disk(image) | Self::Program(image) => Box::new(Stream::new(image)),
            Self::Initrd(input) => Box::new(input),
        }
    }
}

/// How archives and compressed files begin.
const INITRDS: [&[u8]; 6] =
    [b"07070", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x02\x21\x4c\x18", b"\x89LZO\0"];
/// Most of standard input that is kept in a file to be read in any order.
const MOST_SPOOLED: u64 = 2 << 30;
/// Bytes that tell them apart.
const HEAD: usize = 8;

fn is_initrd(head: &[u8]) -> bool {
    INITRDS.iter().any(|magic| head.starts_with(magic))
}

/// Opens `path`, which errors do not name. What cannot be told apart counts as a disk.
/// `backing` is for overlays: whether the files that they name are opened, too.
pub fn open(path: &Path, backing: bool) -> anyhow::Result<Opened> {
    let file = File::open(path).context("opening it")?;
    let kind = file.metadata().context("looking at it")?.file_type();
    if kind.is_dir() {
        bail!("it is a directory");
    }
    if !kind.is_file() && !kind.is_block_device() {
        // Pipes can be read only in order, as initrds are.
        return Ok(Opened::Initrd(Input::File(file)));
    }
    let mut head = [0; HEAD];
    let read = file.read_at(&mut head, 0).context("reading its begin")?;
    let head = head.get(..read).unwrap_or_default();
    if is_initrd(head) || read == 0 && kind.is_file() {
        return Ok(Opened::Initrd(Input::File(file)));
    }
    if head.starts_with(b"MZ") && kind.is_file() {
        let raw = Opening { content: Some(Content::Raw), ..Opening::new(Access::Read) };
        let image = container::open_as(path, raw)?;
        // Boot sectors of hybrid images begin like that, too.
        if Pe::read(&image).is_ok() || gpt::probe(&image).is_empty() {
            return Ok(Opened::Program(image));
        }
    }
    let image = container::open_as(path, Opening { backing, ..Opening::new(Access::Read) });
    Ok(Opened::Disk(image.map_err(|error| match error.advice() {
        Some(advice) => output::advise(error, advice),
        None => error.into(),
    })?))
}

/// Standard input: an initrd is read as it comes, anything else is put into a file first.
pub fn stdin() -> anyhow::Result<Opened> {
    let mut head = Vec::new();
    io::stdin().lock().take(HEAD as u64).read_to_end(&mut head).context("reading standard input")?;
    if is_initrd(&head) || head.len() < HEAD {
        return Ok(Opened::Initrd(Input::Stdin(Cursor::new(head))));
    }
    // Without a name: nothing is left behind, whatever ends us.
    let mut spool = tempfile::tempfile().context("making a file for standard input")?;
    spool.write_all(&head).context("keeping standard input")?;
    let rest = io::stdin().lock().take(MOST_SPOOLED + 1);
    if io::copy(&mut { rest }, &mut spool).context("keeping standard input")? > MOST_SPOOLED {
        bail!("keeping standard input: it has more than {} GiB; give a file's name instead", MOST_SPOOLED >> 30);
    }
    open(Path::new(&format!("/proc/self/fd/{}", spool.as_raw_fd())), false)
}

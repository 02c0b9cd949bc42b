//! Detects the type of a file to inspect: disk image, EFI program or initrd.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::output;
use bootling::disk::container::unpack::{packed_disk, spool_directory, unpack};
use bootling::disk::container::{self, Access, Container, Image, Opening, content::Content};
use bootling::format::compression::Compression;
use bootling::format::pe::Pe;
use bootling::format::{Stream, gpt, newc};

/// A file opened for reading, by type.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Disk image or block device.
    Disk(Image),
    /// PE file: a UKI, a boot loader or a kernel.
    Program(Image),
    /// Initrd or other compressed file.
    Initrd(Input),
}

/// Input that can be read sequentially.
#[derive(Debug)]
pub(crate) enum Input {
    /// File.
    File(File),
    /// Standard input, preceded by these bytes, which were read from it.
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
    /// Returns a sequential reader for the content, whatever its type.
    pub(crate) fn into_read(self) -> Box<dyn Read> {
        match self {
            Self::Disk(image) | Self::Program(image) => Box::new(Stream::new(image)),
            Self::Initrd(input) => Box::new(input),
        }
    }
}

/// Maximum size of standard input copied to a temporary file for random access.
const MOST_SPOOLED: u64 = 2 << 30;
/// Number of bytes needed to tell the types apart.
const HEAD: usize = 8;

fn is_initrd(head: &[u8]) -> bool {
    // Those that cannot be read are reported as such, not as a disk without partitions.
    head.starts_with(b"07070") || Compression::detect(head).reads_segments() || newc::is_unsupported(head)
}

/// Opens `path`, which errors do not name. Unknown types are opened as a disk. `backing`: also open the backing files
/// of an overlay.
pub(crate) fn open(path: &Path, backing: bool) -> anyhow::Result<Opened> {
    open_as(path, path, backing)
}

/// Same as [`open`]; notes contain `name` instead of `path`.
fn open_as(path: &Path, name: &Path, backing: bool) -> anyhow::Result<Opened> {
    let file = File::open(path).context("failed to open")?;
    let kind = file.metadata().context("failed to read the file type")?.file_type();
    if kind.is_dir() {
        bail!("is a directory");
    }
    if !kind.is_file() && !kind.is_block_device() {
        // Pipes can only be read sequentially, which is sufficient for an initrd.
        return Ok(Opened::Initrd(Input::File(file)));
    }
    let mut head = [0; HEAD];
    let read = file.read_at(&mut head, 0).context("failed to read the first bytes")?;
    let head = head.get(..read).unwrap_or_default();
    if let Some(compression) = packed_disk(&file) {
        output::note(&format!("unpacking {} ({compression})", name.display()));
        let directory = spool_directory();
        let unpacked = unpack(&file, compression, &directory)
            .with_context(|| format!("failed to unpack it into {}", directory.display()));
        let unpacked = unpacked.map_err(|error| output::advise(error, "set TMPDIR to use another directory"))?;
        let inner = PathBuf::from(format!("/proc/self/fd/{}", unpacked.as_raw_fd()));
        return open_as(&inner, path, false).context("unpacked content");
    }
    if is_initrd(head) || read == 0 && kind.is_file() {
        return Ok(Opened::Initrd(Input::File(file)));
    }
    if head.starts_with(b"MZ") && kind.is_file() {
        let raw = Opening { content: Some(Content::Raw), ..Opening::new(Access::Read) };
        let image = container::open_as(path, raw)?;
        // The boot sectors of hybrid images also start with "MZ".
        if Pe::read(&image).is_ok() || gpt::probe(&image).is_empty() {
            return Ok(Opened::Program(image));
        }
    }
    let image = container::open_as(path, Opening { backing, foreign: true, ..Opening::new(Access::Read) });
    let image = image.map_err(|error| match error.advice() {
        Some(advice) => output::advise(error, advice),
        None => error.into(),
    })?;
    if let Container::Foreign(format) = image.container() {
        output::note(&format!("reading {} ({format}) through {}", name.display(), container::foreign::PROGRAM));
    }
    Ok(Opened::Disk(image))
}

/// Opens standard input: an initrd is read sequentially, anything else is copied to a temporary file first.
pub(crate) fn stdin() -> anyhow::Result<Opened> {
    let mut head = Vec::new();
    io::stdin().lock().take(HEAD as u64).read_to_end(&mut head).context("failed to read standard input")?;
    if is_initrd(&head) || head.len() < HEAD {
        return Ok(Opened::Initrd(Input::Stdin(Cursor::new(head))));
    }
    // The file has no name, so nothing is left behind if the process is killed.
    let mut spool = tempfile::tempfile().context("failed to create a file for standard input")?;
    spool.write_all(&head).context("failed to store standard input")?;
    let rest = io::stdin().lock().take(MOST_SPOOLED + 1);
    if io::copy(&mut { rest }, &mut spool).context("failed to store standard input")? > MOST_SPOOLED {
        bail!("standard input exceeds {} GiB; use a file instead", MOST_SPOOLED >> 30);
    }
    open(Path::new(&format!("/proc/self/fd/{}", spool.as_raw_fd())), false)
}

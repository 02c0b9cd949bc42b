//! What a file is that is only looked at: a disk in some container, an EFI program, or an initrd.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use anyhow::{Context, bail};

use crate::disk::gpt;
use crate::disk::pe::Pe;
use crate::image::{self, Access, Content, Image, Opening};

/// A file, opened for reading as what it is.
#[derive(Debug)]
pub enum Opened {
    /// A disk image, or a block device.
    Disk(Image),
    /// A PE file: a UKI, a boot loader, a kernel.
    Program(Image),
    /// An initrd, or something else that is compressed.
    Initrd(File),
}

/// How archives and compressed files begin.
const INITRDS: [&[u8]; 6] =
    [b"07070", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"\x02\x21\x4c\x18", b"\x89LZO\0"];

/// Opens `path`. What cannot be told apart counts as a disk.
pub fn open(path: &Path) -> anyhow::Result<Opened> {
    let opening = || format!("opening {}", path.display());
    let file = File::open(path).with_context(opening)?;
    let kind = file.metadata().with_context(opening)?.file_type();
    if kind.is_dir() {
        bail!("opening {}: it is a directory", path.display());
    }
    if !kind.is_file() && !kind.is_block_device() {
        // Pipes can be read only in order, as initrds are.
        return Ok(Opened::Initrd(file));
    }
    let mut head = [0; 8];
    let read = file.read_at(&mut head, 0).with_context(opening)?;
    let head = head.get(..read).unwrap_or_default();
    if INITRDS.iter().any(|magic| head.starts_with(magic)) {
        return Ok(Opened::Initrd(file));
    }
    if head.starts_with(b"MZ") && kind.is_file() {
        let raw = Opening { content: Some(Content::Raw), ..Opening::new(Access::Read) };
        let image = image::open_as(path, raw)?;
        // Boot sectors of hybrid images begin like that, too.
        if Pe::read(&image).is_ok() || gpt::probe(&image).is_empty() {
            return Ok(Opened::Program(image));
        }
    }
    Ok(Opened::Disk(image::open(path, Access::Read)?))
}

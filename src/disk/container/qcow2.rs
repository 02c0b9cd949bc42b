//! qcow2 images, read and written in place by imago, after the checks in `header`.
//!
//! Backing files of an overlay are opened only on request, and read-only: files and block devices only, by the name and
//! format that the overlay declares, without detection. A write changes only the overlay. imago opens no file by
//! itself.

use crate::format::qcow2;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder};

use super::{Access, Opening, lock};
pub(crate) use crate::format::qcow2::HeaderFault;

/// Maximum length of a chain of backing files.
const MOST_LAYERS: usize = 64;

/// Disk in a qcow2 image.
#[derive(Debug)]
pub(crate) struct Disk {
    inside: FormatAccess<Storage>,
    file: File,
    path: PathBuf,
    how: Opening,
    backing: Vec<PathBuf>,
}

/// Reason to refuse an image.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The header was refused.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// Error from imago or the operating system.
    #[error(transparent)]
    Inside(#[from] io::Error),
    /// The image has bitmaps, and write access was requested.
    #[error("image has dirty bitmaps (for incremental backups), which a write would invalidate")]
    Bitmaps,
    /// The image is an overlay, and opening its backing file was not requested.
    #[error("overlay on {}, which is opened only on request", named.display())]
    Overlay {
        /// Backing file, as named in the image.
        named: PathBuf,
    },
    /// A backing file cannot be opened.
    #[error("backing file {}: {what}", path.display())]
    Backing {
        /// Path of the backing file.
        path: PathBuf,
        /// The fault.
        what: String,
    },
}

impl Disk {
    /// Opens the disk in `file`, which was opened from `path`.
    pub(crate) fn open(file: File, path: &Path, how: Opening) -> Result<Self, Qcow2Error> {
        let mut backing = Vec::new();
        let inside = open_with_backing(&file, path, how, &mut backing)?;
        Ok(Self { inside, file, path: path.to_owned(), how, backing })
    }

    /// Returns the size of the disk in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.inside.size()
    }

    /// Returns the backing files, nearest first.
    pub(crate) fn backing(&self) -> &[PathBuf] {
        &self.backing
    }

    /// Writes bytes at `offset` of the disk.
    pub(crate) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inside.write(bytes, offset)
    }

    /// Reads bytes at `offset` of the disk.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inside.read(buffer, offset)
    }

    /// Flushes all writes to stable storage.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.inside.flush()?;
        self.inside.sync()
    }

    /// Opens the same image again, read-only and with empty caches.
    pub(crate) fn reopened(&self) -> Result<Self, Qcow2Error> {
        Self::open(self.file.try_clone()?, &self.path, Opening { access: Access::Read, ..self.how })
    }
}

/// Opens an image and its backing files.
fn open_with_backing(
    file: &File,
    path: &Path,
    how: Opening,
    seen: &mut Vec<PathBuf>,
) -> Result<FormatAccess<Storage>, Qcow2Error> {
    let length = super::length(file)?;
    let header = qcow2::read(file, length)?;
    if header.bitmaps && how.access == Access::Write && !how.force {
        return Err(Qcow2Error::Bitmaps);
    }
    let backing = match header.backing {
        Some(named) if !how.backing => return Err(Qcow2Error::Overlay { named: PathBuf::from(named.name) }),
        Some(named) => Some(open_backing(&named, path, how, seen)?),
        None => None,
    };
    let storage = Storage::try_from(file.try_clone()?)?;
    let image = Qcow2::<Storage>::builder(storage)
        .write(how.access == Access::Write)
        .backing(backing)
        .data_file(None)
        .open(DenyImplicitOpenGate::default())?;
    Ok(FormatAccess::new(image))
}

/// Opens the backing file of an overlay.
fn open_backing(
    named: &qcow2::Backing,
    overlay: &Path,
    how: Opening,
    seen: &mut Vec<PathBuf>,
) -> Result<FormatAccess<Storage>, Qcow2Error> {
    // Relative to the overlay, as in QEMU (`path_combine`).
    let path = overlay.parent().unwrap_or(Path::new("")).join(&named.name);
    let wrong = |what: String| Qcow2Error::Backing { path: path.clone(), what };
    if seen.len() >= MOST_LAYERS {
        return Err(wrong(format!("more than {MOST_LAYERS} backing files")));
    }
    seen.push(path.clone());
    let file = super::open_file(&path, Access::Read, false).map_err(|error| wrong(error.to_string()))?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(wrong("neither a file nor a block device".into()));
    }
    if !how.force && lock::take(&file, Access::Read)?.is_some() {
        return Err(wrong("another process, such as QEMU, has it open for writing".into()));
    }
    match named.format.as_deref() {
        Some("raw") => {
            let raw = Raw::builder(Storage::try_from(file)?).open(DenyImplicitOpenGate::default())?;
            Ok(FormatAccess::new(raw))
        }
        Some("qcow2") => open_with_backing(&file, &path, Opening { access: Access::Read, ..how }, seen).map_err(
            |error| match error {
                Qcow2Error::Backing { .. } | Qcow2Error::Overlay { .. } => error,
                Qcow2Error::Header(_) | Qcow2Error::Inside(_) | Qcow2Error::Bitmaps => wrong(error.to_string()),
            },
        ),
        Some(other) => Err(wrong(format!("declared format {other} is not supported (only raw and qcow2)"))),
        None => Err(wrong("no declared format (`qemu-img rebase -u -F FORMAT -b FILE OVERLAY` sets it)".into())),
    }
}

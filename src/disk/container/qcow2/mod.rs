//! qcow2 images, read and written in place by imago, behind checks of our own.
//!
//! An overlay's backing files are opened only where that is asked for, and for reading alone: by the names and the formats
//! that the overlays give, files and block devices only, never guessed at. Writing changes the overlay alone. imago opens nothing by itself.

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
pub use crate::format::qcow2::HeaderFault;

/// Images one over another; more than anybody has, and too few for trouble.
const MOST_LAYERS: usize = 64;

/// The disk in a qcow2 image.
#[derive(Debug)]
pub struct Disk {
    inside: FormatAccess<Storage>,
    file: File,
    path: PathBuf,
    how: Opening,
    backing: Vec<PathBuf>,
}

/// Why an image is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The image itself.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// What is opened by imago.
    #[error(transparent)]
    Inside(#[from] io::Error),
    /// It has bitmaps, and is to be written.
    #[error("it has dirty bitmaps (of incremental backups), which writing would make worthless")]
    Bitmaps,
    /// It names a file below it, which nobody has asked for.
    #[error("it is an overlay over {}, which is not opened only because an image says so", named.display())]
    Overlay {
        /// What it names.
        named: PathBuf,
    },
    /// An image below it.
    #[error("its backing file {}: {what}", path.display())]
    Backing {
        /// The name, as found.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl Disk {
    /// Opens the disk in `file`, which was opened by `path`.
    pub fn open(file: File, path: &Path, how: Opening) -> Result<Self, Qcow2Error> {
        let mut backing = Vec::new();
        let inside = inside(&file, path, how, &mut backing)?;
        Ok(Self { inside, file, path: path.to_owned(), how, backing })
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.inside.size()
    }

    /// The files below this one, the nearest first.
    pub fn backing(&self) -> &[PathBuf] {
        &self.backing
    }

    /// Writes bytes of the disk.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inside.write(bytes, offset)
    }

    /// Reads bytes of the disk.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inside.read(buffer, offset)
    }

    /// Waits until all is on the disk below.
    pub fn sync(&mut self) -> io::Result<()> {
        self.inside.flush()?;
        self.inside.sync()
    }

    /// The same image opened anew, with nothing remembered of this opening.
    pub fn reopened(&self) -> Result<Self, Qcow2Error> {
        Self::open(self.file.try_clone()?, &self.path, Opening { access: Access::Read, ..self.how })
    }
}

/// Opens an image and all below it.
fn inside(
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
        Some(named) => Some(below(&named, path, how, seen)?),
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

/// Opens what an overlay stands on.
fn below(
    named: &qcow2::Backing,
    overlay: &Path,
    how: Opening,
    seen: &mut Vec<PathBuf>,
) -> Result<FormatAccess<Storage>, Qcow2Error> {
    // Relative to the overlay, as QEMU has it (`path_combine`).
    let path = overlay.parent().unwrap_or(Path::new("")).join(&named.name);
    let wrong = |what: String| Qcow2Error::Backing { path: path.clone(), what };
    if seen.len() >= MOST_LAYERS {
        return Err(wrong(format!("{MOST_LAYERS} images stand one over another by now")));
    }
    seen.push(path.clone());
    let file = super::open_file(&path, Access::Read, false).map_err(|error| wrong(error.to_string()))?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(wrong("it is neither a file nor a block device".into()));
    }
    if !how.force && lock::take(&file, Access::Read)?.is_some() {
        return Err(wrong("somebody writes to it (a QEMU?)".into()));
    }
    match named.format.as_deref() {
        Some("raw") => {
            let raw = Raw::builder(Storage::try_from(file)?).open(DenyImplicitOpenGate::default())?;
            Ok(FormatAccess::new(raw))
        }
        Some("qcow2") => {
            inside(&file, &path, Opening { access: Access::Read, ..how }, seen).map_err(|error| match error {
                Qcow2Error::Backing { .. } | Qcow2Error::Overlay { .. } => error,
                Qcow2Error::Header(_) | Qcow2Error::Inside(_) | Qcow2Error::Bitmaps => wrong(error.to_string()),
            })
        }
        Some(other) => Err(wrong(format!("it is said to be {other}, but only raw and qcow2 can be read here"))),
        None => {
            Err(wrong("nobody says which format it has (`qemu-img rebase -u -F FORMAT -b FILE OVERLAY` does)".into()))
        }
    }
}

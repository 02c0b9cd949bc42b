//! Outputs: files that appear whole or not at all, byte sinks that copy in the kernel, and images as lists of extents.

pub mod extents;
pub mod file;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

pub use self::extents::{ExtentError, Extents, Source, SourceFile};
pub use self::file::Output;

use crate::format::archive_path::ArchivePath;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A source that was there when the plan was made.
    #[error("reading {} for {member}", path.display())]
    Source {
        /// The file on the host.
        path: PathBuf,
        /// The member it is for.
        member: ArchivePath,
        /// What the host said.
        source: io::Error,
    },
    /// A source that has another length than when the plan was made.
    #[error("reading {} for {member}: it had {planned} bytes and now has {found}: it changed while the image was made", path.display())]
    Changed {
        /// The file on the host.
        path: PathBuf,
        /// The member it is for.
        member: ArchivePath,
        /// Its length in the plan.
        planned: u64,
        /// Its length now, or how much of it could be read.
        found: u64,
    },
    /// The output would not take the bytes.
    #[error("writing the archive")]
    Archive(#[source] io::Error),
    /// The output, by name.
    #[error("writing {name}")]
    Output {
        /// What the user called it.
        name: String,
        /// What the host said.
        source: io::Error,
    },
}

impl WriteError {
    /// Says which output it was.
    #[must_use]
    pub fn named(self, output: &str) -> Self {
        match self {
            Self::Archive(source) => Self::Output { name: output.to_owned(), source },
            Self::Source { .. } | Self::Changed { .. } | Self::Output { .. } => self,
        }
    }
}

/// Where an archive goes: a stream of bytes that may know a shorter way for whole files.
pub trait Sink: Write {
    /// Copies up to `len` bytes from `source` without their passing through this process, and says how many.
    /// Zero means that there is no such way here; the caller then reads and writes.
    fn copy_from(&mut self, source: &File, len: u64) -> io::Result<u64> {
        let _ = (source, len);
        Ok(0)
    }
}

impl Sink for Vec<u8> {}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn copy_from(&mut self, source: &File, len: u64) -> io::Result<u64> {
        (**self).copy_from(source, len)
    }
}

impl Sink for File {
    /// `copy_file_range(2)` shares blocks on file systems that can and else copies in the kernel; it refuses to leave the
    /// file system, where `sendfile(2)` goes on. On ext4 and tmpfs both are 10 to 20 percent faster than read and write.
    fn copy_from(&mut self, source: &File, len: u64) -> io::Result<u64> {
        let len = usize::try_from(len.min(1 << 30)).unwrap_or(usize::MAX);
        let copied = rustix::fs::copy_file_range(source, None, &*self, None, len);
        if let Ok(1..) = copied {
            return Ok(copied? as u64);
        }
        // Whatever the reason was, if it is a real one the plain way meets it again and can name it.
        Ok(rustix::fs::sendfile(&*self, source, None, len).map_or(0, |copied| copied as u64))
    }
}

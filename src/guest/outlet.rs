//! Bounded output queue to standard output, standard error or memory that never blocks the session.
//!
//! Inherited descriptors are never made non-blocking, because the flag would be shared with other processes. Pipes and
//! terminals are reopened through `/proc/self/fd`, which creates a separate open file description. If that is not
//! possible, `poll(2)` is called before each write; it reports when a pipe accepts [`PIECE`] bytes without blocking
//! (`pipe(7)`, `PIPE_BUF`). Regular files never block.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};

/// Number of bytes that a writable pipe accepts without blocking.
const PIECE: usize = 4096;
/// Queue length at which the producer must wait.
const FULL: usize = 256 * 1024;

/// Output queue for a descriptor, or a memory buffer.
#[derive(Debug)]
pub(crate) struct Outlet {
    target: Target,
    queue: VecDeque<u8>,
    closed: bool,
}

#[derive(Debug)]
enum Target {
    /// Descriptor, with the maximum size of one write.
    File { file: File, piece: usize },
    /// Memory buffer. Bytes beyond `limit` are dropped.
    Memory { kept: Vec<u8>, limit: usize, cut: bool },
}

/// Content of an outlet into memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captured {
    /// Captured bytes.
    pub(crate) bytes: Vec<u8>,
    /// True if the limit was exceeded.
    pub(crate) cut: bool,
}

impl Outlet {
    /// Creates an output queue for `fd`.
    pub(crate) fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
        let is_file = kind.is_file();
        let own = (kind.is_fifo() || kind.is_char_device()).then(|| open_again(fd));
        let file = match own {
            Some(Ok(file)) => file,
            Some(Err(_)) | None => File::from(fd.try_clone_to_owned()?),
        };
        let piece = if is_file { FULL } else { PIECE };
        Ok(Self { target: Target::File { file, piece }, queue: VecDeque::new(), closed: false })
    }

    /// Creates a memory buffer of `limit` bytes; further bytes are dropped.
    pub(crate) fn memory(limit: usize) -> Self {
        let target = Target::Memory { kept: Vec::new(), limit, cut: false };
        Self { target, queue: VecDeque::new(), closed: false }
    }

    /// Returns the content of the memory buffer; empty for a descriptor.
    pub(crate) fn captured(self) -> Captured {
        match self.target {
            Target::File { .. } => Captured::default(),
            Target::Memory { kept, cut, .. } => Captured { bytes: kept, cut },
        }
    }

    /// Appends bytes; dropped if the reader has closed its end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.target {
            Target::File { .. } if self.closed => {}
            Target::File { .. } => self.queue.extend(bytes),
            Target::Memory { kept, limit, cut } => {
                let room = bytes.len().min(*limit - kept.len());
                kept.extend_from_slice(&bytes[..room]);
                *cut |= room < bytes.len();
            }
        }
    }

    /// Returns true if the producer must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= FULL
    }

    /// Returns true if the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns true if the reader has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes as much as possible without blocking. To be called when `poll` reports the descriptor as writable.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Target::File { file, piece } = &mut self.target else { return Ok(()) };
        while !self.queue.is_empty() {
            if *piece == PIECE && !is_ready(file) {
                return Ok(());
            }
            let (front, _) = self.queue.as_slices();
            match file.write(&front[..front.len().min(*piece)]) {
                Ok(written) => drop(self.queue.drain(..written)),
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                    return Ok(());
                }
                Err(error) => {
                    self.queue.clear();
                    self.closed = true;
                    return if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) };
                }
            }
        }
        Ok(())
    }

    /// Descriptor to poll while data is queued.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.target {
            Target::File { file, .. } if !self.queue.is_empty() => Some(file.as_fd()),
            Target::File { .. } | Target::Memory { .. } => None,
        }
    }
}

/// Returns true if a write of one piece does not block. Errors count as ready: the write then reports them.
fn is_ready(file: &File) -> bool {
    let mut fd = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}

/// Reopens a pipe or terminal, with separate file status flags.
fn open_again(fd: BorrowedFd<'_>) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    File::options().write(true).custom_flags(flags).open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

//! Bytes on their way to our own standard output or error: bounded, and never blocking the conversation.
//!
//! Descriptors we inherit are never made non-blocking, because the flag would be shared with whoever gave them to us:
//! pipes and terminals are opened once more through `/proc/self/fd`, which gives a description of our own. Where that
//! is not possible `poll(2)` is asked before each write, which says when a pipe takes [`PIECE`] bytes without blocking
//! (`pipe(7)`, `PIPE_BUF`). Files always take everything.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fstat};

/// A pipe that polls writable takes this much at once.
const PIECE: usize = 4096;
/// More than this, and whoever fills it should wait.
const FULL: usize = 256 * 1024;

/// A queue in front of a descriptor.
#[derive(Debug)]
pub struct Outlet {
    file: File,
    queue: VecDeque<u8>,
    piece: usize,
    closed: bool,
}

impl Outlet {
    /// A queue in front of `fd`.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
        let is_file = kind.is_file();
        let own = (kind.is_fifo() || kind.is_char_device()).then(|| open_again(fd));
        let file = match own {
            Some(Ok(file)) => file,
            Some(Err(_)) | None => File::from(fd.try_clone_to_owned()?),
        };
        Ok(Self { file, queue: VecDeque::new(), piece: if is_file { FULL } else { PIECE }, closed: false })
    }

    /// Appends bytes; dropped where nobody reads any more.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.closed {
            self.queue.extend(bytes);
        }
    }

    /// Whether whoever fills this should wait.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= FULL
    }

    /// Whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes what can be written now. Call it when `poll` says so.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            if self.piece == PIECE && !self.is_ready() {
                return Ok(());
            }
            let (front, _) = self.queue.as_slices();
            let piece = &front[..front.len().min(self.piece)];
            match self.file.write(piece) {
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
}

impl Outlet {
    /// Whether a piece can be written without waiting, as far as the kernel knows. An error counts: a write tells it.
    fn is_ready(&self) -> bool {
        let mut fd = [PollFd::new(&self.file, PollFlags::OUT)];
        poll(&mut fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
    }
}

/// The same pipe or terminal with flags of its own.
fn open_again(fd: BorrowedFd<'_>) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    File::options().write(true).custom_flags(flags).open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

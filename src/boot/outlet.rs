//! Bytes on their way to our own standard output or error: bounded, and never blocking the conversation.
//!
//! Descriptors we inherit are never made non-blocking, because the flag would be shared with whoever gave them to us.
//! `poll(2)` says when a pipe takes [`PIECE`] bytes without blocking (`pipe(7)`, `PIPE_BUF`); files always do.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, fstat};

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
    /// A queue in front of a copy of `fd`.
    pub fn new(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(fd.try_clone_to_owned()?);
        let is_file = fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
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
            if self.piece == PIECE {
                break;
            }
        }
        Ok(())
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

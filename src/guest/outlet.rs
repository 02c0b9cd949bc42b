//! Bytes on their way to our own standard output or error, or into memory: bounded, and never blocking the conversation.
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

/// A queue in front of a descriptor, or a place in memory.
#[derive(Debug)]
pub struct Outlet {
    target: Target,
    queue: VecDeque<u8>,
    closed: bool,
}

#[derive(Debug)]
enum Target {
    /// Takes this much at once.
    File { file: File, piece: usize },
    /// Takes everything at once, and keeps this much of it.
    Memory { kept: Vec<u8>, limit: usize, cut: bool },
}

/// What an outlet into memory has taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether there were more than it keeps.
    pub cut: bool,
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
        let piece = if is_file { FULL } else { PIECE };
        Ok(Self { target: Target::File { file, piece }, queue: VecDeque::new(), closed: false })
    }

    /// A place in memory for so many bytes; what is more is dropped.
    pub fn memory(limit: usize) -> Self {
        let target = Target::Memory { kept: Vec::new(), limit, cut: false };
        Self { target, queue: VecDeque::new(), closed: false }
    }

    /// What was kept in memory; nothing where it went elsewhere.
    pub fn captured(self) -> Captured {
        match self.target {
            Target::File { .. } => Captured::default(),
            Target::Memory { kept, cut, .. } => Captured { bytes: kept, cut },
        }
    }

    /// Appends bytes; dropped where nobody reads any more.
    pub fn push(&mut self, bytes: &[u8]) {
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

    /// What to poll while something is waiting.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.target {
            Target::File { file, .. } if !self.queue.is_empty() => Some(file.as_fd()),
            Target::File { .. } | Target::Memory { .. } => None,
        }
    }
}

/// Whether a piece can be written without waiting, as far as the kernel knows. An error counts: a write tells it.
fn is_ready(file: &File) -> bool {
    let mut fd = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut fd, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}

/// The same pipe or terminal with flags of its own.
fn open_again(fd: BorrowedFd<'_>) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    File::options().write(true).custom_flags(flags).open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

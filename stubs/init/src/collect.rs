//! Collects files for the host: a child process finds and reads them, process 1 only relays its stream.
//!
//! The child opens regular files only, without blocking, and follows symbolic links to files. What is neither a file nor a
//! directory is reported, not read.

use crate::channel::{Channel, Gone, check};
use crate::file::any_name_in;
use crate::glob;
use crate::job::Job;
use crate::protocol::collect::{HEADER, Kind, MAX_PATH, MAX_RECORD, header};
use crate::protocol::frame::Stream;
use crate::syscall::file::{
    DIRECTORY, Fd, FileKind, NONBLOCKING, POLL_IN, READ_ONLY, Watch, open, pipe, poll, read, set_nonblocking, set_pipe_size,
    status_of, status_of_file, write,
};
use crate::syscall::memory::allocate;
use crate::syscall::process::{exit, fork, kill, reap_all, set_name, signal};
use crate::syscall::{Errno, Result};
use core::ffi::CStr;

/// Size of the pipe between child and process 1.
const PIPE: usize = 256 * 1024;
/// Interval at which process 1 checks a silent child, in nanoseconds, and number of checks before it kills the child: a
/// read of a kernel file may never return.
const LOOK: u64 = 500_000_000;
const LOOKS: u32 = 40;
/// Maximum depth of directories below a request. Each level takes less than 3 KiB of the child's stack.
const DEPTH: usize = 80;
/// Longest name of a file (`NAME_MAX`).
const NAME: usize = 255;

/// Sends the files of a job to the host. Nothing is sent if there are none.
pub fn run(channel: &mut Channel, job: &Job, stack: &mut [u8]) -> core::result::Result<(), Gone> {
    if job.collect_count == 0 || stack.is_empty() {
        return Ok(());
    }
    let Ok((reader, writer)) = pipe() else { return Ok(()) };
    let _ = set_pipe_size(&reader, PIPE);
    let Ok(pid) = fork(signal::CHLD as usize, stack, child, &(job, &writer)) else { return Ok(()) };
    drop(writer);
    // Otherwise the end of the child cannot be awaited.
    if set_nonblocking(&reader).is_err() {
        kill(pid);
        return Ok(());
    }
    let mut silent = 0;
    while silent < LOOKS {
        channel.flush()?;
        match channel.put_output(Stream::Collected, |payload| read(&reader, payload)) {
            Ok(0) => break,
            Ok(_) => silent = 0,
            Err(Errno::AGAIN | Errno::INTR) => {
                let mut watches = [Watch::new(&reader, POLL_IN), channel.watch(false)];
                let _ = poll(&mut watches, Some(LOOK));
                let [files, host] = watches;
                check(host)?;
                silent = if files.ready == 0 { silent + 1 } else { silent };
            }
            Err(_) => break,
        }
    }
    kill(pid);
    channel.flush()?;
    reap_all();
    Ok(())
}

/// Runs in the child, which has its own copy of the memory.
fn child(&(job, output): &(&Job, &Fd)) -> ! {
    set_name(b"collect", b"");
    let (Ok(path), Ok(record)) = (allocate(MAX_PATH + NAME + 2), allocate(HEADER + MAX_RECORD)) else { exit(1) };
    let mut collector = Collector { output, path, len: 0, record, left: job.collect_limit, found: false };
    let sent = job.collected().enumerate().try_for_each(|(number, pattern)| collector.request(number, pattern));
    if matches!(sent, Ok(()) | Err(Stopped::Limit)) {
        let _ = collector.put(Kind::End, &[]);
    }
    exit(0)
}

/// Cause of an early end of a collection.
enum Stopped {
    /// The size limit is reached, which has been reported.
    Limit,
    /// Process 1 does not read the stream any more.
    Closed,
}

type Sent = core::result::Result<(), Stopped>;

/// The child's state.
struct Collector<'a> {
    output: &'a Fd,
    /// The current path, `len` bytes and a NUL.
    path: &'static mut [u8],
    len: usize,
    /// Room for a record.
    record: &'static mut [u8],
    /// Bytes until the limit.
    left: u64,
    /// True if something matches the request.
    found: bool,
}

impl Collector<'_> {
    /// Sends everything that a request matches.
    fn request(&mut self, number: usize, pattern: &[u8]) -> Sent {
        self.put(Kind::Request, &[&(number as u16).to_le_bytes()])?;
        self.found = false;
        self.truncate(0);
        // Names are relative to the directory of the first name with a wildcard; without one, to the path itself.
        let mut fixed = 0;
        for name in pattern.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if glob::is_pattern(name) {
                break;
            }
            fixed += 1 + name.len();
        }
        let is_pattern = glob::is_pattern(pattern);
        let errno = self.expand(pattern, if is_pattern { fixed + 1 } else { usize::MAX }, 0)?;
        if self.found {
            return Ok(());
        }
        self.put(Kind::Missing, &[&errno.code().to_le_bytes()])
    }

    /// Follows the rest of a pattern from the current path. `base`: length of the path before the names that are sent.
    fn expand(&mut self, pattern: &[u8], base: usize, depth: usize) -> core::result::Result<Errno, Stopped> {
        let start = pattern.iter().position(|&byte| byte != b'/').unwrap_or(pattern.len());
        let pattern = pattern.get(start..).unwrap_or_default();
        let end = pattern.iter().position(|&byte| byte == b'/').unwrap_or(pattern.len());
        let (name, rest) = pattern.split_at_checked(end).unwrap_or_default();
        if name.is_empty() || depth > DEPTH {
            return match status_of(self.as_c(), true).or_else(|_| status_of(self.as_c(), false)) {
                Ok(_) => {
                    self.found = true;
                    let base = base.min(self.len);
                    self.entry(base, depth, true).map(|()| Errno(0))
                }
                Err(errno) => Ok(errno),
            };
        }
        let before = self.len;
        if !glob::is_pattern(name) {
            let errno = if self.push(name) { self.expand(rest, base, depth + 1) } else { Ok(Errno::INVAL) };
            self.truncate(before);
            return errno;
        }
        let mut errno = Ok(Errno::NOENT);
        let listed = self.each_name(|this, found| {
            if glob::matches(name, found) && this.push(found) {
                errno = this.expand(rest, base, depth + 1);
                this.truncate(before);
            }
            errno.is_err()
        });
        listed.map_or_else(Ok, |()| errno)
    }

    /// Sends what the current path names. `is_requested`: a symbolic link to a directory is followed.
    fn entry(&mut self, base: usize, depth: usize, is_requested: bool) -> Sent {
        let (mut kind, mut mode) = match status_of(self.as_c(), false) {
            Ok(found) => found,
            Err(errno) => return self.skip(base, errno),
        };
        if kind == FileKind::Link {
            (kind, mode) = match status_of(self.as_c(), true) {
                Ok((FileKind::Directory, _)) if !is_requested => (FileKind::Other, 0),
                Ok(found) => found,
                Err(errno) => return self.skip(base, errno),
            };
        }
        match kind {
            FileKind::Regular => self.file(base),
            FileKind::Directory if depth > DEPTH => self.skip(base, Errno::INVAL),
            FileKind::Directory => {
                self.put_entry(Kind::Directory, &mode.to_le_bytes(), base)?;
                let before = self.len;
                let mut sent = Ok(());
                let listed = self.each_name(|this, name| {
                    if this.push(name) {
                        sent = this.entry(base, depth + 1, false);
                        this.truncate(before);
                    } else {
                        sent = this.skip(base, Errno::INVAL);
                    }
                    sent.is_err()
                });
                listed.map_or_else(|errno| self.skip(base, errno), |()| sent)
            }
            FileKind::Link | FileKind::Other => self.skip(base, Errno(0)),
        }
    }

    /// Sends the file at the current path.
    fn file(&mut self, base: usize) -> Sent {
        let opened = open(self.as_c(), READ_ONLY | NONBLOCKING);
        let file = match opened.and_then(|file| Ok((status_of_file(&file)?, file))) {
            Ok(((FileKind::Regular, mode), file)) => {
                self.put_entry(Kind::File, &mode.to_le_bytes(), base)?;
                file
            }
            Ok(_) => return self.skip(base, Errno(0)),
            Err(errno) => return self.skip(base, errno),
        };
        loop {
            let len = match read(&file, self.record.get_mut(HEADER..).unwrap_or_default()) {
                // A file such as `trace_pipe` has nothing more.
                Ok(0) | Err(Errno::AGAIN) => return self.put(Kind::FileEnd, &[&[0; 4]]),
                Ok(len) => len,
                Err(Errno::INTR) => continue,
                Err(errno) => return self.put(Kind::FileEnd, &[&errno.code().to_le_bytes()]),
            };
            if len as u64 > self.left {
                self.put(Kind::TooLarge, &[])?;
                return Err(Stopped::Limit);
            }
            self.left -= len as u64;
            self.send(Kind::Bytes, len)?;
        }
    }

    /// Reports an entry that is not sent: an error, or something that is neither a file nor a directory.
    fn skip(&mut self, base: usize, errno: Errno) -> Sent {
        self.put_entry(Kind::Skipped, &errno.code().to_le_bytes(), base)
    }

    /// Sends a record with fields and the current path.
    fn put_entry(&mut self, kind: Kind, fields: &[u8], base: usize) -> Sent {
        let mut len = 0;
        let path = self.path.get(base..self.len).unwrap_or_default();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        for (to, &from) in self.record.iter_mut().skip(HEADER).zip(fields.iter().chain(path)) {
            *to = from;
            len += 1;
        }
        self.send(kind, len)
    }

    /// Sends a record.
    fn put(&mut self, kind: Kind, fields: &[&[u8]]) -> Sent {
        let mut len = 0;
        for (to, &from) in self.record.iter_mut().skip(HEADER).zip(fields.iter().copied().flatten()) {
            *to = from;
            len += 1;
        }
        self.send(kind, len)
    }

    /// Sends the record whose payload is in place.
    fn send(&mut self, kind: Kind, len: usize) -> Sent {
        for (to, from) in self.record.iter_mut().zip(header(kind, len as u32)) {
            *to = from;
        }
        let mut rest = self.record.get(..HEADER + len).unwrap_or_default();
        while !rest.is_empty() {
            match write(self.output, rest) {
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Stopped::Closed),
            }
        }
        Ok(())
    }

    /// Calls `visit` for each name in the directory at the current path, until it returns true.
    fn each_name(&mut self, mut visit: impl FnMut(&mut Self, &[u8]) -> bool) -> Result<()> {
        let directory = open(self.as_c(), READ_ONLY | DIRECTORY)?;
        any_name_in(&directory, |name| visit(self, name));
        Ok(())
    }

    fn as_c(&self) -> &CStr {
        if self.len == 0 { c"/" } else { CStr::from_bytes_until_nul(self.path).unwrap_or_default() }
    }

    /// Appends a name to the current path; false if that is too long.
    fn push(&mut self, name: &[u8]) -> bool {
        if self.len + 1 + name.len() > MAX_PATH {
            return false;
        }
        for &byte in b"/".iter().chain(name) {
            if let Some(slot) = self.path.get_mut(self.len) {
                *slot = byte;
                self.len += 1;
            }
        }
        true
    }

    fn truncate(&mut self, len: usize) {
        for slot in self.path.iter_mut().take(self.len).skip(len) {
            *slot = 0;
        }
        self.len = len;
    }
}

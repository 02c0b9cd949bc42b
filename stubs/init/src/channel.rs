//! The control channel: a virtio-serial port or a serial port, and the frames on it.
//!
//! Writes never block: the virtio-serial driver spins with interrupts disabled until the host has consumed the data
//! (`drivers/char/virtio_console.c`, `__send_to_port`), and the host may be blocked in a pager.

use crate::console;
use crate::file;
use crate::path::Path;
use crate::protocol::frame::{HEADER, MAX_PAYLOAD, Stream, ToGuest, ToHost, helper_header};
use crate::protocol::job::PORT_NAME;
use crate::syscall::file::{
    self as files, Fd, NO_TERMINAL, NONBLOCKING, POLL_HANGUP, POLL_IN, POLL_OUT, READ_WRITE, Watch,
};
use crate::syscall::memory::allocate;
use crate::syscall::process::{sleep, uptime};
use crate::syscall::terminal::{self, Termios};
use crate::syscall::{Errno, Result};

/// Time limit for a port to appear after its driver was loaded, in nanoseconds. On a busy host QEMU may not run for seconds.
const PATIENCE: u64 = 20_000_000_000;
/// Polling interval, in nanoseconds.
const NAP: u64 = 200_000;
/// The virtio-serial driver accepts at most this much in one write; a larger frame would need two.
const WRITE: usize = 32 * 1024;
/// A serial port delivers 16 bytes at a time. Inside a frame, wait this long (in nanoseconds) to read more of them at
/// once.
const GATHER: u64 = 1_000_000;
const PORTS: &[u8] = b"/sys/class/virtio-ports/";

/// The host is gone, or sent an invalid frame.
#[derive(Debug, Clone, Copy)]
pub struct Gone;

/// The channel and its buffers.
pub struct Channel {
    file: Fd,
    serial: bool,
    outgoing: Buffer,
    incoming: Buffer,
}

/// A buffer; the bytes from `start` to `end` are pending.
struct Buffer {
    bytes: &'static mut [u8],
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Result<Self> {
        Ok(Self { bytes: allocate(HEADER + MAX_PAYLOAD)?, start: 0, end: 0 })
    }

    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.start >= self.end
    }

    /// Removes bytes from the front.
    fn consume(&mut self, len: usize) {
        self.start += len;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves pending bytes to the front and returns the free space after them.
    fn room(&mut self) -> &mut [u8] {
        if self.start > 0
            && let Some(used) = self.bytes.get_mut(..self.end)
            && self.start <= used.len()
        {
            used.copy_within(self.start.., 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }
}

impl Channel {
    /// Opens the channel named in the job.
    pub fn open(name: &[u8]) -> Result<Self> {
        let serial = name != b"virtio";
        let file = if serial { open_serial(name)? } else { open_port(PORT_NAME.as_bytes())? };
        Ok(Self { file, serial, outgoing: Buffer::new()?, incoming: Buffer::new()? })
    }

    /// Returns the credit for standard input. A terminal buffers 4095 bytes and drops the rest.
    pub fn window(&self) -> u32 {
        if self.serial { 8 * 1024 } else { 64 * 1024 }
    }

    /// Returns true if the next frame can be put in.
    pub fn is_clear(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Puts a frame into the channel, which must be clear.
    pub fn put(&mut self, message: &ToHost<'_>) {
        self.outgoing.start = 0;
        self.outgoing.end = message.encode(self.outgoing.bytes);
    }

    /// Puts an output frame into the channel, which must be clear; `read` fills the payload in place. Returns the
    /// result of `read`.
    pub fn put_output(&mut self, stream: Stream, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        self.put_in_place(|len| stream.header(len), read)
    }

    /// Puts a message of a helper into the channel, which must be clear; `read` fills it in place. Returns the result of
    /// `read`.
    pub fn put_message(&mut self, id: u32, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        self.put_in_place(|len| helper_header(id, len), read)
    }

    /// Puts a frame into the channel: the header for a length, and what `read` returns, unless that is empty.
    fn put_in_place<const N: usize>(
        &mut self,
        header: impl FnOnce(u16) -> [u8; N],
        read: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        let Some((place, payload)) = self.outgoing.bytes.get_mut(..WRITE).and_then(<[u8]>::split_first_chunk_mut::<N>)
        else {
            return Err(Errno::INVAL);
        };
        let len = read(payload)?;
        if len > 0 {
            *place = header(len as u16);
            (self.outgoing.start, self.outgoing.end) = (0, N + len);
        }
        Ok(len)
    }

    /// Sends as much as possible without blocking.
    pub fn push(&mut self) -> core::result::Result<(), Gone> {
        while !self.outgoing.is_empty() {
            match files::write(&self.file, self.outgoing.waiting()) {
                Ok(len) => self.outgoing.consume(len),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Sends everything; blocks.
    pub fn flush(&mut self) -> core::result::Result<(), Gone> {
        loop {
            self.push()?;
            if self.is_clear() {
                return Ok(());
            }
            let mut watch = [self.watch(false)];
            let _ = files::poll(&mut watch, None);
            check(watch[0])?;
        }
    }

    /// Sends a frame after all pending data; blocks.
    pub fn send(&mut self, message: &ToHost<'_>) -> core::result::Result<(), Gone> {
        self.flush()?;
        self.put(message);
        self.flush()
    }

    /// Returns the events to poll for: room for outgoing data and, if `incoming`, received data.
    pub fn watch(&self, incoming: bool) -> Watch {
        let out = if self.is_clear() { 0 } else { POLL_OUT };
        Watch::new(&self.file, out | if incoming { POLL_IN } else { 0 })
    }

    /// Receives available data without blocking.
    pub fn pull(&mut self) -> core::result::Result<(), Gone> {
        if self.serial && !self.incoming.is_empty() {
            sleep(GATHER);
        }
        let room = self.incoming.room();
        if room.is_empty() {
            return Ok(());
        }
        match files::read(&self.file, room) {
            Ok(0) => Err(Gone),
            Ok(len) => {
                self.incoming.end += len;
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Passes received frames to `take`, until it refuses one, which is kept.
    pub fn drain(&mut self, mut take: impl FnMut(ToGuest<'_>) -> bool) -> core::result::Result<(), Gone> {
        loop {
            match ToGuest::decode(self.incoming.waiting()) {
                Ok(Some((message, len))) => {
                    if !take(message) {
                        return Ok(());
                    }
                    self.incoming.consume(len);
                }
                Ok(None) => return Ok(()),
                Err(_) => {
                    console::say(b"invalid frame from the host");
                    return Err(Gone);
                }
            }
        }
    }

    /// Waits for a frame that `take` accepts; sends pending data meanwhile.
    pub fn wait(&mut self, mut take: impl FnMut(ToGuest<'_>) -> bool) -> core::result::Result<(), Gone> {
        loop {
            let mut found = false;
            self.drain(|message| {
                let go_on = !found;
                found = found || take(message);
                go_on
            })?;
            if found {
                return Ok(());
            }
            self.push()?;
            let mut watch = [self.watch(true)];
            let _ = files::poll(&mut watch, None);
            check(watch[0])?;
            self.pull()?;
        }
    }

    /// Waits until a serial port has sent everything.
    pub fn settle(&self) {
        if self.serial {
            let _ = terminal::drain(&self.file);
        }
    }
}

/// Detects a hangup without pending input: the host is gone.
pub fn check(watch: Watch) -> core::result::Result<(), Gone> {
    if watch.ready & POLL_HANGUP != 0 && watch.ready & POLL_IN == 0 { Err(Gone) } else { Ok(()) }
}

fn open_serial(name: &[u8]) -> Result<Fd> {
    let path = Path::join(&[b"/dev/", name]).ok_or(Errno::INVAL)?;
    let file = files::open(path.as_c(), READ_WRITE | NO_TERMINAL | NONBLOCKING)?;
    terminal::set_termios(&file, &Termios::raw())?;
    Ok(file)
}

/// Opens the virtio-serial port of this name. The driver receives port names from the host after it was loaded,
/// so both appear with a delay.
pub fn open_port(wanted: &[u8]) -> Result<Fd> {
    let begun = uptime();
    loop {
        let mut port = None;
        file::any_name(c"/sys/class/virtio-ports", |name| {
            if is_named(name, wanted) {
                port = Some(open_node(name));
            }
            port.is_some()
        });
        match port {
            // The driver reports a hangup until the host has opened its side.
            Some(Ok(file)) if is_connected(&file) => return Ok(file),
            Some(Err(errno)) => return Err(errno),
            Some(Ok(_)) | None => {}
        }
        if uptime().saturating_sub(begun) > PATIENCE {
            return Err(Errno::TIMEDOUT);
        }
        sleep(NAP);
    }
}

fn is_connected(file: &Fd) -> bool {
    let mut watch = [Watch::new(file, POLL_OUT)];
    files::poll(&mut watch, None).is_ok() && watch[0].ready & POLL_HANGUP == 0
}

fn is_named(port: &[u8], wanted: &[u8]) -> bool {
    let mut buffer = [0; 64];
    Path::join(&[PORTS, port, b"/name"])
        .is_some_and(|path| file::read_start(path.as_c(), &mut buffer).trim_ascii() == wanted)
}

fn open_node(port: &[u8]) -> Result<Fd> {
    let path = Path::join(&[b"/dev/", port]).ok_or(Errno::INVAL)?;
    let opened = files::open(path.as_c(), READ_WRITE | NONBLOCKING);
    if !matches!(opened, Err(Errno::NOENT)) {
        return opened;
    }
    // Without devtmpfs, create the node; sysfs has its numbers as MAJOR:MINOR.
    let mut buffer = [0; 32];
    let numbers = Path::join(&[PORTS, port, b"/dev"]).ok_or(Errno::INVAL)?;
    let mut numbers = file::read_start(numbers.as_c(), &mut buffer).split(|&byte| byte == b':');
    let mut next = || numbers.next().and_then(file::number).ok_or(Errno::NOENT);
    files::make_device(path.as_c(), 0o600, next()? as usize, next()? as usize)?;
    files::open(path.as_c(), READ_WRITE | NONBLOCKING)
}

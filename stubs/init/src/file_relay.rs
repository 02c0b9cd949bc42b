//! The relay of the shares: a process that copies whole messages between the kernel (`/dev/fuse`, one file per share) and the
//! host's file server (a virtio-serial port). See [`crate::protocol::files`].
//!
//! It ends with the connection to the host. Its end aborts all requests that still wait for an answer.

use crate::protocol::files::{GREETING, HEADER, Header, MAX_MESSAGE, MAX_SHARES, greeting};
use crate::syscall::file::{
    Fd, POLL_HANGUP, POLL_IN, POLL_OUT, Watch, poll, read, set_nonblocking, write,
};
use crate::syscall::memory::allocate;
use crate::syscall::process::{exit, set_name, uptime};
use crate::syscall::{Errno, Result};

/// The virtio-serial driver accepts at most this much in one write.
const WRITE: usize = 32 * 1024;

/// Open files that the relay inherits.
pub struct Relay<'a> {
    pub devices: &'a [Option<Fd>; MAX_SHARES],
    pub port: &'a Fd,
    pub mounts: &'a Fd,
}

/// A message buffer; the bytes from `start` to `end` are pending.
struct Buffer {
    bytes: &'static mut [u8],
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Result<Self> {
        Ok(Self { bytes: allocate(HEADER + MAX_MESSAGE)?, start: 0, end: 0 })
    }

    fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// Runs in the relay's process.
pub fn run(relay: &Relay<'_>) -> ! {
    set_name(b"files", b"");
    let _ = relay.serve();
    exit(0)
}

impl Relay<'_> {
    fn serve(&self) -> Result<()> {
        set_nonblocking(self.mounts)?;
        let (mut outgoing, mut incoming) = (Buffer::new()?, Buffer::new()?);
        // No two relays of a guest start at the same time.
        let greeting = greeting(uptime());
        if let Some(place) = outgoing.bytes.first_chunk_mut() {
            *place = greeting;
            outgoing.end = GREETING;
        }
        let mut is_synchronized = false;
        let mut is_mounted = [false; MAX_SHARES];
        let mut next = 0;
        loop {
            let mut watches = [Watch::NOTHING; 2 + MAX_SHARES];
            let [port, mounts, devices @ ..] = &mut watches;
            let is_clear = outgoing.is_empty();
            *port = Watch::new(self.port, POLL_IN | if is_clear { 0 } else { POLL_OUT });
            *mounts = Watch::new(self.mounts, POLL_IN);
            for ((watch, device), is_mounted) in devices.iter_mut().zip(self.devices).zip(is_mounted) {
                if let Some(device) = device
                    && is_mounted
                    && is_clear
                {
                    *watch = Watch::new(device, POLL_IN);
                }
            }
            match poll(&mut watches, None) {
                Ok(()) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let [port, mounts, devices @ ..] = watches;
            if port.ready & POLL_HANGUP != 0 && port.ready & POLL_IN == 0 {
                return Ok(());
            }
            if mounts.ready & POLL_IN != 0 {
                let mut numbers = [0; MAX_SHARES];
                let len = read(self.mounts, &mut numbers).unwrap_or(0);
                for &number in numbers.get(..len).unwrap_or_default() {
                    if let Some(slot) = is_mounted.get_mut(usize::from(number)) {
                        *slot = true;
                    }
                }
            }
            if port.ready & POLL_IN != 0 {
                self.receive(&mut incoming, &greeting, &mut is_synchronized)?;
            }
            if outgoing.is_empty() {
                // In turn: one busy share must not starve the others.
                for step in 0..MAX_SHARES {
                    let number = (next + step) % MAX_SHARES;
                    if devices.get(number).is_some_and(|watch| watch.ready != 0) {
                        next = number + 1;
                        if !self.take_request(number, &mut outgoing)? {
                            // Unmounted.
                            if let Some(slot) = is_mounted.get_mut(number) {
                                *slot = false;
                            }
                        }
                        break;
                    }
                }
            }
            self.push(&mut outgoing)?;
        }
    }

    /// Reads a request of the kernel. Returns false if the share is not mounted any more.
    fn take_request(&self, number: usize, outgoing: &mut Buffer) -> Result<bool> {
        let Some(Some(device)) = self.devices.get(number) else { return Ok(false) };
        let Some((header, message)) = outgoing.bytes.split_first_chunk_mut::<HEADER>() else {
            return Err(Errno::NOMEM);
        };
        match read(device, message) {
            Ok(len) => {
                *header = Header { share: number as u8, len: len as u32 }.encode();
                (outgoing.start, outgoing.end) = (0, HEADER + len);
                Ok(true)
            }
            // The request was interrupted before it was read.
            Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Sends as much as possible without blocking.
    fn push(&self, outgoing: &mut Buffer) -> Result<()> {
        while !outgoing.is_empty() {
            let end = outgoing.end.min(outgoing.start + WRITE);
            match write(self.port, outgoing.bytes.get(outgoing.start..end).unwrap_or_default()) {
                Ok(len) => outgoing.start += len,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Receives what is available, and passes complete replies to the kernel.
    fn receive(
        &self,
        incoming: &mut Buffer,
        greeting: &[u8; GREETING],
        is_synchronized: &mut bool,
    ) -> Result<()> {
        loop {
            // Never more than one message, so that nothing has to be moved.
            let wanted = if *is_synchronized { wanted(incoming)? } else { GREETING };
            let place = incoming.bytes.get_mut(incoming.end..wanted).ok_or(Errno::INVAL)?;
            match read(self.port, place) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(len) => incoming.end += len,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
            if incoming.end < wanted {
                continue;
            }
            if !*is_synchronized {
                *is_synchronized = incoming.bytes.starts_with(greeting);
                // Skips a byte of what was sent to an earlier command.
                incoming.end = if *is_synchronized { 0 } else { GREETING - 1 };
                if let Some(start) = incoming.bytes.first_chunk_mut::<GREETING>() {
                    start.copy_within(1.., 0);
                }
            } else if incoming.end > HEADER {
                self.reply(incoming);
                incoming.end = 0;
            }
        }
    }

    /// Passes a reply to the kernel. It refuses those to requests that were interrupted.
    fn reply(&self, incoming: &Buffer) {
        if let Some((header, message)) = incoming.bytes.get(..incoming.end).and_then(<[u8]>::split_first_chunk)
            && let Some(Header { share, .. }) = Header::decode(*header)
            && let Some(Some(device)) = self.devices.get(usize::from(share))
        {
            let _ = write(device, message);
        }
    }
}

/// Returns how many bytes must be in the buffer for the next step: a header, or a whole message.
fn wanted(incoming: &Buffer) -> Result<usize> {
    match incoming.bytes.get(..incoming.end).and_then(<[u8]>::first_chunk) {
        Some(header) => Ok(HEADER + Header::decode(*header).ok_or(Errno::INVAL)?.len as usize),
        None => Ok(HEADER),
    }
}

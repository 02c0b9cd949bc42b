//! Helpers: processes that talk to the host. They connect to a socket, and process 1 only relays their messages, each of
//! which is one packet and one frame.
//!
//! A helper that does not read its messages is disconnected, so that it never blocks process 1.

use crate::channel::{Channel, Gone};
use crate::mounts::set_modprobe;
use crate::protocol::frame::ToHost;
use crate::syscall::Errno;
use crate::syscall::file::{Fd, POLL_IN, Watch, read, remove, write};
use crate::syscall::socket::{accept, listen};

/// Path of the socket. Only root can use it: the directory has mode 0700.
pub const SOCKET: &[u8] = b"/.bootling/helpers";
/// The program that the kernel runs to load a module: this one, independent of the root directory. `modprobe` knows
/// this name.
const MODPROBE: &[u8] = b"/proc/1/exe\n";
/// The kernel's default.
const DEFAULT_MODPROBE: &[u8] = b"/sbin/modprobe\n";
/// Maximum number of simultaneous helpers; others wait for a connection. A module may request another one while it is loaded.
const SLOTS: usize = 8;
/// Number of files to poll.
pub const WATCHES: usize = 1 + SLOTS;

/// The socket and its connections.
#[derive(Default)]
pub struct Helpers {
    listener: Option<Fd>,
    slots: [Slot; SLOTS],
    /// Number of the last helper.
    last: u32,
    /// True if the kernel runs this program to load modules.
    loads_modules: bool,
}

#[derive(Default)]
enum Slot {
    #[default]
    Free,
    Open {
        id: u32,
        socket: Fd,
    },
    /// The host does not know of the end yet.
    Ended {
        id: u32,
    },
}

impl Helpers {
    /// Creates the socket. A kernel without local sockets has no helpers.
    pub fn open() -> Self {
        // A used initrd has one.
        let _ = remove(c"/.bootling/helpers");
        Self { listener: listen(SOCKET).ok(), ..Self::default() }
    }

    /// Makes the kernel run this program to load modules, or its default program.
    ///
    /// Until the next call of [`Helpers::serve`], process 1 must do nothing that could request a module.
    pub fn load_modules(&mut self, wanted: bool) {
        let wanted = wanted && self.listener.is_some();
        if wanted != self.loads_modules {
            set_modprobe(if wanted { MODPROBE } else { DEFAULT_MODPROBE });
            self.loads_modules = wanted;
        }
    }

    /// Fills in the files to poll. `clear`: messages can be sent to the host.
    pub fn watch(&self, clear: bool, watches: &mut [Watch]) {
        let Some((first, rest)) = watches.split_first_mut() else { return };
        let has_room = self.slots.iter().any(|slot| matches!(slot, Slot::Free));
        if let Some(listener) = self.listener.as_ref().filter(|_| has_room) {
            *first = Watch::new(listener, POLL_IN);
        }
        for (watch, slot) in rest.iter_mut().zip(&self.slots) {
            if let Slot::Open { socket, .. } = slot
                && clear
            {
                *watch = Watch::new(socket, POLL_IN);
            }
        }
    }

    /// Accepts connections, and sends messages to the host.
    pub fn serve(&mut self, channel: &mut Channel, ready: &[Watch]) -> Result<(), Gone> {
        let Some((first, rest)) = ready.split_first() else { return Ok(()) };
        for (slot, watch) in self.slots.iter_mut().zip(rest) {
            if let Slot::Open { id, socket } = slot
                && watch.ready != 0
                && channel.is_clear()
            {
                let id = *id;
                match channel.put_message(id, |message| read(socket, message)) {
                    Ok(1..) => channel.push()?,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Ok(0) | Err(_) => *slot = Slot::Ended { id },
                }
            }
            if let Slot::Ended { id } = *slot
                && channel.is_clear()
            {
                channel.put(&ToHost::Helper { id, message: b"" });
                channel.push()?;
                *slot = Slot::Free;
            }
        }
        if first.ready != 0
            && let Some(listener) = &self.listener
            && let Some(slot) = self.slots.iter_mut().find(|slot| matches!(slot, Slot::Free))
            && let Ok(socket) = accept(listener)
        {
            self.last = self.last.wrapping_add(1);
            *slot = Slot::Open { id: self.last, socket };
        }
        Ok(())
    }

    /// Passes a message of the host to a helper.
    pub fn deliver(&mut self, to: u32, message: &[u8]) {
        for slot in &mut self.slots {
            if let Slot::Open { id, socket } = slot
                && *id == to
                && write(socket, message).is_err()
            {
                *slot = Slot::Ended { id: to };
            }
        }
    }

    /// Disconnects all helpers, without a message to the host.
    pub fn end_all(&mut self) {
        self.slots = Default::default();
    }
}

//! The boot sector's code: a 16-bit stub and the message it shows to whoever boots an EFI-only disk by legacy BIOS.
//!
//! The stub is assembled from `stubs/bootsector/` into `assets/` (`make stubs`); here the message is checked, packed
//! and put behind it, and the code that already stands on a disk is told apart. Code and message share the 440 bytes
//! that come before a disk's signature; nothing behind them is ours.

pub mod cp437;
mod message;
mod ours;
mod pack;
mod preset;
mod recognise;

pub use message::{MOST_COLUMNS, MOST_ROWS, Message, MessageError};
pub use ours::decode_message;
pub use preset::Preset;
pub use recognise::{Found, is_byebyebios_whole, recognise};

use super::mbr::BOOT_CODE;

/// What the stub does once the message is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// Halts, interrupts on: Ctrl-Alt-Del still works.
    #[default]
    Halt,
    /// Says so, waits for a key, then restarts the machine.
    KeyReboot,
    /// Leaves the message for five seconds, then asks the BIOS for the next boot device (int 18h); halts if there is
    /// none.
    NextDevice,
}

/// Why a message does not become boot code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootCodeError {
    /// Packed, it is longer than what the stub leaves.
    #[error("fitting the message into the boot sector: it is {over} bytes too long (packed, {room} bytes have room)")]
    TooLong {
        /// Bytes that have no room.
        over: usize,
        /// Bytes that have.
        room: usize,
    },
    /// With the line that the stub's ending adds, its top would scroll away.
    #[error(
        "fitting the message onto the screen: it has {rows} rows, and with the prompt for a key {most} are the most"
    )]
    TooTall {
        /// Rows of the message.
        rows: usize,
        /// Rows it may have.
        most: usize,
    },
}

impl Then {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Halt, Self::KeyReboot, Self::NextDevice];

    /// The stub's code, behind which the message stands.
    pub const fn code(self) -> &'static [u8] {
        match self {
            Self::Halt => include_bytes!("../../../assets/bootsector-halt.bin"),
            Self::KeyReboot => include_bytes!("../../../assets/bootsector-key-reboot.bin"),
            Self::NextDevice => include_bytes!("../../../assets/bootsector-next-device.bin"),
        }
    }

    /// What is said below the message, since the message's author cannot know: code page 437, a blank row before it.
    const fn prompt(self) -> &'static [u8] {
        match self {
            Self::KeyReboot => b"\r\n  Press any key to restart.\r\n",
            Self::Halt | Self::NextDevice => b"",
        }
    }
}

/// The 440 bytes: stub, packed message, zeros.
pub fn boot_code(message: &Message, then: Then) -> Result<[u8; BOOT_CODE], BootCodeError> {
    let (stub, packed) = (then.code(), fit(message, then)?);
    let mut code = [0; BOOT_CODE];
    code[..stub.len()].copy_from_slice(stub);
    code[stub.len()..stub.len() + packed.len()].copy_from_slice(&packed);
    Ok(code)
}

/// Bytes between stub and signature.
const fn room(then: Then) -> usize {
    BOOT_CODE - then.code().len()
}

/// All that the stub shows, packed, if there is room for it.
fn fit(message: &Message, then: Then) -> Result<Vec<u8>, BootCodeError> {
    let packed = pack::pack(&shown(message, then)?);
    let room = room(then);
    if packed.len() > room {
        return Err(BootCodeError::TooLong { over: packed.len() - room, room });
    }
    Ok(packed)
}

/// All that the stub shows.
fn shown(message: &Message, then: Then) -> Result<Vec<u8>, BootCodeError> {
    let prompt = then.prompt();
    let most = MOST_ROWS - message::rows(prompt);
    if message.rows() > most {
        return Err(BootCodeError::TooTall { rows: message.rows(), most });
    }
    Ok([message.bytes(), prompt].concat())
}

#[cfg(test)]
mod tests;

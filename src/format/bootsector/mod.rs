//! Boot sector code: a 16-bit stub, and the message that it shows when an EFI-only disk is booted by legacy BIOS.
//!
//! The stub is assembled from `stubs/bootsector/` into `assets/` (`make stubs`). This module checks and packs the
//! message, appends it to the stub, and detects existing boot code on a disk. Stub and message share the 440 bytes in
//! front of the disk signature; the bytes after them are never written.

pub(crate) mod cp437;
pub(crate) mod detect;
pub(crate) mod message;
pub(crate) mod pack;
pub(crate) mod preset;
pub(crate) mod stub;

pub use self::detect::{Found, is_byebyebios_whole, recognise};
pub use self::message::{MOST_COLUMNS, MOST_ROWS, Message, MessageError};
pub use self::preset::Preset;
pub use self::stub::decode_message;

use super::mbr::BOOT_CODE;

/// Action of the stub after it has shown the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// Halts with interrupts enabled: Ctrl-Alt-Del still works.
    #[default]
    Halt,
    /// Prompts for a key, then restarts the machine.
    KeyReboot,
    /// Leaves the message for five seconds, then asks the BIOS for the next boot device (int 18h); halts if there is
    /// none.
    NextDevice,
}

/// Reason why a message does not fit in the boot sector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootCodeError {
    /// The packed message is too long.
    #[error("message is {over} bytes too long for the boot sector (limit: {room} bytes packed)")]
    TooLong {
        /// Excess bytes.
        over: usize,
        /// Available bytes.
        room: usize,
    },
    /// With the prompt of the stub, the first rows would scroll off the screen.
    #[error("message does not fit on the screen: {rows} rows, maximum {most} with the prompt for a key")]
    TooTall {
        /// Rows of the message.
        rows: usize,
        /// Maximum rows.
        most: usize,
    },
}

impl Then {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Halt, Self::KeyReboot, Self::NextDevice];

    /// Returns the stub; the message follows it.
    pub const fn code(self) -> &'static [u8] {
        match self {
            Self::Halt => include_bytes!("../../../assets/bootsector-halt.bin"),
            Self::KeyReboot => include_bytes!("../../../assets/bootsector-key-reboot.bin"),
            Self::NextDevice => include_bytes!("../../../assets/bootsector-next-device.bin"),
        }
    }

    /// Returns the prompt that follows the message, in code page 437, with an empty row in front of it.
    const fn prompt(self) -> &'static [u8] {
        match self {
            Self::KeyReboot => b"\r\n  Press any key to restart.\r\n",
            Self::Halt | Self::NextDevice => b"",
        }
    }
}

/// Returns the 440 bytes of boot code: stub, packed message, zeros.
pub fn boot_code(message: &Message, then: Then) -> Result<[u8; BOOT_CODE], BootCodeError> {
    let (stub, packed) = (then.code(), fit(message, then)?);
    let mut code = [0; BOOT_CODE];
    code[..stub.len()].copy_from_slice(stub);
    code[stub.len()..stub.len() + packed.len()].copy_from_slice(&packed);
    Ok(code)
}

/// Returns the number of bytes between stub and disk signature.
const fn room(then: Then) -> usize {
    BOOT_CODE - then.code().len()
}

/// Packs message and prompt; fails if they do not fit.
fn fit(message: &Message, then: Then) -> Result<Vec<u8>, BootCodeError> {
    let packed = pack::pack(&shown(message, then)?);
    let room = room(then);
    if packed.len() > room {
        return Err(BootCodeError::TooLong { over: packed.len() - room, room });
    }
    Ok(packed)
}

/// Returns message and prompt, as the stub shows them.
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

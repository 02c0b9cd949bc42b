//! Boot sector code: a 16-bit stub, and the message that it shows when an EFI-only disk is booted by legacy BIOS.
//!
//! The stub is assembled from `stubs/bootsector/` into `assets/` (`make stubs`). This module checks and packs the
//! message, appends it to the stub, and detects existing boot code on a disk. Stub and message share the 440 bytes in
//! front of the disk signature. A message that is too long when packed follows a smaller stub unchanged (`plain`);
//! only [`boot_area`] may use the bytes of the disk signature, too.

pub(crate) mod cp437;
pub(crate) mod detect;
pub(crate) mod message;
pub(crate) mod pack;
pub(crate) mod plain;
pub(crate) mod preset;
pub(crate) mod stub;

pub use self::detect::{Found, is_byebyebios_whole, recognize};
pub use self::message::{MOST_COLUMNS, MOST_ROWS, Message, MessageError};
pub use self::preset::Preset;
pub use self::stub::decode_message;

use super::mbr::{BOOT_AREA, BOOT_CODE};

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
    /// The message is too long, packed or not.
    #[error(
        "message is {over} bytes too long for the boot sector (limit: {room} bytes packed{})",
        plain.map_or_else(String::new, |plain| format!(", or {plain} bytes unpacked"))
    )]
    TooLong {
        /// Excess bytes of the shorter form.
        over: usize,
        /// Available bytes for the packed message.
        room: usize,
        /// Available bytes for the unpacked message, if the smaller stub can be used.
        plain: Option<usize>,
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

/// Returns the 440 bytes of boot code: stub, message, zeros. The message is packed unless it then does not fit.
pub fn boot_code(message: &Message, then: Then) -> Result<[u8; BOOT_CODE], BootCodeError> {
    Ok(padded(&fit(message, then, BOOT_CODE)?))
}

/// Returns the 446 bytes in front of the partition records. Uses the last 6, the disk signature, only for a message
/// that does not fit in 440 bytes; otherwise they are zero.
pub fn boot_area(message: &Message) -> Result<[u8; BOOT_AREA], BootCodeError> {
    let code = fit(message, Then::Halt, BOOT_CODE).or_else(|_| fit(message, Then::Halt, BOOT_AREA))?;
    Ok(padded(&code))
}

fn padded<const SIZE: usize>(code: &[u8]) -> [u8; SIZE] {
    let mut all = [0; SIZE];
    all[..code.len()].copy_from_slice(code);
    all
}

/// Returns true for boot code that writes each byte of its message to the screen and to the serial port. Firmware that
/// mirrors the screen shows each character twice there.
pub fn is_shown_twice(code: &[u8]) -> bool {
    plain::is_plain(code)
}

/// Returns stub and message in at most `limit` bytes.
fn fit(message: &Message, then: Then, limit: usize) -> Result<Vec<u8>, BootCodeError> {
    let (stub, shown) = (then.code(), shown(message, then)?);
    let room = limit - stub.len();
    let packed = pack::pack(&shown);
    if let Some(packed) = packed.as_ref().filter(|packed| packed.len() <= room) {
        return Ok([stub, packed].concat());
    }
    // The smaller stub can only halt.
    let plain = (then == Then::Halt).then(|| plain::room(limit));
    if let Some(code) = plain.and_then(|_| plain::encode(&shown, limit)) {
        return Ok(code);
    }
    let over = |length: usize, room: usize| length.saturating_sub(room);
    let overs = [packed.map(|packed| over(packed.len(), room)), plain.map(|room| over(shown.len(), room))];
    let over = overs.into_iter().flatten().min().unwrap_or_else(|| over(shown.len(), room));
    Err(BootCodeError::TooLong { over, room, plain })
}

/// Returns message and prompt, as the stub shows them.
fn shown(message: &Message, then: Then) -> Result<Vec<u8>, BootCodeError> {
    let prompt = then.prompt();
    let most = MOST_ROWS - message::rows(prompt);
    if !prompt.is_empty() && message.rows() > most {
        return Err(BootCodeError::TooTall { rows: message.rows(), most });
    }
    Ok([message.bytes(), prompt].concat())
}

#[cfg(test)]
mod tests;

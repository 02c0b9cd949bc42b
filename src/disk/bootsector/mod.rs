//! The boot sector's code: a 16-bit stub and the message it shows to whoever boots an EFI-only disk by legacy BIOS.
//!
//! The stub is assembled from `stubs/bootsector/` into `assets/`; here the message is put behind it, and the code that
//! already stands on a disk is told apart.

use super::mbr::BOOT_CODE;

/// What the stub does once the message is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// Halts, interrupts on: Ctrl-Alt-Del still works.
    #[default]
    Halt,
    /// Waits for a key, then restarts the machine.
    KeyReboot,
    /// Asks the BIOS for the next boot device (int 18h).
    NextDevice,
}

/// A message as the screen shows it: code page 437, lines ended by CR LF, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message(Vec<u8>);

/// Why there is no boot code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootCodeError {
    /// Not built yet.
    #[error("assembling the boot sector: not built yet")]
    NotYet,
}

/// Boot code that is already on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All zero.
    Nothing,
    /// Ours.
    Ours,
    /// The ancestor's, byebyebios.
    Byebyebios,
    /// Somebody's boot loader, by name: `GRUB`, `syslinux`, `Windows`.
    Loader(&'static str),
    /// Something that is not known.
    Unknown,
}

impl Message {
    /// The message where none is given.
    pub fn standard() -> Self {
        Self(b"This disk starts by UEFI only.\r\n".to_vec())
    }
}

/// The 440 bytes: stub, options, message.
pub fn boot_code(message: &Message, then: Then) -> Result<[u8; BOOT_CODE], BootCodeError> {
    let _ = (&message.0, then);
    Err(BootCodeError::NotYet)
}

/// Whose code stands on a disk.
pub fn recognise(code: &[u8; BOOT_CODE]) -> Found {
    if code.iter().all(|byte| *byte == 0) { Found::Nothing } else { Found::Unknown }
}

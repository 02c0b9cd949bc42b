//! Screen content of a guest: text from the VGA adapter's memory, or a picture.
//!
//! The adapter's registers determine whether it is in text mode, the number of columns, and the start address. The
//! monitor reads them while the machine is stopped, and restores the index registers, so that the guest does not notice
//! (QEMU `hmp-commands.hx`, `i` and `o`). Registers: IBM VGA, as in QEMU's `hw/display/vga.c`.

pub(crate) mod cp437;
pub(crate) mod picture;
mod reader;
pub(crate) mod registers;

pub(crate) use self::reader::ScreenReader;
pub use self::reader::{ScreenContent, ScreenRequest};

//! What a guest's screen shows: text read back from the VGA adapter's memory, or a picture.
//!
//! The adapter's own registers say whether it shows text, how wide, and from where in its memory on: the monitor reads
//! them while the machine stands still, and puts the index registers back, so that the guest never sees it (QEMU
//! `hmp-commands.hx`, `i` and `o`). Registers: IBM VGA, as in QEMU's `hw/display/vga.c`.

pub mod cp437;
pub mod look;
pub mod picture;
pub mod registers;

pub use self::look::{Look, Progress, Seen, Wanted};
pub use self::picture::{Picture, PictureError};

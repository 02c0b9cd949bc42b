//! Boots an image and records a transcript: QEMU command line, process, session with pid 1.
//!
//! [`machine`] converts a boot specification to a machine configuration, [`argv`] builds the command line, [`guest`]
//! starts QEMU, [`session`] communicates with the guest, [`transcript`] is the result.

pub mod argv;
pub mod console;
pub mod drive;
pub mod expect;
pub mod firmware;
pub mod guest;
pub mod hang;
pub mod kvm;
pub mod machine;
pub mod named;
pub mod outlet;
pub mod plain;
pub mod process;
pub mod qemu;
mod qmp;
pub mod screen;
pub mod session;
pub mod shell;
pub mod signals;
pub mod snapshot;
mod talk;
pub mod terminal;
pub mod transcript;
pub mod unpack;

//! From an image and a boot spec to a transcript: the QEMU command line, the process, the conversation with pid 1.
//!
//! [`machine`] turns what was asked for into what will run, [`argv`] writes it down, [`guest`] starts it,
//! [`session`] talks with it, [`transcript`] is what comes out.

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

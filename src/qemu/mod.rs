//! From an image and a boot spec to a transcript: the QEMU command line, the process, the conversation with pid 1.
//!
//! [`machine`] turns what was asked for into what will run, [`argv`] writes it down, [`guest`] starts it,
//! [`session`] talks with it, [`transcript`] is what comes out.

pub mod spec;

pub mod argv;
pub mod drive;
pub mod firmware;
pub mod kvm;
pub mod machine;
pub mod named;
pub mod program;
pub mod qmp;

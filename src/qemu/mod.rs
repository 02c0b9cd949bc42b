//! Boots an image and records a transcript: QEMU command line, process, session with pid 1.
//!
//! [`machine`] converts a boot specification to a machine configuration, [`argv`] builds the command line, [`guest`]
//! starts QEMU, [`session`] communicates with the guest, [`transcript`] is the result.

pub mod spec;

pub mod argv;
pub mod drive;
pub mod firmware;
pub mod kvm;
pub mod machine;
pub mod named;
pub mod program;
pub mod qmp;

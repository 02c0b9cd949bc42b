//! Directories of the host in the guest: `--share` and `--root`.
//!
//! The guest's kernel speaks FUSE. pid 1 mounts the directories and relays the kernel's messages over a virtio-serial port
//! (`format::protocol::files`); a thread of bootling answers them, with the protocol of the crate `fuse-backend-rs`. QEMU
//! opens no file of the host.

mod builder;
pub(super) mod image;
mod inodes;
mod listing;
mod operations;
pub mod report;
pub(crate) mod server;
pub mod shares;
mod tree;

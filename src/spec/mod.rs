//! What the user means, before anything is looked at: plain values, no IO.

mod archive_path;
mod boot;
mod initrd;

pub use archive_path::{ArchivePath, PATH_MAX};
pub use boot::{Accel, BootSpec, ConsoleTo, FirmwareRef, KernelRef};
pub use initrd::{Copy, InitrdSpec, ModuleRequest, RunWhat};

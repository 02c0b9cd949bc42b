//! What the user means, before anything is looked at: plain values, no IO.

pub mod amount;
mod archive_path;
mod boot;
mod disk;
mod initrd;
mod request;
pub mod test;

pub use archive_path::{ArchivePath, PATH_MAX};
pub use boot::{Accel, BootSpec, ConsoleTo, FirmwareRef};
pub use disk::{DiskSpec, Format, RootFileSystem, RootSpec};
pub use initrd::{InitrdSpec, RunWhat};
pub use request::{Copy, KernelRef, ModuleRequest};

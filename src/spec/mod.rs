//! User input as plain values, before any resolution and without any I/O.

pub mod amount;
mod archive_path;
mod boot;
mod disk;
mod initrd;
pub mod test;

pub use archive_path::{ArchivePath, PATH_MAX};
pub use boot::{Accel, BootSpec, ConsoleTo, FirmwareRef, KernelRef};
pub use disk::{DiskSpec, Format, RootFileSystem, RootSpec};
pub use initrd::{Copy, InitrdSpec, ModuleRequest, RunWhat};

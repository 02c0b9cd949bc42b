//! The window: memory of a virtual PCI device through which a guest that is up already gets what it is to run.
//!
//! The device is QEMU's `ivshmem-plain` (`docs/specs/ivshmem-spec.txt`). No driver takes part: pid 1 maps the second region
//! of memory through sysfs. What is put there is an archive like an initrd (newc, not compressed), from the first byte on;
//! [`super::frame::ToGuest::Renew`] says how long it is.

/// What sysfs calls the device's vendor.
pub const VENDOR: &[u8] = b"0x1af4";
/// What sysfs calls the device.
pub const DEVICE: &[u8] = b"0x1110";
/// What the window begins with until the first archive is put there: machines may have other devices of the kind.
pub const MAGIC: &[u8; 16] = b"bootling window\n";

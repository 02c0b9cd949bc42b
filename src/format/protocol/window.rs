//! The window: a shared-memory PCI device that carries a payload into a running guest.
//!
//! The device is QEMU's `ivshmem-plain` (`docs/specs/ivshmem-spec.txt`). It needs no driver: pid 1 maps BAR 2 through
//! sysfs. The payload starts at offset 0 and is an uncompressed newc archive; [`super::frame::ToGuest::Renew`] contains
//! its length.

/// PCI vendor ID, as in sysfs.
pub const VENDOR: &[u8] = b"0x1af4";
/// PCI device ID, as in sysfs.
pub const DEVICE: &[u8] = b"0x1110";
/// First bytes of the window until the first payload is written: the machine may have other ivshmem devices.
pub const MAGIC: &[u8; 16] = b"bootling window\n";

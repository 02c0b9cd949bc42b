//! Devices that a run adds to its machine: disks, a network interface, and a port for directories of the host. Requests
//! are as typed by the user; devices have all their properties determined.

pub mod disk;
pub mod files;
pub mod net;
mod option;

use self::disk::Disk;
use self::net::Net;

/// Devices of a machine, as requested and checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Disks, in order.
    pub disks: Vec<Disk>,
    /// The network interface.
    pub net: Option<Net>,
    /// True for a virtio-serial port for directories of the host. Which directories only the host knows.
    pub files: bool,
}

impl Devices {
    /// Returns the devices without the properties that only the host sees, for the key of a snapshot.
    pub(crate) fn as_seen_by_guest(&self) -> Self {
        let net = self.net.clone().map(Net::without_ports);
        Self { disks: self.disks.clone(), net, files: self.files }
    }

    /// Returns true if a disk image may be written to.
    pub(crate) fn has_writable_image(&self) -> bool {
        self.disks.iter().any(Disk::is_writable_image)
    }
}

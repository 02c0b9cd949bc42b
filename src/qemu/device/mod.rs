//! Devices that a run adds to its machine: disks and a network interface. Requests are as typed by the user; devices
//! have all their properties determined.

pub mod disk;
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
}

impl Devices {
    /// Returns the devices without the properties that only the host sees, for the key of a snapshot.
    pub(crate) fn as_seen_by_guest(&self) -> Self {
        let net = self.net.clone().map(Net::without_ports);
        Self { disks: self.disks.clone(), net }
    }

    /// Returns true if a disk image may be written to.
    pub(crate) fn has_writable_image(&self) -> bool {
        self.disks.iter().any(Disk::is_writable_image)
    }
}

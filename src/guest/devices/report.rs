//! Disks and network interface of a run, as `--json` reports them.

use serde::{Deserialize, Serialize};

use crate::format::SectorSize;
use crate::qemu::device::Devices;
use crate::qemu::device::disk::{Disk, DiskSource, Writes};
use crate::qemu::device::net::{Net, Publish};

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Link in the guest.
    pub link: String,
    /// The image; `None`: a scratch disk.
    pub path: Option<String>,
    /// `virtio`, `nvme`, `scsi` or `ide`.
    pub bus: String,
    /// Serial number.
    pub serial: String,
    /// Image format.
    pub format: String,
    /// Capacity in bytes, if it is known.
    pub bytes: Option<u64>,
    /// Logical sector size.
    pub sector: u32,
    /// True if the guest's writes change the image.
    pub writable: bool,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetReport {
    /// The backend, as for QEMU's `-netdev`.
    pub backend: String,
    /// Published ports: `127.0.0.1:8080:80`.
    pub publish: Vec<String>,
}

impl DiskReport {
    /// Reports the disks of a machine.
    pub(in crate::guest) fn of(devices: &Devices) -> Vec<Self> {
        devices.disks.iter().map(Self::new).collect()
    }

    fn new(disk: &Disk) -> Self {
        let path = match &disk.request.source {
            DiskSource::Scratch(_) => None,
            DiskSource::Image { path, .. } => Some(path.display().to_string()),
        };
        let writable = matches!(disk.request.source, DiskSource::Image { writes: Writes::Kept, .. });
        Self {
            link: format!("/dev/disk/by-id/{}", disk.link()),
            path,
            bus: disk.request.bus.name().to_owned(),
            serial: disk.serial.clone(),
            format: disk.format.name().to_owned(),
            bytes: disk.bytes,
            sector: match disk.request.sector {
                SectorSize::S512 => 512,
                SectorSize::S4096 => 4096,
            },
            writable,
        }
    }
}

impl NetReport {
    /// Reports the network interface of a machine.
    pub(in crate::guest) fn of(devices: &Devices) -> Option<Self> {
        let net: &Net = devices.net.as_ref()?;
        Some(Self { backend: net.backend_text(), publish: net.publish.iter().map(Publish::to_string).collect() })
    }
}

//! The host's side of devices: images and ports, checked before QEMU starts and opened for each start.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::DeviceError;
use crate::disk::container::unpack::spool_directory;
use crate::qemu::device::Devices;
use crate::qemu::device::disk::{Disk, DiskBus, DiskRequest, DiskSource, Writes, identities};
use crate::qemu::device::files::Support;
use crate::qemu::device::net::{Backend, Net, NetRequest, Protocol, Publish};
use crate::qemu::drive::{Format, Image, identify};
use crate::qemu::machine_type::{MachineType, VirtioBus};
use crate::qemu::spec::BootSpec;
use crate::sys::is_locked;

/// Bytes of an image that QEMU locks while it writes to it, and while it allows no other writer (`block/file-posix.c`).
const LOCKS: [i64; 2] = [101, 201];

/// Checks the requested devices of a machine.
pub(in crate::guest) fn devices(spec: &BootSpec, machine: &OsStr) -> Result<Devices, DeviceError> {
    let row = MachineType::of(machine);
    let name = || machine.to_string_lossy().split(',').next().unwrap_or_default().to_owned();
    let mut disks: Vec<Disk> = Vec::new();
    let mut images = HashMap::new();
    for (request, serial, namespace) in identities(&spec.disks) {
        let disk = request.to_string();
        let virtio = match (request.bus, row.virtio) {
            (DiskBus::Virtio | DiskBus::Scsi | DiskBus::Nvme, Some(VirtioBus::Pci)) => VirtioBus::Pci,
            (DiskBus::Ide, Some(VirtioBus::Pci)) if row.ide_driver.is_some() => VirtioBus::Pci,
            (DiskBus::Virtio | DiskBus::Scsi, Some(VirtioBus::Mmio)) => VirtioBus::Mmio,
            (bus, _) => return Err(DeviceError::Bus { disk, bus: bus.name(), machine: name() }),
        };
        let is_twin =
            |other: &Disk| other.serial == serial && (other.request.bus, request.bus) != (DiskBus::Nvme, DiskBus::Nvme);
        if disks.iter().any(is_twin) {
            return Err(DeviceError::Serial { disk, serial });
        }
        let (format, bytes) = match &request.source {
            DiskSource::Scratch(bytes) => (Format::Raw, Some(*bytes)),
            DiskSource::Image { path, writes } => {
                let file = open_image(request, path, *writes)?;
                let metadata = file.metadata().map_err(|source| opening(request, path, source))?;
                let other = images.insert((metadata.dev(), metadata.ino()), *writes);
                if other.is_some_and(|other| other == Writes::Kept || *writes == Writes::Kept) {
                    return Err(in_use(request, path, "another disk of this guest"));
                }
                check_image(request, path, &file)?
            }
        };
        disks.push(Disk { request: request.clone(), serial, format, namespace, bytes, virtio });
    }
    let files = spec.files.needs() != Support::Nothing;
    Ok(Devices { disks, net: net(spec, row, name)?, files })
}

/// Checks the requested network interface.
fn net(spec: &BootSpec, row: &MachineType, name: impl FnOnce() -> String) -> Result<Option<Net>, DeviceError> {
    let Some(NetRequest { backend, mac, publish }) = spec.net.clone() else { return Ok(None) };
    if let Some(first) = publish.first().filter(|_| !matches!(backend, Some(Backend::User(_)))) {
        return Err(DeviceError::NotUser(first.to_string()));
    }
    let Some(backend) = backend else { return Ok(None) };
    let Some(virtio) = row.virtio else { return Err(DeviceError::NetBus(name())) };
    Ok(Some(Net { backend, mac, publish: bound(&publish)?, virtio }))
}

/// A port of the host that is bound while the others are checked, so that none is chosen twice.
enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Checks that the ports are free, and chooses those that the user left open.
fn bound(publish: &[Publish]) -> Result<Vec<Publish>, DeviceError> {
    let bind = |publish: &Publish| -> io::Result<(Publish, Bound)> {
        let bound = match publish.protocol {
            Protocol::Tcp => Bound::Tcp(TcpListener::bind(publish.host)?),
            Protocol::Udp => Bound::Udp(UdpSocket::bind(publish.host)?),
        };
        let host = match &bound {
            Bound::Tcp(listener) => listener.local_addr()?,
            Bound::Udp(socket) => socket.local_addr()?,
        };
        Ok((Publish { host, ..*publish }, bound))
    };
    let bind = |publish: &Publish| {
        let (address, text) = (publish.host, publish.to_string());
        bind(publish).map_err(|source| DeviceError::Port { publish: text, address, source })
    };
    let bound: Vec<(Publish, Bound)> = publish.iter().map(bind).collect::<Result<_, _>>()?;
    Ok(bound.into_iter().map(|(publish, _)| publish).collect())
}

/// Returns a note for each port that was chosen because the user left it open.
pub(in crate::guest) fn port_notes<'a>(spec: &'a BootSpec, devices: &'a Devices) -> impl Iterator<Item = String> + 'a {
    let requested = spec.net.iter().flat_map(|net| &net.publish);
    let published = devices.net.iter().flat_map(|net| &net.publish);
    let chosen = requested.zip(published).filter(|(requested, _)| requested.host.port() == 0);
    chosen.map(|(_, Publish { host, guest, protocol })| {
        format!("{} port {guest} of the guest is published on {host}", protocol.name().to_uppercase())
    })
}

/// Opens an image with the access that QEMU needs.
fn open_image(request: &DiskRequest, path: &Path, writes: Writes) -> Result<File, DeviceError> {
    let failed = |source| opening(request, path, source);
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(DeviceError::Kind { disk: request.to_string(), path: path.to_owned() });
    }
    let is_kept = writes == Writes::Kept;
    // Fails if a block device is mounted.
    let exclusive = if is_kept && kind.is_block_device() { libc::O_EXCL } else { 0 };
    let file = OpenOptions::new().read(true).write(is_kept).custom_flags(exclusive).open(path);
    match file {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            Err(in_use(request, path, "the host, as a mounted disk"))
        }
        other => other.map_err(failed),
    }
}

/// Checks an open image. Returns its format, and its capacity if it can be read.
fn check_image(request: &DiskRequest, path: &Path, mut file: &File) -> Result<(Format, Option<u64>), DeviceError> {
    let disk = || request.to_string();
    let failed = |source| opening(request, path, source);
    let is_kept = matches!(request.source, DiskSource::Image { writes: Writes::Kept, .. });
    // A writer excludes all other users; a reader excludes writers.
    let locks = if is_kept { &LOCKS[..] } else { &LOCKS[..1] };
    for at in locks {
        if is_locked(file, *at).map_err(failed)? {
            return Err(in_use(request, path, "another program"));
        }
    }
    let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let format = if request.format == Some(Format::Raw) {
        Format::Raw
    } else {
        match identify(file, len, false).map_err(|source| DeviceError::Image { disk: disk(), source })? {
            Image::Drive { format, .. } => format,
            Image::Compressed(compression) => {
                return Err(DeviceError::Compressed { disk: disk(), compression: compression.to_string() });
            }
        }
    };
    if let Some(expected) = request.format.filter(|expected| *expected != format) {
        return Err(DeviceError::Format { disk: disk(), expected, found: format });
    }
    let bytes = match format {
        Format::Raw => Some(len),
        Format::Qcow2 => {
            let mut size = [0; 8];
            file.read_exact_at(&mut size, 24).map_err(failed)?;
            Some(u64::from_be_bytes(size))
        }
        Format::Vmdk | Format::Vpc | Format::Vhdx | Format::Vdi => None,
    };
    let sector = request.sector.length();
    match bytes {
        Some(bytes) if bytes == 0 || bytes % sector as u64 != 0 => {
            Err(DeviceError::Size { disk: disk(), path: path.to_owned(), bytes, sector })
        }
        bytes => Ok((format, bytes)),
    }
}

fn opening(request: &DiskRequest, path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Open { disk: request.to_string(), path: path.to_owned(), source }
}

fn in_use(request: &DiskRequest, path: &Path, user: &'static str) -> DeviceError {
    DeviceError::InUse { disk: request.to_string(), path: path.to_owned(), user }
}

/// Opens the disks of a machine for QEMU. Scratch disks are new unnamed files.
pub(in crate::guest) fn open_disks(devices: &Devices) -> io::Result<Vec<OwnedFd>> {
    let open = |disk: &Disk| -> io::Result<OwnedFd> {
        match &disk.request.source {
            DiskSource::Scratch(bytes) => {
                let file = tempfile::tempfile_in(spool_directory())?;
                file.set_len(*bytes)?;
                Ok(file.into())
            }
            DiskSource::Image { path, writes } => {
                Ok(File::options().read(true).write(*writes == Writes::Kept).open(path)?.into())
            }
        }
    };
    let named = |disk: &Disk| {
        open(disk).map_err(|error| io::Error::new(error.kind(), format!("--disk {}: {error}", disk.request)))
    };
    devices.disks.iter().map(named).collect()
}

/// Returns the name of a disk's image, for a command line that is printed.
pub(in crate::guest) fn named_image(disk: &Disk) -> Result<OsString, DeviceError> {
    match &disk.request.source {
        DiskSource::Scratch(_) => Err(DeviceError::Unnamed(disk.request.to_string())),
        DiskSource::Image { path, .. } => Ok(std::path::absolute(path).unwrap_or_else(|_| path.clone()).into()),
    }
}

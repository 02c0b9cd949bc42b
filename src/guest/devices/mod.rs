//! Devices that a run adds to its machine, on both sides: files and ports of the host, and what pid 1 does with them.

pub(crate) mod error;
pub(super) mod host;
pub mod report;

use std::net::Ipv4Addr;

use self::error::DeviceError;
use super::VmError;
use super::compose::{BuildContext, Composition};
use super::files::image::image_path;
use crate::format::archive_path::ArchivePath;
use crate::initrd::job::ModuleToLoad;
use crate::qemu::device::disk::{DiskBus, identities};
use crate::qemu::device::files::Support;
use crate::qemu::device::net::{Backend, NAME_SERVER, record};
use crate::qemu::machine_type::{MachineType, VirtioBus};
use crate::qemu::spec::BootSpec;
use crate::root::fact::{Content, Fact, Node, Why};
use crate::root::modules::{self, ModuleLoad};
use crate::root::request::ModuleRequest;

/// File of the guest with its name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Actions of pid 1 for the devices of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GuestDevices {
    /// Drivers, each with the option that needs it.
    drivers: Vec<(String, &'static str)>,
    /// Disks to wait for.
    disks: Vec<String>,
    /// The network interface.
    network: Option<Vec<u8>>,
}

impl GuestDevices {
    /// The devices of a machine.
    pub(super) fn of(spec: &BootSpec) -> Self {
        // The default machines have PCI; one without IDE is refused.
        let machine = MachineType::of(spec.machine.as_deref().unwrap_or_default());
        let transport = match machine.virtio {
            Some(VirtioBus::Mmio) => "virtio_mmio",
            Some(VirtioBus::Pci) | None => "virtio_pci",
        };
        let mut found = Self::default();
        for disk in &spec.disks {
            let drivers: &[&'static str] = match disk.bus {
                DiskBus::Virtio => &[transport, "virtio_blk"],
                DiskBus::Nvme => &["nvme"],
                DiskBus::Scsi => &[transport, "virtio_scsi", "sd_mod"],
                DiskBus::Ide => &[machine.ide_driver.unwrap_or("ahci"), "sd_mod"],
            };
            found.need(&format!("--disk {disk}"), drivers);
        }
        found.disks = identities(&spec.disks)
            .map(|(disk, serial, namespace)| format!("{} {serial} {namespace}", disk.bus.name()))
            .collect();
        if let Some(backend) = spec.net.as_ref().and_then(|net| net.backend.as_ref()) {
            found.need("--net", &[transport, "virtio_net"]);
            found.network = Some(record(backend));
        }
        match spec.files.needs() {
            Support::Nothing => {}
            Support::Shares => found.need("--share", &["fuse"]),
            Support::Root => found.need("--root", &["fuse", "overlay"]),
        }
        found
    }

    fn need(&mut self, option: &str, drivers: &[&'static str]) {
        for driver in drivers {
            if self.drivers.iter().all(|(_, known)| known != driver) {
                self.drivers.push((option.to_owned(), driver));
            }
        }
    }

    /// Adds the drivers, and the devices that pid 1 waits for, to an initrd that boots.
    pub(super) fn add_to_boot(&self, composition: &mut Composition, context: BuildContext<'_>) -> Result<(), VmError> {
        self.add_to_command(composition);
        composition.job.network.clone_from(&self.network);
        let BuildContext { root, kernel, tables } = context;
        // The drivers of a kernel without a directory of modules are built in, or the devices do not appear.
        if kernel.modules.is_none() {
            return Ok(());
        }
        for (option, driver) in &self.drivers {
            let request = ModuleRequest { name: (*driver).into(), params: <_>::default() };
            let found = modules::resolve(root, kernel, tables, &[request], &[]);
            let found = found.map_err(|source| DeviceError::Driver {
                option: option.clone(),
                driver,
                source: Box::new(source),
            })?;
            composition.facts.extend(found.facts);
            composition.notes.extend(found.notes);
            for ModuleLoad { path, params, need, .. } in found.loads {
                if composition.job.modules.iter().all(|known| known.path != path) {
                    composition.job.modules.push(ModuleToLoad { path, params, need });
                }
            }
        }
        Ok(())
    }

    /// Adds the disks that pid 1 waits for to a command's job.
    pub(super) fn add_to_command(&self, composition: &mut Composition) {
        composition.job.disks.clone_from(&self.disks);
    }
}

/// Adds the name server of a user-mode network, unless the image has one.
pub(super) fn add_name_server(composition: &mut Composition, spec: &BootSpec) {
    let path = if spec.files.root.is_some() { image_path(RESOLV_CONF) } else { ArchivePath::new(RESOLV_CONF) };
    let is_user = matches!(spec.net.as_ref().and_then(|net| net.backend.as_ref()), Some(Backend::User(_)));
    if is_user && composition.facts.iter().all(|fact| fact.path != path) {
        let server: Ipv4Addr = NAME_SERVER;
        let content = Content::Bytes(format!("nameserver {server}\n").into_bytes().into());
        let node = Node::File { mode: 0o644, content, hardlink: None };
        composition.facts.push(Fact { path, node, why: Why::Base });
    }
}

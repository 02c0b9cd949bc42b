//! The host side of a machine: QEMU, accelerator and firmware, looked up once; and the function that assembles a
//! [`Machine`].

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::devices::error::DeviceError;
use super::devices::host;
use super::{Listener, VmError};
use crate::arch::Arch;
use crate::cache::Cache;
use crate::qemu::device::net::Backend;
use crate::qemu::firmware::{self, Firmware};
use crate::qemu::kvm;
use crate::qemu::machine::{
    Accelerator, Display, Machine, choose_accelerator, command_line, extra_arguments, machine_for, memory_for,
};
use crate::qemu::machine_type::Transport;
use crate::qemu::program::Qemu;
use crate::qemu::spec::BootSpec;
use crate::root::kernel::{ImageKind, Kernel};

/// Memory of a machine that boots a disk, MiB: sufficient for installers.
const DISK_MEMORY_MIB: u64 = 2048;

/// QEMU, the accelerator, the machine type and the firmware.
#[derive(Debug, Clone)]
pub(super) struct Platform {
    /// The architecture of its guests.
    arch: Arch,
    /// The program.
    pub(super) qemu: Qemu,
    /// The accelerator.
    pub(super) accelerator: Accelerator,
    /// Reason why KVM is not used, unless TCG was requested.
    no_kvm: Option<String>,
    /// The machine type.
    pub(super) machine: OsString,
    /// The firmware.
    pub(super) firmware: Firmware,
}

/// Parts of the boot that the configuration of a machine depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Boots {
    /// A kernel with an initrd.
    Linux {
        /// Size of the initrd in bytes.
        initrd_len: u64,
        /// The channel of its pid 1.
        transport: Transport,
    },
    /// A disk.
    Disk {
        /// The graphics adapter.
        display: Display,
    },
}

impl Platform {
    /// Finds the requested or default QEMU, accelerator, machine type and firmware for guests of `arch`.
    pub(super) fn find(
        spec: &BootSpec,
        arch: Arch,
        cache: &Cache,
        listener: &mut dyn Listener,
    ) -> Result<Self, VmError> {
        let qemu = Qemu::find(spec.qemu.as_deref(), arch, Some(cache))?;
        let is_user = matches!(spec.net.as_ref().and_then(|net| net.backend.as_ref()), Some(Backend::User(_)));
        if is_user && !qemu.has_slirp(cache) {
            return Err(DeviceError::NoSlirp(qemu.path).into());
        }
        let (accelerator, no_kvm) = choose_accelerator(spec.accel, arch, kvm::probe)?;
        if let Some(why) = &no_kvm {
            listener.note(&format!("using TCG: {why}"));
        }
        let machine = spec.machine.clone().unwrap_or_else(|| arch.default_machine().into());
        // A machine without a bus is reported here, before a check of the kernel's configuration can report something
        // misleading.
        host::devices(spec, &machine)?;
        let firmware = firmware::find(&spec.firmware, spec.firmware_vars.as_deref(), arch, &machine, &qemu)?;
        Ok(Self { arch, qemu, accelerator, no_kvm, machine, firmware })
    }

    /// Fails if the firmware cannot start this kernel.
    pub(super) fn check_kernel(&self, kernel: &Kernel) -> Result<(), VmError> {
        match (&self.firmware, kernel.kind) {
            (Firmware::Direct, _) | (Firmware::Bios(_), ImageKind::BzImage | ImageKind::Arm64 | ImageKind::Absent) => {
                Ok(())
            }
            (Firmware::Uefi(_), ImageKind::BzImage | ImageKind::Arm64 | ImageKind::Absent) => {
                let is_pe = starts_as_pe(&kernel.image).map_err(VmError::io("read", kernel.origin.as_str()))?;
                if is_pe { Ok(()) } else { Err(VmError::NoEfiStub { origin: kernel.origin.clone() }) }
            }
            (Firmware::Bios(_) | Firmware::Uefi(_), ImageKind::VmlinuxPvh) => {
                Err(VmError::VmlinuxByFirmware { origin: kernel.origin.clone() })
            }
        }
    }

    /// Assembles the machine.
    pub(super) fn machine(&self, spec: &BootSpec, boots: Boots) -> Result<Machine, VmError> {
        let (memory_mib, command_line, display, transport) = match boots {
            Boots::Linux { initrd_len, transport } => {
                let memory_mib = memory_for(spec.memory_mib, initrd_len)?;
                (memory_mib, command_line(spec, self.arch, self.accelerator)?, Display::None, transport)
            }
            Boots::Disk { display } => {
                (spec.memory_mib.unwrap_or(DISK_MEMORY_MIB), OsString::new(), display, Transport::None)
            }
        };
        Ok(Machine {
            arch: self.arch,
            qemu: self.qemu.clone(),
            accelerator: self.accelerator,
            no_kvm: self.no_kvm.clone(),
            machine: machine_for(self.machine.clone(), &self.firmware),
            firmware: self.firmware.clone(),
            display,
            cpu: spec.cpu.clone().unwrap_or_else(|| self.accelerator.default_cpu(self.arch).into()),
            smp: spec.smp.clone(),
            memory_mib,
            command_line,
            devices: host::devices(spec, &self.machine)?,
            extra: extra_arguments(&spec.qemu_args)?,
            transport,
        })
    }
}

/// True if a file starts with the PE/COFF magic `MZ`.
fn starts_as_pe(path: &Path) -> std::io::Result<bool> {
    let mut magic = [0; 2];
    File::open(path)?.read_exact(&mut magic)?;
    Ok(magic == *b"MZ")
}

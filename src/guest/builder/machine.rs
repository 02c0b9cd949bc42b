//! Options of a guest's machine.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Builder;
use crate::qemu::device::net::{NetRequest, Publish};
use crate::qemu::spec::{Accel, FirmwareRef};

impl Builder {
    /// The QEMU program: a path, or a name on `PATH`. Default: the one for the guest's architecture.
    #[must_use]
    pub fn qemu(mut self, program: impl Into<PathBuf>) -> Self {
        self.spec.boot.qemu = Some(program.into());
        self
    }

    /// The accelerator. Default: KVM if it works, else TCG.
    #[must_use]
    pub fn accel(mut self, accel: Accel) -> Self {
        self.spec.boot.accel = accel;
        self
    }

    /// QEMU's CPU model. Default: `host` with KVM, `max` with TCG.
    #[must_use]
    pub fn cpu(mut self, model: impl Into<OsString>) -> Self {
        self.spec.boot.cpu = Some(model.into());
        self
    }

    /// Number of virtual CPUs. Default: 1.
    #[must_use]
    pub fn smp(mut self, cpus: u32) -> Self {
        self.spec.boot.smp = Some(cpus.to_string().into());
        self
    }

    /// Guest memory, MiB. Default: 1024, or more if the files need it.
    #[must_use]
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.spec.boot.memory_mib = Some(mib);
        self
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn append(mut self, words: impl Into<OsString>) -> Self {
        self.spec.boot.append.push(words.into());
        self
    }

    /// Whether to check the kernel's configuration for the options that guests need before QEMU starts. Default: true.
    #[must_use]
    pub fn preflight(mut self, check: bool) -> Self {
        self.spec.boot.preflight = check;
        self
    }

    /// QEMU's machine type with its properties, such as `pc` or `q35,smm=off`.
    #[must_use]
    pub fn machine(mut self, machine: impl Into<OsString>) -> Self {
        self.spec.boot.machine = Some(machine.into());
        self
    }

    /// The firmware. Default: none, QEMU starts the kernel directly.
    #[must_use]
    pub fn firmware(mut self, firmware: FirmwareRef) -> Self {
        self.spec.boot.firmware = firmware;
        self
    }

    /// Initial UEFI variables: a file, which is copied. Default: the template that belongs to the firmware.
    #[must_use]
    pub fn firmware_vars(mut self, file: impl Into<PathBuf>) -> Self {
        self.spec.boot.firmware_vars = Some(file.into());
        self
    }

    /// Whether the kernel boots faster with less self-testing (`bootling run --fast-boot`). Default: false.
    #[must_use]
    pub fn fast_boot(mut self, fast: bool) -> Self {
        self.spec.boot.fast_boot = fast;
        self
    }

    /// Adds an argument of QEMU, unchanged.
    #[must_use]
    pub fn qemu_arg(mut self, argument: impl Into<OsString>) -> Self {
        self.spec.boot.qemu_args.push(argument.into());
        self
    }

    /// Adds a disk, as `bootling run --disk` does: a size (`64M`) or an image, with keys such as `bus=scsi` and `serial=data`. An
    /// invalid value is an error when the guest is started.
    #[must_use]
    pub fn disk(mut self, disk: impl Into<String>) -> Self {
        let disk = disk.into();
        match disk.parse() {
            Ok(request) => self.spec.boot.disks.push(request),
            Err(why) => self.refuse("--disk", disk, why),
        }
        self
    }

    /// Adds a network interface, as `bootling run --net` does: `user`, or another backend of QEMU. An invalid value is an error when
    /// the guest is started.
    #[must_use]
    pub fn net(mut self, net: impl Into<String>) -> Self {
        let net = net.into();
        match net.parse::<NetRequest>() {
            Ok(request) => {
                let publish = self.spec.boot.net.take().map(|before| before.publish).unwrap_or_default();
                self.spec.boot.net = NetRequest::with_ports(Some(request), &publish);
            }
            Err(why) => self.refuse("--net", net, why),
        }
        self
    }

    /// Makes a port of the guest reachable on the host, as `bootling run --publish` does: `8080:80`. Port 0 of the host is a free
    /// port, which a note names ([`Output::notes`](crate::Output)). Implies `net("user")`.
    #[must_use]
    pub fn publish(mut self, ports: impl Into<String>) -> Self {
        let ports = ports.into();
        match ports.parse::<Publish>() {
            Ok(publish) => self.spec.boot.net = NetRequest::with_ports(self.spec.boot.net.take(), &[publish]),
            Err(why) => self.refuse("--publish", ports, why),
        }
        self
    }

    /// Keeps the first invalid value.
    fn refuse(&mut self, option: &'static str, value: String, why: String) {
        self.invalid.get_or_insert((option, value, why));
    }
}

//! The table of needs: what pid 1, the channel, the console, the initrd, the verdict and options of a run need from the
//! kernel.
//!
//! Guests also run without `DEVTMPFS`, `PVH`, `MODULES`, `ACPI`, `SMP`, `NET` and `SIGNALFD`, and with either of `VIRTIO`
//! and `SERIAL_8250`.

use super::need::Severity::{Degraded, Fatal, Minor};
use super::need::{Need, Setting, Severity, Way, When};
use crate::arch::Arch;
use crate::format::compression::Compression;
use crate::qemu::device::disk::DiskBus;
use crate::qemu::machine_type::Transport;

/// Returns all needs of guests of `arch`.
pub(crate) fn table(arch: Arch) -> Vec<Need> {
    let compressions = Compression::ALL.into_iter().filter_map(compressed);
    let needs = guest(arch).into_iter().chain(verdict(arch)).chain(options(arch));
    needs.chain(devices()).chain(compressions).collect()
}

/// Needs of pid 1 and its channel.
fn guest(arch: Arch) -> Vec<Need> {
    const NO_CHANNEL: &str = "pid 1 cannot report to the host";
    let virtio = |bus, below: &[&'static str]| Way {
        // pid 1 finds the port in sysfs.
        options: vec!["SYSFS", bus, "VIRTIO_CONSOLE"],
        setting: Setting::Enabled,
        below: below.to_vec(),
    };
    let pci = || virtio("VIRTIO_PCI", &["TTY", "PCI", "VIRTIO_MENU"]);
    let mmio = || virtio("VIRTIO_MMIO", &["TTY", "VIRTIO_MENU"]);
    let [port, _] = arch.guest().serial;
    let serial = || builtin(&[port], &["TTY"]);
    vec![
        need("initrd", When::Always, [one("BLK_DEV_INITRD")], Fatal, "the kernel cannot unpack an initrd"),
        need("pid 1", When::Always, [one("BINFMT_ELF")], Fatal, "the kernel cannot execute programs"),
        need("channel", When::Channel(Transport::VirtioPci), [pci(), serial()], Fatal, NO_CHANNEL),
        need("channel", When::Channel(Transport::Com2), [serial(), pci()], Fatal, NO_CHANNEL),
        need("channel (-M microvm)", When::Channel(Transport::VirtioMmio), [mmio()], Fatal, NO_CHANNEL),
    ]
}

/// Needs of the console and the verdict.
fn verdict(arch: Arch) -> Vec<Need> {
    let [port, console] = arch.guest().serial;
    let console = || builtin(&[console], &["TTY", port]);
    let command_line = Way { options: vec!["CMDLINE_OVERRIDE"], setting: Setting::Off, below: Vec::new() };
    vec![
        need(
            "console",
            When::Always,
            [one("PRINTK")],
            Degraded,
            "no kernel messages: a panic cannot be told from a reset, and the kernel's health is unknown",
        ),
        need("console", When::Always, [console()], Degraded, "no serial console: a panic cannot be told from a reset"),
        need(
            "command line",
            When::Always,
            [command_line],
            Degraded,
            "the kernel ignores its command line: no --append, no serial console, and a panic may hang",
        ),
        need(
            "verdict",
            When::Reports,
            [one("PROC_FS")],
            Degraded,
            "no /proc: taint flags, and processes that the command leaves behind, are not reported",
        ),
    ]
}

/// Needs of options, and of less important parts.
fn options(arch: Arch) -> Vec<Need> {
    let speed = builtin(&["PVH"], &["HYPERVISOR_GUEST"]);
    let speed = need("speed", When::Always, [speed], Minor, "each boot decompresses the kernel");
    let mut needs = vec![
        need("--smp", When::SeveralCpus, [one("SMP")], Degraded, "the kernel uses a single CPU"),
        need(
            "--tty",
            When::Tty,
            [builtin(&["UNIX98_PTYS"], &["TTY"])],
            Fatal,
            "pid 1 cannot create a terminal for the command",
        ),
        need("--kmod FILE.ko", When::ModuleFile, [one("MODULES")], Fatal, "the kernel cannot load modules"),
        need(
            "--warm",
            When::Warm,
            [builtin(&["SYSFS", "PCI"], &[])],
            Degraded,
            "pid 1 cannot map the memory that delivers commands to a restored guest",
        ),
        need(
            "--firmware uefi",
            When::Uefi,
            [builtin(&["EFI_STUB"], &["EFI"])],
            Fatal,
            "firmware cannot start the kernel",
        ),
        need("hang report", When::Always, [one("KALLSYMS")], Minor, "backtraces contain addresses, not function names"),
        need("hang report", When::Always, [one("MAGIC_SYSRQ")], Minor, "the kernel does not list its tasks"),
    ];
    // Only x86 kernels are compressed, and started without decompression through PVH.
    needs.extend((arch == Arch::X86_64).then_some(speed));
    needs
}

/// Needs of disks and network interfaces.
fn devices() -> Vec<Need> {
    const NO_DISK: &str = "the kernel has no driver for the disk";
    let with = |options: &[&'static str], below: &[&'static str]| Way {
        options: options.to_vec(),
        setting: Setting::Enabled,
        below: below.to_vec(),
    };
    let disk = |bus: DiskBus, ways: Vec<Way>| {
        let (by, without) = (format!("--disk SIZE,bus={}", bus.name()), NO_DISK.to_owned());
        Need { by, when: When::Disk(bus), ways, without, severity: Fatal }
    };
    let net = with(&["INET", "VIRTIO_NET"], &["NET", "NETDEVICES", "NET_CORE", "VIRTIO_MENU"]);
    vec![
        disk(DiskBus::Virtio, vec![with(&["VIRTIO_BLK"], &["BLOCK", "BLK_DEV", "VIRTIO_MENU"])]),
        disk(DiskBus::Nvme, vec![with(&["BLK_DEV_NVME"], &["BLOCK"])]),
        disk(DiskBus::Scsi, vec![with(&["SCSI_VIRTIO", "BLK_DEV_SD"], &["BLOCK", "SCSI", "SCSI_LOWLEVEL"])]),
        disk(
            DiskBus::Ide,
            ["SATA_AHCI", "ATA_PIIX"].map(|driver| with(&[driver, "BLK_DEV_SD"], &["BLOCK", "ATA", "ATA_SFF"])).into(),
        ),
        need("--net", When::Network, [net], Fatal, "the kernel has no driver for the network interface"),
        need(
            "--share, --root",
            When::Shares,
            [with(&["FUSE_FS", "VIRTIO_CONSOLE"], &["BLOCK", "TTY", "VIRTIO_MENU"])],
            Fatal,
            "the kernel cannot use directories of the host",
        ),
        need(
            "--root",
            When::Root,
            [with(&["OVERLAY_FS", "TMPFS"], &["SHMEM"])],
            Fatal,
            "the kernel cannot use a directory of the host as its root",
        ),
    ]
}

/// Returns the need of an existing initrd that has a segment with this compression.
fn compressed(compression: Compression) -> Option<Need> {
    let properties = compression.properties();
    let way = one(properties.config?);
    let by = format!("--initrd FILE.{}", properties.extension);
    let without = format!("the kernel cannot unpack an initrd compressed with {compression}");
    Some(Need { by, when: When::Compressed(compression), ways: vec![way], without, severity: Fatal })
}

fn need<const N: usize>(by: &str, when: When, ways: [Way; N], severity: Severity, without: &str) -> Need {
    Need { by: by.to_owned(), when, ways: ways.into(), without: without.to_owned(), severity }
}

/// Options that must be built in, and those that they depend on.
fn builtin(options: &[&'static str], below: &[&'static str]) -> Way {
    Way { options: options.to_vec(), setting: Setting::Builtin, below: below.to_vec() }
}

/// A single option that must be built in.
fn one(option: &'static str) -> Way {
    builtin(&[option], &[])
}

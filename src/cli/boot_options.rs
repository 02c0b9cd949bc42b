//! Options for the machine and the boot.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use bootling::arch::Arch;
use bootling::guest::{Limits, TimeLimit};
use bootling::{
    format::amount,
    qemu::device::disk::DiskRequest,
    qemu::device::files::{FilesRequest, RootRequest, ShareRequest, Support},
    qemu::device::net::{NetRequest, Publish},
    qemu::spec::{Accel, BootSpec, ConsoleTo, FirmwareRef},
};

/// Machine options for every kind of guest.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineArgs {
    /// Accelerator: `kvm`, `tcg` (QEMU's translator) or `auto` (KVM if a probe runs guest code on it, else TCG).
    #[arg(long, value_enum, default_value_t = AccelArg::Auto, env = "BOOTLING_ACCEL")]
    pub accel: AccelArg,
    /// Initial UEFI variables. FILE is copied, not modified. Default: the template that belongs to the firmware.
    #[arg(long, value_name = "FILE")]
    pub firmware_vars: Option<PathBuf>,
    /// QEMU executable: a path, or a name in PATH. Default: the one for the guest's architecture.
    #[arg(long, value_name = "PATH", env = "BOOTLING_QEMU")]
    pub qemu: Option<PathBuf>,
    /// QEMU machine type with its properties, such as `pc` or `q35,smm=off`.
    #[arg(long, short = 'M', value_name = "TYPE")]
    pub machine: Option<OsString>,
    /// QEMU CPU model. Default: `host` with KVM; with TCG `max`, or `cortex-a72` on aarch64, where `max` is slow.
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<OsString>,
    /// Number of virtual CPUs, in any syntax of QEMU's -smp.
    #[arg(long, value_name = "N")]
    pub smp: Option<OsString>,
    /// Guest memory in MiB, or with suffix K, M or G. Default: 1 GiB, or more for a large initrd; 2 GiB for disks.
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = amount::memory_mib)]
    pub memory: Option<u64>,
    /// Pass ARG to QEMU unchanged. May be repeated: --qemu-arg=-trace --qemu-arg='ich9*'
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<OsString>,
    /// Time limit from QEMU's start to the verdict, such as 90, 90s, 5m or `none` (also 0). Default: none for an
    /// interactive guest, else 10m with KVM and 30m with TCG.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    pub timeout: Option<TimeLimit>,
}

/// Options for booting a kernel and its initrd.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct BootArgs {
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Architecture of the guest: `x86_64` or `aarch64` (also `arm64`). Default: the kernel's, or the host's for packages
    /// to fetch. Programs come from --sysroot, a directory with programs of that architecture, or packages; without it,
    /// a kernel to fetch brings bash, busybox and coreutils with it.
    #[arg(long, value_name = "ARCH", value_parser = Arch::for_guests)]
    pub arch: Option<Arch>,
    /// Firmware: `none` (QEMU starts the kernel directly, the fastest; default), `uefi` (OVMF installed on the host),
    /// `uefi-secure` (Secure Boot enforced), `bios` (SeaBIOS), or a UEFI or BIOS image file.
    #[arg(long, value_name = "WHICH", env = "BOOTLING_FIRMWARE", value_parser = FirmwareRef::read)]
    pub firmware: Option<FirmwareRef>,
    /// Add a disk. May be repeated. SIZE (64M, 1G) makes an empty scratch disk. FILE is an image: the guest's writes go to a
    /// temporary overlay; with `rw` to FILE; with `ro` the disk is read-only. The guest's pid 1 loads the driver and makes
    /// the link /dev/disk/by-id/BUS-SERIAL. Keys: bus=virtio|nvme|scsi|ide, serial=NAME (default: disk0, disk1, ...),
    /// sector=512|4096, format=raw|qcow2|..., and any property of QEMU's device, such as zoned=true for NVMe.
    #[arg(long, value_name = "SIZE|FILE[,KEY=VALUE...]")]
    pub disk: Vec<DiskRequest>,
    /// Add a network interface: `user` is QEMU's user-mode network, which needs no privileges (eth0 is up with address
    /// 10.0.2.15, the host is 10.0.2.2); `none`, the default, is no network; another backend, such as
    /// `socket,connect=127.0.0.1:1234`, is passed to QEMU's -netdev.
    #[arg(long, value_name = "user|none|ARGS")]
    pub net: Option<NetRequest>,
    /// Make a TCP port of the guest reachable on the host's loopback address, or on ADDRESS. With /udp: a UDP port. HOST 0
    /// chooses a free port, which is printed. Implies --net user. May be repeated.
    #[arg(long, value_name = "[ADDRESS:]HOST:GUEST[/udp]")]
    pub publish: Vec<Publish>,
    /// Use DIR as the guest's root directory, copy-on-write: COMMAND and everything it needs come from there, and nothing is
    /// written back. `host` is the host's own root. /proc, /sys, /dev and /run are the guest's. The current directory is the
    /// host's, if DIR has it.
    #[arg(long, value_name = "DIR|host", value_parser = OsStringValueParser::new().try_map(|typed| RootRequest::parse(&typed)), conflicts_with = "ready_made")]
    pub root: Option<RootRequest>,
    /// Share a directory of the host with the guest, at the same path or at GUESTPATH: read-only, or with `rw` so that the
    /// guest's changes are made on the host, by the user who runs bootling. Symbolic links and `..` do not lead out of
    /// DIR. May be repeated.
    #[arg(long, value_name = "DIR[=GUESTPATH][:ro|:rw]", value_parser = OsStringValueParser::new().try_map(|typed| ShareRequest::parse(&typed)), conflicts_with = "ready_made")]
    pub share: Vec<ShareRequest>,
    /// Append to the kernel's command line. May be repeated.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Vec<OsString>,
    /// Boot faster with less kernel self-testing. Appends to the kernel's command line: `cryptomgr.notests` (no tests
    /// when ciphers register), `noreplace-smp` (keep lock prefixes on one CPU) and, with TCG, `nolapic_timer` (use the
    /// HPET or PIT, so that the local APIC timer is not calibrated). Arguments from --append follow them.
    #[arg(long)]
    pub fast_boot: bool,
    /// Boot even if the kernel's configuration lacks an option that the run needs. See `bootling doctor --kernel KERNEL`.
    #[arg(long)]
    pub no_preflight: bool,
    /// Time limit from QEMU's start to the first message of the guest's pid 1. Default: 1m with KVM, 5m with TCG;
    /// doubled with UEFI firmware.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    pub boot_timeout: Option<TimeLimit>,
    /// Write the kernel's console to FILE ('-' for standard error) while the guest runs.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub console: Option<PathBuf>,
}

/// `--accel`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccelArg {
    /// KVM if it works, else TCG
    Auto,
    /// KVM, or fail
    Kvm,
    /// QEMU's translator
    Tcg,
}

impl AccelArg {
    /// Returns the corresponding accelerator choice.
    pub(crate) const fn accel(self) -> Accel {
        match self {
            Self::Auto => Accel::Auto,
            Self::Kvm => Accel::Kvm,
            Self::Tcg => Accel::Tcg,
        }
    }
}

impl MachineArgs {
    /// Returns the boot specification, without the limits.
    pub(crate) fn spec(&self, firmware: FirmwareRef) -> BootSpec {
        BootSpec {
            arch: None,
            qemu: self.qemu.clone(),
            accel: self.accel.accel(),
            machine: self.machine.clone(),
            cpu: self.cpu.clone(),
            smp: self.smp.clone(),
            memory_mib: self.memory,
            firmware,
            firmware_vars: self.firmware_vars.clone(),
            append: Vec::new(),
            fast_boot: false,
            qemu_args: self.qemu_arg.clone(),
            disks: Vec::new(),
            net: None,
            files: FilesRequest::default(),
            console: ConsoleTo::Tail,
            tty: false,
            preflight: true,
        }
    }

    /// Returns the limit from QEMU's start to the verdict. An interactive guest has none by default.
    pub(crate) fn limit(&self, interactive: bool) -> TimeLimit {
        let default = if interactive { TimeLimit::None } else { TimeLimit::Default };
        self.timeout.unwrap_or(default)
    }
}

impl BootArgs {
    /// Returns the boot specification, without the limits.
    pub(crate) fn spec(&self, tty: bool) -> BootSpec {
        BootSpec {
            arch: self.arch,
            append: self.append.clone(),
            fast_boot: self.fast_boot,
            disks: self.disk.clone(),
            net: NetRequest::with_ports(self.net.clone(), &self.publish),
            files: FilesRequest { shares: self.share.clone(), root: self.root.clone(), support: Support::Nothing },
            console: match &self.console {
                None => ConsoleTo::Tail,
                Some(path) if path.as_os_str() == "-" => ConsoleTo::Stderr,
                Some(path) => ConsoleTo::File(path.clone()),
            },
            tty,
            preflight: !self.no_preflight,
            ..self.machine.spec(self.firmware.clone().unwrap_or(FirmwareRef::Direct))
        }
    }

    /// Returns the limits on the whole run, on the boot, and on inactivity.
    pub(crate) fn limits(&self, interactive: bool) -> Limits {
        let total = self.machine.limit(interactive);
        Limits { total, base: total, boot: self.boot_timeout.unwrap_or_default(), ..Limits::default() }
    }
}

/// Parses `90`, `90s`, `1500ms`, `5m`, `1h`, and `0` or `none` for no limit.
pub(crate) fn limit(text: &str) -> Result<TimeLimit, String> {
    amount::time(text).map(|limit| limit.map_or(TimeLimit::None, TimeLimit::After))
}

//! Options about the machine and the run, as typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use bootling::guest::limits;
use bootling::qemu::machine::Machine;
use bootling::{
    format::amount,
    qemu::spec::{Accel, BootSpec, ConsoleTo, FirmwareRef},
};

/// The machine, whatever it boots.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Machine")]
pub struct MachineArgs {
    /// What runs guest code: `kvm`, `tcg` (QEMU's translator), or `auto`: KVM where it has just proven to work.
    #[arg(long, value_enum, default_value_t = AccelArg::Auto, env = "BOOTLING_ACCEL")]
    pub accel: AccelArg,
    /// UEFI variables to start with. The file is copied, never written. Default: those that belong to the firmware.
    #[arg(long, value_name = "FILE")]
    pub firmware_vars: Option<PathBuf>,
    /// The QEMU program: a path, or a name on PATH. Default: the one for the guest's architecture.
    #[arg(long, value_name = "PATH", env = "BOOTLING_QEMU")]
    pub qemu: Option<PathBuf>,
    /// QEMU's machine type and its properties, such as `pc` or `q35,smm=off`.
    #[arg(long, short = 'M', value_name = "TYPE")]
    pub machine: Option<OsString>,
    /// QEMU's CPU model. Default: `host` with KVM, `max` with TCG.
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<OsString>,
    /// Number of virtual CPUs, in any of QEMU's spellings.
    #[arg(long, value_name = "N")]
    pub smp: Option<OsString>,
    /// Guest memory: a number of MiB, or with K, M, G. Default: 1 GiB, more where an initrd needs it, 2 GiB for disks.
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = amount::memory_mib)]
    pub memory: Option<u64>,
    /// One further argument for QEMU, exactly as it stands. May be repeated: --qemu-arg=-trace --qemu-arg='ich9*'
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<OsString>,
    /// Longest time from QEMU's start to the verdict, such as 90, 90s, 5m, or `none` (also 0). Default: none where
    /// somebody sits at a terminal and nothing is expected, else 10m with KVM and 30m with TCG.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    pub timeout: Option<LimitArg>,
}

/// How a kernel and its initrd are booted, watched and judged.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Machine")]
pub struct BootArgs {
    #[command(flatten)]
    pub machine: MachineArgs,
    /// What the machine starts with: `none` (the default: QEMU enters the kernel, which is fastest), `uefi` (OVMF, wherever it
    /// is here), `uefi-secure` (with Secure Boot enforced), `bios` (SeaBIOS), or a file with UEFI code or a BIOS.
    #[arg(long, value_name = "WHICH", env = "BOOTLING_FIRMWARE", value_parser = FirmwareRef::read)]
    pub firmware: Option<FirmwareRef>,
    /// Further words for the kernel's command line. May be repeated.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Vec<OsString>,
    /// Boot in less time and test less of the kernel: adds `cryptomgr.notests` (its ciphers are not tested as they
    /// register) and `noreplace-smp` (lock prefixes stay on one CPU, too) to its command line, with TCG also
    /// `nolapic_timer` (interrupts of the timer come from the HPET or the PIT: the local APIC's is not calibrated). Words
    /// of --append stand behind them.
    #[arg(long)]
    pub fast_boot: bool,
    /// Longest time from QEMU's start until the guest's pid 1 speaks. Default: 1m with KVM, 5m with TCG; twice that
    /// with UEFI firmware.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    pub boot_timeout: Option<LimitArg>,
    /// Write the kernel's console to FILE as it comes, or to standard error with `-`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub console: Option<PathBuf>,
}

/// `--accel`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AccelArg {
    /// KVM where it works, else TCG
    Auto,
    /// KVM or an error
    Kvm,
    /// QEMU's translator
    Tcg,
}

impl AccelArg {
    /// What is meant.
    pub const fn meant(self) -> Accel {
        match self {
            Self::Auto => Accel::Auto,
            Self::Kvm => Accel::Kvm,
            Self::Tcg => Accel::Tcg,
        }
    }
}

/// A limit on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitArg(pub Option<Duration>);

impl MachineArgs {
    /// What is meant, limits apart: they depend on the machine.
    pub fn spec(&self, firmware: FirmwareRef) -> BootSpec {
        BootSpec {
            qemu: self.qemu.clone(),
            accel: self.accel.meant(),
            machine: self.machine.clone(),
            cpu: self.cpu.clone(),
            smp: self.smp.clone(),
            memory_mib: self.memory,
            firmware,
            firmware_vars: self.firmware_vars.clone(),
            append: Vec::new(),
            fast_boot: false,
            qemu_args: self.qemu_arg.clone(),
            console: ConsoleTo::Tail,
            tty: false,
        }
    }

    /// The limit on the whole.
    pub fn limit(&self, machine: &Machine, interactive: bool) -> Option<Duration> {
        let total = (!interactive).then(|| limits::total(machine));
        self.timeout.map_or(total, |limit| limit.0)
    }
}

impl BootArgs {
    /// What is meant, limits apart: they depend on the machine (see [`BootArgs::limits`]).
    pub fn spec(&self, tty: bool) -> BootSpec {
        BootSpec {
            append: self.append.clone(),
            fast_boot: self.fast_boot,
            console: match &self.console {
                None => ConsoleTo::Tail,
                Some(path) if path.as_os_str() == "-" => ConsoleTo::Stderr,
                Some(path) => ConsoleTo::File(path.clone()),
            },
            tty,
            ..self.machine.spec(self.firmware.clone().unwrap_or(FirmwareRef::Direct))
        }
    }

    /// The limits for this machine: total, and to pid 1's first word.
    pub fn limits(&self, machine: &Machine, interactive: bool) -> (Option<Duration>, Option<Duration>) {
        let boot = Some(limits::boot(machine));
        (self.machine.limit(machine, interactive), self.boot_timeout.map_or(boot, |limit| limit.0))
    }
}

/// Reads `90`, `90s`, `1500ms`, `5m`, `1h`, and `0` or `none` for no limit.
pub fn limit(text: &str) -> Result<LimitArg, String> {
    amount::time(text).map(LimitArg)
}

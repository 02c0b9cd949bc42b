//! Machine configuration: converts a boot specification to plain values for QEMU. No I/O.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::device::Devices;
use super::firmware::Firmware;
use super::kvm::{LONG_PATIENCE, NoKvm, PATIENCE};
use super::machine_type::Transport;
use super::program::Qemu;
use super::spec::{Accel, BootSpec};
use crate::arch::Arch;

/// Accelerator that executes guest code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM.
    Kvm,
    /// QEMU's translator (TCG).
    Tcg,
}

impl Accelerator {
    /// QEMU's name of the accelerator.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// `-cpu` for guests of `arch` if none is requested.
    pub(crate) fn default_cpu(self, arch: Arch) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => arch.guest().tcg_cpu,
        }
    }
}

/// Graphical output of a machine, in addition to its serial console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// None: no graphics adapter.
    None,
    /// A VGA adapter.
    Vga,
    /// A VGA adapter, with its text mirrored to the serial console by SeaBIOS, as under `-nographic` (QEMU
    /// `hw/i386/pc.c`, `etc/sercon-port`; SeaBIOS `src/sercon.c`).
    Mirrored,
}

/// Complete configuration of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Architecture of its processors.
    pub arch: Arch,
    /// QEMU program.
    pub qemu: Qemu,
    /// Accelerator.
    pub accelerator: Accelerator,
    /// Reason why KVM is not used, unless the user requested TCG.
    pub no_kvm: Option<String>,
    /// `-machine`
    pub machine: OsString,
    /// `-cpu`
    pub cpu: OsString,
    /// `-smp`
    pub smp: Option<OsString>,
    /// `-m`, in MiB.
    pub memory_mib: u64,
    /// Firmware.
    pub firmware: Firmware,
    /// Graphical output.
    pub display: Display,
    /// Kernel command line, if QEMU loads a kernel.
    pub command_line: OsString,
    /// Disks and network interface.
    pub devices: Devices,
    /// Additional QEMU arguments.
    pub extra: Vec<OsString>,
    /// Transport between the host and pid 1.
    pub transport: Transport,
}

/// Error: the requested machine is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// `--accel kvm`, but KVM does not work.
    #[error("KVM is required by --accel kvm, but unavailable: {0}")]
    NoKvm(String),
    /// Unsupported guest architecture.
    #[error("unsupported guest architecture {0}: bootling runs guests of {list}", list = Arch::guest_names())]
    Arch(Arch),
    /// The kernel is for another architecture than requested.
    #[error("--arch {requested} does not fit the kernel {origin}, which is for {found}")]
    ArchMismatch {
        /// The requested architecture.
        requested: Arch,
        /// Origin of the kernel.
        origin: String,
        /// The kernel's architecture.
        found: Arch,
    },
    /// QEMU would detach: bootling could not observe it, and it would outlive bootling.
    #[error("-daemonize is not supported: QEMU would detach, and bootling could not observe how the guest ends")]
    Daemonize,
    /// The command line is too long: the kernel would truncate it, or not start.
    #[error("kernel command line too long: {len} bytes (limit {})", COMMAND_LINE_SIZE - 1)]
    CommandLine {
        /// Its length in bytes.
        len: usize,
    },
    /// The guest memory is too small for the initrd.
    #[error(
        "an initrd of {initrd_mib} MiB does not fit into {memory_mib} MiB of guest memory: the archive and its unpacked copy must both fit\n  use --memory {needed_mib} or more"
    )]
    Memory {
        /// Initrd size.
        initrd_mib: u64,
        /// Requested guest memory.
        memory_mib: u64,
        /// Sufficient guest memory.
        needed_mib: u64,
    },
}

/// `COMMAND_LINE_SIZE` of x86 and arm64 (`arch/*/include/{,uapi/}asm/setup.h`), including the NUL.
const COMMAND_LINE_SIZE: usize = 2048;
/// Memory for the kernel in addition to the initrd (a generous estimate).
const KERNEL_MIB: u64 = 160;
/// Default guest memory.
const DEFAULT_MIB: u64 = 1024;
const MIB: u64 = 1 << 20;

/// Chooses the accelerator. `probe` is called, with its timeout, only if the choice depends on it.
pub(crate) fn choose_accelerator(
    wanted: Accel,
    arch: Arch,
    probe: impl FnOnce(Duration) -> Result<(), NoKvm>,
) -> Result<(Accelerator, Option<String>), MachineError> {
    let foreign = Arch::host() != Some(arch);
    match wanted {
        Accel::Tcg => Ok((Accelerator::Tcg, None)),
        Accel::Kvm if foreign => Err(MachineError::NoKvm(format!("this host cannot run {arch} code"))),
        Accel::Kvm => {
            probe(LONG_PATIENCE).map(|()| (Accelerator::Kvm, None)).map_err(|why| MachineError::NoKvm(why.to_string()))
        }
        Accel::Auto if foreign => Ok((Accelerator::Tcg, Some(format!("this host cannot run {arch} code")))),
        Accel::Auto => Ok(match probe(PATIENCE) {
            Ok(()) => (Accelerator::Kvm, None),
            Err(why) => (Accelerator::Tcg, Some(why.to_string())),
        }),
    }
}

/// Returns the guest memory in MiB for an initrd of this size. The archive and its unpacked copy must both fit, because
/// the kernel frees the archive only after unpacking it (`init/initramfs.c`, `populate_rootfs`).
pub(crate) fn memory_for(wanted_mib: Option<u64>, initrd_bytes: u64) -> Result<u64, MachineError> {
    let initrd_mib = initrd_bytes.div_ceil(MIB);
    // A tmpfs rootfs is limited to half of the remaining memory, so the unpacked copy counts twice.
    let needed_mib = KERNEL_MIB + initrd_mib * 3;
    match wanted_mib {
        Some(memory_mib) if memory_mib < KERNEL_MIB / 2 + initrd_mib * 2 => {
            Err(MachineError::Memory { initrd_mib, memory_mib, needed_mib })
        }
        Some(memory_mib) => Ok(memory_mib),
        None => Ok(DEFAULT_MIB.max(needed_mib.next_multiple_of(128))),
    }
}

/// Checks the additional QEMU arguments for options that bootling cannot support.
pub(crate) fn extra_arguments(words: &[OsString]) -> Result<Vec<OsString>, MachineError> {
    let daemonizes = words.iter().any(|word| matches!(word.as_bytes(), b"-daemonize" | b"--daemonize"));
    if daemonizes { Err(MachineError::Daemonize) } else { Ok(words.to_vec()) }
}

/// Returns `-machine` with the properties that the firmware requires: QEMU refuses SMM firmware on a machine without
/// SMM.
pub(crate) fn machine_for(machine: OsString, firmware: &Firmware) -> OsString {
    let has_smm = machine.as_bytes().windows(5).any(|word| word == b",smm=");
    let wants_smm = matches!(firmware, Firmware::Uefi(uefi) if uefi.smm);
    let mut machine = machine;
    if wants_smm && !has_smm {
        machine.push(",smm=on");
    }
    machine
}

/// Builds the kernel command line for guests of `arch`: console, reboot on panic instead of a hang, and the user's
/// parameters last so that they take precedence.
///
/// Without `quiet`: under TCG the full log takes no measurable time (2.1 s either way), and it contains the cause if a
/// boot fails. Each parameter of `--fast-boot` saves measurable time and removes something from the tested configuration;
/// see `docs/speed.md` for the figures, and for parameters without effect.
pub(crate) fn command_line(spec: &BootSpec, arch: Arch, accelerator: Accelerator) -> Result<OsString, MachineError> {
    let guest = arch.guest();
    let (parameters, fast_boot) = match accelerator {
        Accelerator::Tcg => (guest.tcg_parameters, guest.fast_boot_tcg),
        Accelerator::Kvm => (&[][..], guest.fast_boot),
    };
    let mut line = OsString::from(format!("console={} panic=-1", arch.console()));
    for word in parameters.iter().chain(fast_boot.iter().filter(|_| spec.fast_boot)) {
        line.push(" ");
        line.push(word);
    }
    for word in &spec.append {
        line.push(" ");
        line.push(word);
    }
    match line.len() {
        0..COMMAND_LINE_SIZE => Ok(line),
        len => Err(MachineError::CommandLine { len }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Accelerator, MachineError, choose_accelerator, command_line, extra_arguments, memory_for};
    use crate::arch::Arch;
    use crate::qemu::spec::{Accel, BootSpec};

    #[test]
    fn tcg_needs_no_probe_and_a_foreign_guest_never_uses_kvm() {
        let probe = |_| panic!("probed");
        assert_eq!(choose_accelerator(Accel::Tcg, Arch::X86_64, probe), Ok((Accelerator::Tcg, None)));
        let foreign = if Arch::host() == Some(Arch::S390x) { Arch::X86_64 } else { Arch::S390x };
        assert!(matches!(choose_accelerator(Accel::Kvm, foreign, probe), Err(MachineError::NoKvm(_))));
        assert!(matches!(choose_accelerator(Accel::Auto, foreign, probe), Ok((Accelerator::Tcg, Some(_)))));
    }

    #[test]
    fn memory_grows_with_the_initrd_and_a_small_value_is_refused_with_a_sufficient_one() {
        assert_eq!(memory_for(None, 10 << 20), Ok(1024));
        assert!(memory_for(None, 700 << 20).expect("fits") >= 2100);
        assert_eq!(memory_for(Some(256), 1 << 20), Ok(256));
        assert_eq!(
            memory_for(Some(256), 300 << 20),
            Err(MachineError::Memory { initrd_mib: 300, memory_mib: 256, needed_mib: 1060 })
        );
    }

    #[test]
    fn fast_boot_parameters_are_opt_in_and_user_parameters_come_last() {
        let append = vec!["quiet".into(), "mine=1".into()];
        let spec = |fast_boot| BootSpec { append: append.clone(), fast_boot, ..BootSpec::default() };
        for (fast_boot, accelerator, line) in [
            (false, Accelerator::Kvm, "console=ttyS0 panic=-1 quiet mine=1"),
            (false, Accelerator::Tcg, "console=ttyS0 panic=-1 no_timer_check quiet mine=1"),
            (true, Accelerator::Kvm, "console=ttyS0 panic=-1 cryptomgr.notests noreplace-smp quiet mine=1"),
            (
                true,
                Accelerator::Tcg,
                "console=ttyS0 panic=-1 no_timer_check cryptomgr.notests noreplace-smp nolapic_timer quiet mine=1",
            ),
        ] {
            let found = command_line(&spec(fast_boot), Arch::X86_64, accelerator);
            assert_eq!(found, Ok(line.into()), "{fast_boot} {accelerator:?}");
        }
        let arm = command_line(&spec(false), Arch::Aarch64, Accelerator::Tcg);
        assert_eq!(arm, Ok("console=ttyAMA0 panic=-1 quiet mine=1".into()));
    }

    #[test]
    fn daemonize_is_refused() {
        assert_eq!(extra_arguments(&["-trace".into(), "x".into()]).expect("fine").len(), 2);
        assert_eq!(extra_arguments(&["--daemonize".into()]), Err(MachineError::Daemonize));
    }
}

//! Machine configuration: converts a boot specification to plain values for QEMU. No I/O.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

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

    /// `-cpu` if none is requested.
    pub(crate) const fn default_cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// `-machine` if none is requested.
pub const DEFAULT_MACHINE: &str = "q35";

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
    #[error("unsupported guest architecture {0}: bootling's pid 1 supports only x86_64")]
    Arch(Arch),
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

/// `COMMAND_LINE_SIZE` of x86 (`arch/x86/include/asm/setup.h`), including the NUL.
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

/// Kernel parameters of `--fast-boot`. Each saves measurable time and removes something from the tested configuration;
/// see `docs/speed.md` for the figures, and for parameters without effect.
const fn fast_boot(accelerator: Accelerator) -> &'static [&'static str] {
    match accelerator {
        // KVM guests have a timer that counts in TSC ticks: no calibration is needed.
        Accelerator::Kvm => &["cryptomgr.notests", "noreplace-smp"],
        Accelerator::Tcg => &["cryptomgr.notests", "noreplace-smp", "nolapic_timer"],
    }
}

/// Builds the kernel command line: console, reboot on panic instead of a hang, and the user's parameters last so that
/// they take precedence.
///
/// Without `quiet`: under TCG the full log takes no measurable time (2.1 s either way), and it contains the cause if a
/// boot fails. Under TCG with `no_timer_check`, which kernels on KVM set themselves (`arch/x86/kernel/kvm.c`,
/// `kvm_guest_init`): on a busy host the check of the timer interrupt occasionally fails, and the kernel panics with
/// "IO-APIC + timer doesn't work!" although it has no fault.
pub(crate) fn command_line(spec: &BootSpec, accelerator: Accelerator) -> Result<OsString, MachineError> {
    let mut line = OsString::from("console=ttyS0 panic=-1");
    match accelerator {
        Accelerator::Tcg => line.push(" no_timer_check"),
        Accelerator::Kvm => {}
    }
    for word in if spec.fast_boot { fast_boot(accelerator) } else { &[] } {
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
            assert_eq!(command_line(&spec(fast_boot), accelerator), Ok(line.into()), "{fast_boot} {accelerator:?}");
        }
    }

    #[test]
    fn daemonize_is_refused() {
        assert_eq!(extra_arguments(&["-trace".into(), "x".into()]).expect("fine").len(), 2);
        assert_eq!(extra_arguments(&["--daemonize".into()]), Err(MachineError::Daemonize));
    }
}

//! The machine: what was asked for becomes what will run. Plain values, no IO.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::firmware::Firmware;
use super::kvm::{LONG_PATIENCE, NoKvm, PATIENCE};
use super::program::Qemu;
use super::spec::{Accel, BootSpec};
use crate::arch::Arch;

/// What executes guest code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through KVM.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// QEMU's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// How host and pid 1 talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A virtio-serial port on PCI.
    VirtioPci,
    /// A virtio-serial port on virtio-mmio (microvm).
    VirtioMmio,
    /// The second serial port.
    Com2,
    /// None: a foreign initrd, whose console is all there is.
    None,
}

impl Transport {
    /// What the job tells pid 1.
    pub const fn channel(self) -> Option<&'static str> {
        match self {
            Self::VirtioPci | Self::VirtioMmio => Some("virtio"),
            Self::Com2 => Some("ttyS1"),
            Self::None => None,
        }
    }

    /// A word for `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VirtioPci => "virtio-serial-pci",
            Self::VirtioMmio => "virtio-serial-mmio",
            Self::Com2 => "com2",
            Self::None => "none",
        }
    }
}

/// What a machine shows beside its serial console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// Nothing: it has no graphics adapter.
    None,
    /// A VGA adapter.
    Vga,
    /// A VGA adapter, and SeaBIOS repeats on the serial console what is printed on it, as under `-nographic`
    /// (QEMU `hw/i386/pc.c`, `etc/sercon-port`; SeaBIOS `src/sercon.c`).
    Mirrored,
}

/// A machine that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The program.
    pub qemu: Qemu,
    /// What executes guest code.
    pub accelerator: Accelerator,
    /// Why not KVM, where it was not asked against.
    pub no_kvm: Option<String>,
    /// `-machine`
    pub machine: OsString,
    /// `-cpu`
    pub cpu: OsString,
    /// `-smp`
    pub smp: Option<OsString>,
    /// `-m`, in MiB.
    pub memory_mib: u64,
    /// What it starts with.
    pub firmware: Firmware,
    /// What there is to see.
    pub display: Display,
    /// The kernel's command line, where QEMU starts a kernel.
    pub command_line: OsString,
    /// Further QEMU arguments.
    pub extra: Vec<OsString>,
    /// How host and pid 1 talk.
    pub transport: Transport,
}

/// The machine that was asked for cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// `--accel kvm`, but KVM does not work.
    #[error("using KVM, as --accel kvm asks: {0}")]
    NoKvm(String),
    /// Guests of this architecture are not supported.
    #[error("booting a guest for {0}: bootling has a pid 1 for x86_64 guests only")]
    Arch(Arch),
    /// A QEMU that leaves us cannot be judged, and would outlive us.
    #[error("starting QEMU with -daemonize: it would leave bootling, and nobody would see how the guest ends")]
    Daemonize,
    /// The kernel would cut it off, or not start at all.
    #[error("writing the kernel's command line: {len} bytes, but a kernel takes {} at most", COMMAND_LINE_SIZE - 1)]
    CommandLine {
        /// Its length in bytes.
        len: usize,
    },
    /// The initrd cannot fit.
    #[error(
        "fitting an initrd of {initrd_mib} MiB into a guest with {memory_mib} MiB of memory: it is unpacked there beside itself\n  give it --memory {needed_mib} or more"
    )]
    Memory {
        /// Size of the initrd.
        initrd_mib: u64,
        /// What was asked for.
        memory_mib: u64,
        /// What would do.
        needed_mib: u64,
    },
}

/// `COMMAND_LINE_SIZE` of x86 (`arch/x86/include/asm/setup.h`), NUL included.
const COMMAND_LINE_SIZE: usize = 2048;
/// What the kernel needs beside the initrd, generously.
const KERNEL_MIB: u64 = 160;
/// Guest memory where nothing was asked for.
const DEFAULT_MIB: u64 = 1024;
const MIB: u64 = 1 << 20;

/// Chooses the accelerator. `probe` is asked only where the answer matters, and told how long it may take.
pub fn choose_accelerator(
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

/// Guest memory in MiB for an initrd of this many bytes: archive and unpacked copy must both fit, since the kernel
/// frees the archive only after unpacking (`init/initramfs.c`, `populate_rootfs`).
pub fn memory_for(wanted_mib: Option<u64>, initrd_bytes: u64) -> Result<u64, MachineError> {
    let initrd_mib = initrd_bytes.div_ceil(MIB);
    // tmpfs as rootfs takes at most half of what is left, hence the factor for the unpacked copy.
    let needed_mib = KERNEL_MIB + initrd_mib * 3;
    match wanted_mib {
        Some(memory_mib) if memory_mib < KERNEL_MIB / 2 + initrd_mib * 2 => {
            Err(MachineError::Memory { initrd_mib, memory_mib, needed_mib })
        }
        Some(memory_mib) => Ok(memory_mib),
        None => Ok(DEFAULT_MIB.max(needed_mib.next_multiple_of(128))),
    }
}

/// Further QEMU arguments, if bootling can keep its promises with them.
pub fn extra_arguments(words: &[OsString]) -> Result<Vec<OsString>, MachineError> {
    let daemonizes = words.iter().any(|word| matches!(word.as_bytes(), b"-daemonize" | b"--daemonize"));
    if daemonizes { Err(MachineError::Daemonize) } else { Ok(words.to_vec()) }
}

/// `-machine` as this firmware needs it: QEMU refuses SMM to a machine that was not given any.
pub fn machine_for(machine: OsString, firmware: &Firmware) -> OsString {
    let has_smm = machine.as_bytes().windows(5).any(|word| word == b",smm=");
    let wants_smm = matches!(firmware, Firmware::Uefi(uefi) if uefi.smm);
    let mut machine = machine;
    if wants_smm && !has_smm {
        machine.push(",smm=on");
    }
    machine
}

/// True where a machine type has neither PCI nor a second serial port.
pub fn is_microvm(machine: &OsStr) -> bool {
    let name = machine.as_bytes();
    name == b"microvm" || name.starts_with(b"microvm,")
}

/// What `--fast-boot` adds. Each word gives something that can be measured, and takes something from what is tested:
/// `docs/speed.md` has the figures, and the words that gave nothing.
const fn fast_boot(accelerator: Accelerator) -> &'static [&'static str] {
    match accelerator {
        // KVM's guests have a timer that counts in TSC ticks: there is nothing to calibrate.
        Accelerator::Kvm => &["cryptomgr.notests", "noreplace-smp"],
        Accelerator::Tcg => &["cryptomgr.notests", "noreplace-smp", "nolapic_timer"],
    }
}

/// The kernel's command line: console, an end at a panic instead of a hang, and the user's words last, so that they win.
///
/// Not `quiet`: measured under TCG the whole log costs nothing that can be seen (2.1 s either way), and where a boot
/// fails it holds the cause. Under TCG `no_timer_check`, as kernels on KVM set it for themselves
/// (`arch/x86/kernel/kvm.c`, `kvm_guest_init`): on a busy host the check of the timer's interrupts fails now and then,
/// and the kernel panics with "IO-APIC + timer doesn't work!" through no fault of its own.
pub fn command_line(spec: &BootSpec, accelerator: Accelerator) -> Result<OsString, MachineError> {
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
    use super::{Accelerator, MachineError, choose_accelerator, command_line, extra_arguments, is_microvm, memory_for};
    use crate::arch::Arch;
    use crate::qemu::spec::{Accel, BootSpec};
    use std::ffi::OsStr;

    #[test]
    fn tcg_is_never_probed_for_and_a_foreign_guest_never_gets_kvm() {
        let probe = |_| panic!("probed");
        assert_eq!(choose_accelerator(Accel::Tcg, Arch::X86_64, probe), Ok((Accelerator::Tcg, None)));
        let foreign = if Arch::host() == Some(Arch::S390x) { Arch::X86_64 } else { Arch::S390x };
        assert!(matches!(choose_accelerator(Accel::Kvm, foreign, probe), Err(MachineError::NoKvm(_))));
        assert!(matches!(choose_accelerator(Accel::Auto, foreign, probe), Ok((Accelerator::Tcg, Some(_)))));
    }

    #[test]
    fn memory_grows_with_the_initrd_and_too_little_is_refused_with_the_number_needed() {
        assert_eq!(memory_for(None, 10 << 20), Ok(1024));
        assert!(memory_for(None, 700 << 20).expect("fits") >= 2100);
        assert_eq!(memory_for(Some(256), 1 << 20), Ok(256));
        assert_eq!(
            memory_for(Some(256), 300 << 20),
            Err(MachineError::Memory { initrd_mib: 300, memory_mib: 256, needed_mib: 1060 })
        );
    }

    #[test]
    fn the_kernel_under_test_is_changed_only_where_that_was_asked_for_and_the_users_words_come_last() {
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
    fn a_qemu_that_would_leave_is_refused() {
        assert_eq!(extra_arguments(&["-trace".into(), "x".into()]).expect("fine").len(), 2);
        assert_eq!(extra_arguments(&["--daemonize".into()]), Err(MachineError::Daemonize));
    }

    #[test]
    fn microvm_is_told_by_its_name_alone() {
        assert!(is_microvm(OsStr::new("microvm")) && is_microvm(OsStr::new("microvm,rtc=on")));
        assert!(!is_microvm(OsStr::new("q35")) && !is_microvm(OsStr::new("microvmx")));
    }
}

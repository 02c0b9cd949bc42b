//! Converts the machine of an untrusted manifest to a boot specification.
//!
//! Many QEMU arguments read or write host files: `-drive`, `-D`, `-machine dumpdtb=`, `-device loader,file=`. Therefore
//! the CPU model, the number of CPUs and the machine type are restricted to plain words, machine properties to a fixed
//! list, and everything else requires the user's permission.

use super::{Bundle, BundleError, INITRD, KERNEL, MachineInfo, Manifest, QemuInfo};
use crate::arch::Arch;
use crate::guest::prebuilt::Prebuilt;
use crate::initrd::explain::Printable;
use crate::qemu::device::Devices;
use crate::qemu::firmware::Firmware;
use crate::qemu::machine::{Accelerator, Display, Machine, command_line};
use crate::qemu::machine_type::Transport;
use crate::qemu::machine_type::is_safe;
use crate::qemu::program::{Qemu, QemuFacts};
use crate::qemu::spec::{Accel, BootSpec, FirmwareRef};

/// Transports of pid 1 in bundles.
const TRANSPORTS: [Transport; 3] = [Transport::VirtioPci, Transport::VirtioMmio, Transport::Com2];
/// Maximum length of an argument, in bytes.
const MAX_ARGUMENT: usize = 4096;
/// Maximum guest memory: 64 TiB, the same limit as in `spec::amount`.
const MAX_MEMORY_MIB: u64 = 64 << 20;

impl Bundle {
    /// Returns the recorded kernel and initrd.
    pub fn prebuilt(&self) -> Result<Prebuilt, BundleError> {
        let Manifest { arch, kernel, machine, .. } = &self.manifest;
        let invalid = |reason: &str| BundleError::Machine(reason.to_owned());
        let missing = |name: &str| BundleError::Missing(name.to_owned());
        let transport = TRANSPORTS.into_iter().find(|known| known.name() == machine.channel);
        let initrd = self.files.get(INITRD).ok_or_else(|| missing(INITRD))?;
        let arch = Arch::named(arch).ok_or_else(|| invalid("unknown architecture"))?;
        Ok(Prebuilt {
            image: self.path(KERNEL).ok_or_else(|| missing(KERNEL))?,
            kind: kernel.kind(arch),
            arch,
            origin: Printable(kernel.origin.as_bytes()).to_string(),
            initrd: initrd.try_clone().map_err(BundleError::Read)?,
            transport: transport.ok_or_else(|| invalid("unknown guest channel"))?,
        })
    }
}

impl MachineInfo {
    /// Returns the boot specification. Fails if the machine requires the user's permission and `trusted` is false.
    pub fn boot_spec(&self, trusted: bool) -> Result<BootSpec, BundleError> {
        let invalid = |reason: String| Err(BundleError::Machine(reason));
        let accel = match self.accel.as_str() {
            "kvm" => Accel::Kvm,
            "tcg" => Accel::Tcg,
            accel => return invalid(format!("unknown accelerator {accel:?}")),
        };
        if !(1..=MAX_MEMORY_MIB).contains(&self.memory_mib) {
            return invalid(format!("memory size {} MiB out of range", self.memory_mib));
        }
        let arguments = [&self.machine, &self.cpu].into_iter().chain(&self.smp);
        let mut arguments = arguments.chain(&self.append).chain(&self.qemu_args);
        if let Some(argument) = arguments.find(|argument| argument.len() > MAX_ARGUMENT || argument.contains('\0')) {
            let start: String = argument.chars().take(40).collect();
            return invalid(format!("argument {start:?} is too long or contains a NUL"));
        }
        let privileged = self.privileged_arguments();
        if !trusted && !privileged.is_empty() {
            return Err(BundleError::Permission(privileged.join(" ")));
        }
        Ok(BootSpec {
            accel,
            machine: Some(self.machine.clone().into()),
            cpu: Some(self.cpu.clone().into()),
            smp: self.smp.clone().map(Into::into),
            memory_mib: Some(self.memory_mib),
            append: self.append.iter().map(Into::into).collect(),
            fast_boot: self.fast_boot,
            firmware: if self.bios { FirmwareRef::Bios } else { FirmwareRef::Direct },
            qemu_args: self.qemu_args.iter().map(Into::into).collect(),
            tty: self.tty,
            ..BootSpec::default()
        })
    }

    /// Returns the boot specification with the settings of the user, which replace the recorded ones or add to them.
    pub fn boot_spec_with(&self, user: BootSpec, trusted: bool) -> Result<BootSpec, BundleError> {
        let recorded = self.boot_spec(trusted)?;
        let accel = if user.accel == Accel::Auto { recorded.accel } else { user.accel };
        // `host` requires KVM. `None` selects the default for the accelerator.
        let is_default_cpu = match self.accel.as_str() {
            "tcg" => Arch::with_guests().any(|arch| self.cpu == Accelerator::Tcg.default_cpu(arch)),
            accel => accel == "kvm" && self.cpu == "host",
        };
        let cpu = recorded.cpu.filter(|_| accel == recorded.accel || !is_default_cpu);
        Ok(BootSpec {
            qemu: user.qemu,
            accel,
            machine: user.machine.or(recorded.machine),
            cpu: user.cpu.or(cpu),
            smp: user.smp.or(recorded.smp),
            memory_mib: user.memory_mib.or(recorded.memory_mib),
            append: [recorded.append, user.append].concat(),
            fast_boot: recorded.fast_boot || user.fast_boot,
            qemu_args: [recorded.qemu_args, user.qemu_args].concat(),
            console: user.console,
            ..recorded
        })
    }

    /// Returns the QEMU arguments that could access host resources, as typed on a command line.
    pub fn privileged_arguments(&self) -> Vec<String> {
        let option = |name: &str, value: &str| format!("{name} {value:?}");
        let mut found = Vec::new();
        found.extend((!is_safe(&self.machine, is_word)).then(|| option("-machine", &self.machine)));
        found.extend((!is_word_list(&self.cpu)).then(|| option("-cpu", &self.cpu)));
        found.extend(self.smp.iter().filter(|smp| !is_word_list(smp)).map(|smp| option("-smp", smp)));
        found.extend(self.qemu_args.iter().map(|argument| format!("{argument:?}")));
        found
    }
}

/// Returns the QEMU command line for the machine of a manifest, or `None` if the machine is invalid.
pub(super) fn command_line_of(manifest: &Manifest) -> Option<Vec<String>> {
    let Manifest { machine: info, qemu, arch, .. } = manifest;
    let spec = info.boot_spec(true).ok()?;
    let accelerator = if spec.accel == Accel::Kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    let arch = Arch::named(arch)?;
    let machine = Machine {
        arch,
        qemu: Qemu {
            path: qemu.program.clone().into(),
            facts: QemuFacts { version: qemu.version.clone(), sandbox: false },
        },
        accelerator,
        no_kvm: None,
        command_line: command_line(&spec, arch, accelerator).ok()?,
        machine: spec.machine.unwrap_or_default(),
        cpu: spec.cpu.unwrap_or_default(),
        smp: spec.smp,
        memory_mib: info.memory_mib,
        firmware: if info.bios { Firmware::Bios(None) } else { Firmware::Direct },
        display: Display::None,
        devices: Devices::default(),
        extra: spec.qemu_args,
        // The command line for users has no channel to bootling.
        transport: Transport::None,
    };
    Some(QemuInfo::new(&machine).ok()?.line)
}

/// Returns true for words separated by commas and equal signs, none of which can be a path.
fn is_word_list(text: &str) -> bool {
    !text.is_empty() && text.split([',', '=']).all(|word| is_word(word.trim_start_matches(['+', '-'])))
}

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) && !text.contains("..")
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::qemu::spec::Accel;
    use crate::regress::bundle::MachineInfo;

    pub(crate) fn note() -> MachineInfo {
        MachineInfo {
            machine: "q35".to_owned(),
            accel: "tcg".to_owned(),
            cpu: "max".to_owned(),
            smp: None,
            memory_mib: 1024,
            bios: false,
            append: vec!["init_on_alloc=1 rdinit=/x/y".to_owned()],
            fast_boot: false,
            tty: false,
            channel: "virtio-serial-pci".to_owned(),
            qemu_args: Vec::new(),
            timeout_ms: None,
        }
    }

    #[test]
    fn plain_machine_types_and_cpus_are_accepted() {
        for machine in ["q35", "pc-q35-7.2", "pc,hpet=off", "q35,smm=off,usb", "microvm,rtc=on"] {
            assert!(MachineInfo { machine: machine.to_owned(), ..note() }.boot_spec(false).is_ok(), "{machine}");
        }
        for cpu in ["max", "Skylake-Client-v3", "qemu64,-svm,+avx", "max,pmu=off,level=13"] {
            let spec =
                MachineInfo { cpu: cpu.to_owned(), smp: Some("2,cores=2".to_owned()), ..note() }.boot_spec(false);
            assert_eq!(spec.expect(cpu).cpu, Some(cpu.into()));
        }
    }

    #[test]
    fn arguments_that_could_reach_the_host_require_permission() {
        let machines =
            ["q35,dumpdtb=/etc/x", "q35,memory-backend=ram", "q35,firmware=x", "q35,,x=y", "", "../x", "q35 -S"];
        for machine in machines {
            let note = MachineInfo { machine: machine.to_owned(), ..note() };
            let error = note.boot_spec(false).expect_err(machine).to_string();
            assert!(error.contains("-machine"), "{error}");
            assert!(note.boot_spec(true).is_ok());
        }
        let note = MachineInfo { qemu_args: vec!["-D".to_owned(), "/home/x".to_owned()], ..note() };
        assert_eq!(note.privileged_arguments(), [r#""-D""#, r#""/home/x""#]);
        assert!(note.boot_spec(false).is_err());
        assert_eq!(note.boot_spec(true).expect("trusted").qemu_args, ["-D", "/home/x"]);
    }

    #[test]
    fn invalid_machines_are_refused_even_if_trusted() {
        let nul = MachineInfo { append: vec!["a\0b".to_owned()], ..note() };
        let accel = MachineInfo { accel: "hvf".to_owned(), ..note() };
        for note in
            [nul, accel, MachineInfo { memory_mib: 0, ..note() }, MachineInfo { memory_mib: u64::MAX, ..note() }]
        {
            assert!(note.boot_spec(true).is_err(), "{note:?}");
        }
        let kvm = MachineInfo { accel: "kvm".to_owned(), ..note() };
        assert_eq!(kvm.boot_spec(false).expect("a machine").accel, Accel::Kvm);
    }
}

//! Converts the machine of an untrusted manifest to a boot specification.
//!
//! Many QEMU arguments read or write host files: `-drive`, `-D`, `-machine dumpdtb=`, `-device loader,file=`. Therefore
//! the CPU model, the number of CPUs and the machine type are restricted to plain words, machine properties to a fixed
//! list, and everything else requires the user's permission.

use super::{ACCELERATORS, BundleError, MachineNote};
use crate::qemu::spec::{Accel, BootSpec, FirmwareRef};

/// Machine properties that name no host resource (QEMU `hw/core/machine.c`, `hw/i386/`).
const PROPERTIES: [&str; 22] = [
    "acpi",
    "dump-guest-core",
    "graphics",
    "hpet",
    "i8042",
    "ioapic2",
    "isa-serial",
    "kernel-irqchip",
    "max-ram-below-4g",
    "mem-merge",
    "nvdimm",
    "pcie",
    "pic",
    "pit",
    "rtc",
    "sata",
    "smbus",
    "smm",
    "suppress-vmdesc",
    "usb",
    "vmport",
    "x-option-roms",
];
/// Maximum length of an argument, in bytes.
const WORD: usize = 4096;
/// Maximum guest memory: 64 TiB, the same limit as in `spec::amount`.
const MOST_MIB: u64 = 64 << 20;

/// Returns the boot specification. Fails if the machine requires the user's permission and `trusted` is false.
pub fn vetted(note: &MachineNote, trusted: bool) -> Result<BootSpec, BundleError> {
    let refused = |what: String| Err(BundleError::Machine(what));
    let leave = needs_leave(note);
    if !trusted && !leave.is_empty() {
        return refused(format!("QEMU arguments that require permission: {}", leave.join(" ")));
    }
    if !ACCELERATORS.contains(&note.accel.as_str()) {
        return refused(format!("unknown accelerator {:?}", note.accel));
    }
    if !(1..=MOST_MIB).contains(&note.memory_mib) {
        return refused(format!("memory size {} MiB out of range", note.memory_mib));
    }
    let words = [&note.machine, &note.cpu].into_iter().chain(&note.smp).chain(&note.append).chain(&note.qemu_args);
    if let Some(word) = words.clone().find(|word| word.len() > WORD || word.contains('\0')) {
        let start: String = word.chars().take(40).collect();
        return refused(format!("argument {start:?} is too long or contains a NUL"));
    }
    Ok(BootSpec {
        accel: if note.accel == "kvm" { Accel::Kvm } else { Accel::Tcg },
        machine: Some(note.machine.clone().into()),
        cpu: Some(note.cpu.clone().into()),
        smp: note.smp.clone().map(Into::into),
        memory_mib: Some(note.memory_mib),
        append: note.append.iter().map(Into::into).collect(),
        fast_boot: note.fast_boot,
        firmware: if note.bios { FirmwareRef::Bios } else { FirmwareRef::Direct },
        qemu_args: note.qemu_args.iter().map(Into::into).collect(),
        tty: note.tty,
        ..BootSpec::default()
    })
}

/// Returns the QEMU arguments that could access host resources, as typed on a command line.
pub fn needs_leave(note: &MachineNote) -> Vec<String> {
    let option = |name: &str, value: &str| format!("{name} {value:?}");
    let mut found = Vec::new();
    found.extend((!is_machine(&note.machine)).then(|| option("-machine", &note.machine)));
    found.extend((!is_plain(&note.cpu)).then(|| option("-cpu", &note.cpu)));
    found.extend(note.smp.iter().filter(|smp| !is_plain(smp)).map(|smp| option("-smp", smp)));
    found.extend(note.qemu_args.iter().map(|word| format!("{word:?}")));
    found
}

/// Returns true for a machine type with only properties from the list.
fn is_machine(text: &str) -> bool {
    let mut parts = text.split(',');
    let is_name = parts.next().is_some_and(is_word);
    is_name
        && parts.all(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, "on"));
            PROPERTIES.contains(&name) && is_word(value)
        })
}

/// Returns true for words separated by commas and equal signs, none of which can be a path.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.split([',', '=']).all(|word| is_word(word.trim_start_matches(['+', '-'])))
}

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) && !text.contains("..")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{needs_leave, vetted};
    use crate::qemu::spec::Accel;
    use crate::regress::bundle::MachineNote;

    pub(crate) fn note() -> MachineNote {
        MachineNote {
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
            assert!(vetted(&MachineNote { machine: machine.to_owned(), ..note() }, false).is_ok(), "{machine}");
        }
        for cpu in ["max", "Skylake-Client-v3", "qemu64,-svm,+avx", "max,pmu=off,level=13"] {
            let spec = vetted(&MachineNote { cpu: cpu.to_owned(), smp: Some("2,cores=2".to_owned()), ..note() }, false);
            assert_eq!(spec.expect(cpu).cpu, Some(cpu.into()));
        }
    }

    #[test]
    fn arguments_that_could_reach_the_host_require_permission() {
        let machines =
            ["q35,dumpdtb=/etc/x", "q35,memory-backend=ram", "q35,firmware=x", "q35,,x=y", "", "../x", "q35 -S"];
        for machine in machines {
            let note = MachineNote { machine: machine.to_owned(), ..note() };
            let error = vetted(&note, false).expect_err(machine).to_string();
            assert!(error.contains("-machine"), "{error}");
            assert!(vetted(&note, true).is_ok());
        }
        let note = MachineNote { qemu_args: vec!["-D".to_owned(), "/home/x".to_owned()], ..note() };
        assert_eq!(needs_leave(&note), [r#""-D""#, r#""/home/x""#]);
        assert!(vetted(&note, false).is_err());
        assert_eq!(vetted(&note, true).expect("trusted").qemu_args, ["-D", "/home/x"]);
    }

    #[test]
    fn invalid_machines_are_refused_even_if_trusted() {
        let nul = MachineNote { append: vec!["a\0b".to_owned()], ..note() };
        let accel = MachineNote { accel: "hvf".to_owned(), ..note() };
        for note in
            [nul, accel, MachineNote { memory_mib: 0, ..note() }, MachineNote { memory_mib: u64::MAX, ..note() }]
        {
            assert!(vetted(&note, true).is_err(), "{note:?}");
        }
        let kvm = MachineNote { accel: "kvm".to_owned(), ..note() };
        assert_eq!(vetted(&kvm, false).expect("a machine").accel, Accel::Kvm);
    }
}

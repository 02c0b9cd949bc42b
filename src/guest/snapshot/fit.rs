//! Checks whether a run can be warm, before QEMU starts.
//!
//! A restored guest assumes that its environment is unchanged since it was saved. Devices that the user adds may have state
//! outside the machine (above all disk images): such runs boot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::guest::RunSpec;
use crate::qemu::device::disk::DiskBus;
use crate::qemu::machine_type::MachineType;
use crate::qemu::machine_type::Transport;

/// QEMU options without state outside the machine, with the number of arguments that each takes.
const HARMLESS: [(&str, usize); 18] = [
    ("-device", 1),
    ("-global", 1),
    ("-trace", 1),
    ("-d", 1),
    ("-D", 1),
    ("-dfilter", 1),
    ("-msg", 1),
    ("-name", 1),
    ("-uuid", 1),
    ("-smbios", 1),
    ("-action", 1),
    ("-overcommit", 1),
    ("-boot", 1),
    ("-vga", 1),
    ("-no-hpet", 0),
    ("-no-acpi", 0),
    ("-sandbox", 1),
    ("-nodefaults", 0),
];

/// Returns the reason why this run cannot be warm, as a clause; `None`: it can be tried.
pub(crate) fn unfit(spec: &RunSpec, machine: &OsStr, transport: Transport) -> Option<String> {
    if spec.ready_made.is_some() {
        return Some("the kernel must unpack an existing initrd".to_owned());
    }
    if transport == Transport::None {
        return Some("the guest has no channel".to_owned());
    }
    if !MachineType::of(machine).has_pci() {
        return Some("this machine has no PCI, which delivers commands to a restored guest".to_owned());
    }
    if spec.boot.disks.iter().any(|disk| disk.bus == DiskBus::Nvme) {
        return Some("QEMU cannot save NVMe disks (bus=virtio and bus=scsi can be saved)".to_owned());
    }
    if contains(machine, b"memory-backend=") {
        return Some("the machine's memory has its own backend".to_owned());
    }
    extra(&spec.boot.qemu_args)
}

/// Returns the first additional argument that may have state outside the machine.
fn extra(words: &[std::ffi::OsString]) -> Option<String> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        // QEMU accepts one or two dashes.
        let option = if bytes.starts_with(b"--") { &bytes[1..] } else { bytes };
        let Some((_, follow)) = HARMLESS.iter().find(|(name, _)| name.as_bytes() == option) else {
            return Some(format!("--qemu-arg={} may have state outside the machine", word.display()));
        };
        for _ in 0..*follow {
            rest.next();
        }
    }
    None
}

fn contains(text: &OsStr, part: &[u8]) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::{extra, unfit};
    use crate::guest::RunSpec;
    use crate::qemu::machine_type::Transport;
    use std::ffi::{OsStr, OsString};

    #[test]
    fn a_machine_without_pci_or_with_its_own_memory_backend_is_not_restored() {
        let spec = RunSpec::default();
        let why = |machine: &str, transport| unfit(&spec, OsStr::new(machine), transport);
        assert_eq!(why("q35", Transport::VirtioPci), None);
        assert_eq!(why("pc", Transport::Com2), None);
        assert!(why("microvm", Transport::VirtioMmio).is_some_and(|why| why.contains("no PCI")));
        assert!(why("isapc", Transport::Com2).is_some_and(|why| why.contains("no PCI")));
        assert!(why("q35,memory-backend=x", Transport::VirtioPci).is_some_and(|why| why.contains("memory")));
        let ready_made = RunSpec { ready_made: Some("x".into()), ..RunSpec::default() };
        assert!(unfit(&ready_made, OsStr::new("q35"), Transport::VirtioPci).is_some());
    }

    #[test]
    fn arguments_with_external_state_are_detected() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for harmless in [&[][..], &["-trace", "ich9*", "--device", "i6300esb"], &["-d", "int", "-D", "/tmp/log"]] {
            assert_eq!(extra(&words(harmless)), None, "{harmless:?}");
        }
        for harmful in [&["-drive", "file=x"][..], &["-trace", "a", "-hda", "x"], &["x"], &["-incoming", "defer"]] {
            assert!(extra(&words(harmful)).is_some(), "{harmful:?}");
        }
    }
}

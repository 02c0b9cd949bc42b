//! Whether a run can be warm at all, before anything is tried.
//!
//! A restored guest believes that everything around it is as it was when it was saved. What a user adds to the machine may
//! have a state of its own outside (a disk image above all): such runs boot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::guest::RunSpec;
use crate::qemu::machine::Transport;

/// QEMU's options that keep nothing outside of the machine, and how many words follow each.
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

/// Why this run cannot be warm, in half a sentence; `None`: it may be tried.
pub fn unfit(spec: &RunSpec, machine: &OsStr, transport: Transport) -> Option<String> {
    if spec.ready_made.is_some() {
        return Some("a ready-made initrd is the kernel's to unpack".to_owned());
    }
    match transport {
        Transport::VirtioPci | Transport::Com2 => {}
        Transport::VirtioMmio => {
            return Some("this machine has no PCI, which the guest gets its commands over".to_owned());
        }
        Transport::None => return Some("there is no channel to the guest".to_owned()),
    }
    if contains(machine, b"memory-backend=") {
        return Some("the machine's memory is taken from elsewhere".to_owned());
    }
    extra(&spec.boot.qemu_args)
}

/// The first of the further arguments that may have a state outside of the machine.
fn extra(words: &[std::ffi::OsString]) -> Option<String> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        // QEMU takes two dashes for one.
        let option = if bytes.starts_with(b"--") { &bytes[1..] } else { bytes };
        let Some((_, follow)) = HARMLESS.iter().find(|(name, _)| name.as_bytes() == option) else {
            return Some(format!("--qemu-arg={} may bring a state of its own", word.display()));
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
    use crate::qemu::machine::Transport;
    use std::ffi::{OsStr, OsString};

    #[test]
    fn a_machine_without_pci_or_with_memory_of_its_own_is_not_restored() {
        let spec = RunSpec::default();
        let why = |machine: &str, transport| unfit(&spec, OsStr::new(machine), transport);
        assert_eq!(why("q35", Transport::VirtioPci), None);
        assert_eq!(why("pc", Transport::Com2), None);
        assert!(why("microvm", Transport::VirtioMmio).is_some_and(|why| why.contains("no PCI")));
        assert!(why("q35,memory-backend=x", Transport::VirtioPci).is_some_and(|why| why.contains("memory")));
        let ready_made = RunSpec { ready_made: Some("x".into()), ..RunSpec::default() };
        assert!(unfit(&ready_made, OsStr::new("q35"), Transport::VirtioPci).is_some());
    }

    #[test]
    fn arguments_with_a_state_of_their_own_are_told_from_those_without() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for harmless in [&[][..], &["-trace", "ich9*", "--device", "i6300esb"], &["-d", "int", "-D", "/tmp/log"]] {
            assert_eq!(extra(&words(harmless)), None, "{harmless:?}");
        }
        for harmful in [&["-drive", "file=x"][..], &["-trace", "a", "-hda", "x"], &["x"], &["-incoming", "defer"]] {
            assert!(extra(&words(harmful)).is_some(), "{harmful:?}");
        }
    }
}

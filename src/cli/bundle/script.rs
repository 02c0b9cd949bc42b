//! Checks whether a bundle's script is the one that bootling writes for its manifest; any other script may do anything.
//!
//! The check needs only the manifest and is independent of the host: the script contains the command line from the
//! manifest, and that command line must be the one for the manifest's machine.

use anyhow::Context;

use super::qemu_note;
use bootling::initrd::explain::Printable;
use bootling::qemu::firmware::Firmware;
use bootling::qemu::machine::{Accelerator, Display, Machine, Transport, command_line};
use bootling::qemu::program::{Qemu, QemuFacts};
use bootling::qemu::spec::Accel;
use bootling::regress::bundle::{Bundle, Manifest, SCRIPT, vetted};

/// Returns the name and version of this program for a manifest.
pub fn name_and_version() -> String {
    format!("bootling {}", env!("CARGO_PKG_VERSION"))
}

/// Returns a warning if the script is not the one that bootling writes.
pub fn warning(bundle: &Bundle) -> anyhow::Result<Option<String>> {
    if is_own(bundle)? {
        return Ok(None);
    }
    let (ours, theirs) = (name_and_version(), &bundle.manifest.made_by);
    let why = if *theirs == ours {
        String::new()
    } else {
        format!(
            "; the bundle was made by {}, this is {ours}, which may be the only reason",
            Printable(theirs.as_bytes())
        )
    };
    Ok(Some(format!("not the one that bootling would write: read it before you run it{why}")))
}

fn is_own(bundle: &Bundle) -> anyhow::Result<bool> {
    if !bundle.files.contains_key(SCRIPT) {
        return Ok(true);
    }
    let is_of_manifest = bundle.has_own_script().with_context(|| format!("failed to read {SCRIPT}"))?;
    Ok(is_of_manifest && own_line(&bundle.manifest).as_ref() == Some(&bundle.manifest.qemu.line))
}

/// Returns the command line for the machine in a manifest, or `None` if that is not a valid machine.
fn own_line(manifest: &Manifest) -> Option<Vec<String>> {
    let Manifest { machine: note, qemu, .. } = manifest;
    // Invalid arguments are reported when the bundle is run.
    let spec = vetted(note, true).ok()?;
    let accelerator = if spec.accel == Accel::Kvm { Accelerator::Kvm } else { Accelerator::Tcg };
    let machine = Machine {
        qemu: Qemu {
            path: qemu.program.clone().into(),
            facts: QemuFacts { version: qemu.version.clone(), sandbox: false },
        },
        accelerator,
        no_kvm: None,
        command_line: command_line(&spec, accelerator).ok()?,
        machine: spec.machine.unwrap_or_default(),
        cpu: spec.cpu.unwrap_or_default(),
        smp: spec.smp,
        memory_mib: note.memory_mib,
        firmware: if note.bios { Firmware::Bios(None) } else { Firmware::Direct },
        display: Display::None,
        extra: spec.qemu_args,
        // The command line for users has no channel to bootling.
        transport: Transport::None,
    };
    Some(qemu_note(&machine).ok()?.line)
}

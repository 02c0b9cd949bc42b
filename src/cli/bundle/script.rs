//! Whether a bundle's script is the one that bootling writes for such a run: another one may do anything.
//!
//! The manifest alone settles that, whatever machine it is read on: the script's words are the line in the manifest, and that line
//! is what the manifest's own machine makes.

use anyhow::Context;

use super::qemu_note;
use bootling::initrd::explain::Printable;
use bootling::qemu::firmware::Firmware;
use bootling::qemu::machine::{Accelerator, Display, Machine, Transport, command_line};
use bootling::qemu::program::{Qemu, QemuFacts};
use bootling::qemu::spec::Accel;
use bootling::regress::bundle::{Bundle, Manifest, SCRIPT, vetted};

/// Ourselves, as a bundle calls us.
pub fn name_and_version() -> String {
    format!("bootling {}", env!("CARGO_PKG_VERSION"))
}

/// What is to be said of a script that is not ours.
pub fn warning(bundle: &Bundle) -> anyhow::Result<Option<String>> {
    if is_own(bundle)? {
        return Ok(None);
    }
    let (ours, theirs) = (name_and_version(), &bundle.manifest.made_by);
    let why = if *theirs == ours {
        String::new()
    } else {
        format!("; it was made by {}, this is {ours}: that may be all there is to it", Printable(theirs.as_bytes()))
    };
    Ok(Some(format!("not the one that bootling would write for it: read it before you start it{why}")))
}

fn is_own(bundle: &Bundle) -> anyhow::Result<bool> {
    if !bundle.files.contains_key(SCRIPT) {
        return Ok(true);
    }
    let is_of_manifest = bundle.has_own_script().with_context(|| format!("reading {SCRIPT}"))?;
    Ok(is_of_manifest && own_line(&bundle.manifest).as_ref() == Some(&bundle.manifest.qemu.line))
}

/// The line for the machine of a manifest; `None`: there is no such machine.
fn own_line(manifest: &Manifest) -> Option<Vec<String>> {
    let Manifest { machine: note, qemu, .. } = manifest;
    // What is wrong with such words is told by who is to run them.
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
        // The line that people start has no channel.
        transport: Transport::None,
    };
    Some(qemu_note(&machine).ok()?.line)
}

//! `bootling ls BUNDLE` and `bootling cat BUNDLE FILE`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use anyhow::bail;

use bootling::guest::report::RecordedResult;
use bootling::initrd::explain::Printable;
use bootling::qemu::argv::shell_line;
use bootling::regress::bundle::{Bundle, MANIFEST, SCRIPT, inspect, read_file};

/// Opens a file to list it if it is a bundle, and verifies the files in it, unless they are very large.
pub(crate) fn open(path: &Path) -> anyhow::Result<Option<Bundle>> {
    Ok(super::open(path)?.map(|mut file| inspect(&mut file)).transpose()?)
}

/// Opens a file to print a file in it if it is a bundle, and verifies all files in it.
pub(crate) fn open_file(path: &Path, name: &str) -> anyhow::Result<Option<Bundle>> {
    Ok(super::open(path)?.map(|mut file| read_file(&mut file, name)).transpose()?)
}

/// Prints the manifest and the files as text.
pub(crate) fn text(bundle: &Bundle, out: &mut dyn Write) -> anyhow::Result<()> {
    let manifest = &bundle.manifest;
    let machine = &manifest.machine;
    let words: Vec<OsString> = manifest.command.iter().map(OsString::from).collect();
    let smp = machine.smp.as_ref().map(|smp| format!(", {smp} CPUs")).unwrap_or_default();
    let release = manifest.kernel.release.as_ref().map(|release| format!(", {release}")).unwrap_or_default();
    let warning = bundle.script_warning()?;
    let lines = [
        ("command", shell_line(&words).to_string_lossy().into_owned()),
        ("kernel", format!("{}{release}", manifest.kernel.origin)),
        ("machine", format!("{}, {} {}, {} MiB{smp}", machine.machine, machine.accel, machine.cpu, machine.memory_mib)),
        ("append", machine.append.join(" ")),
        ("arguments", machine.qemu_args.join(" ")),
        ("QEMU", manifest.qemu.version.clone()),
        ("made by", manifest.made_by.clone()),
        (SCRIPT, warning.unwrap_or_default()),
        ("result", manifest.expected.as_ref().map_or_else(|| "not recorded".to_owned(), RecordedResult::describe)),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "{name:>9}: {}", Printable(value.as_bytes()))?;
    }
    for (name, file) in &manifest.files {
        let is_unchecked = bundle.unchecked.contains(name);
        let note = if is_unchecked { " (too large to check here; `run` and `cat` check it)" } else { "" };
        writeln!(out, "{:>12} {} {name}{note}", file.bytes, file.sha256)?;
    }
    Ok(())
}

/// Prints the manifest as JSON.
pub(crate) fn json(bundle: &Bundle, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &bundle.manifest)?;
    Ok(writeln!(out)?)
}

/// Prints a file of the bundle.
pub(crate) fn cat(mut bundle: Bundle, name: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    if name == MANIFEST {
        return json(&bundle, out);
    }
    let Some(file) = bundle.files.get_mut(name) else { bail!("no such entry") };
    io::copy(file, out)?;
    Ok(())
}

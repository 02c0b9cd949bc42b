//! The bundle's `README.txt`, and the script that repeats the run with QEMU only.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::FileExt;

use super::machine::command_line_of;
use super::{Bundle, BundleError, CONSOLE_ARCHIVE, CONSOLE_INITRD, INITRD, Manifest, README, SCRIPT};
use crate::format::guest_text::one_line;
use crate::guest::report::RecordedResult;
use crate::initrd::explain::Printable;
use crate::qemu::argv::shell_line;

/// Returns the content of `README.txt`.
pub(super) fn readme(manifest: &Manifest) -> String {
    let Manifest { kernel, machine, qemu, expected, .. } = manifest;
    let shell = |words: &[String]| {
        shell_line(&words.iter().map(OsString::from).collect::<Vec<_>>()).to_string_lossy().into_owned()
    };
    let release = kernel.release.as_ref().map(|release| format!(" ({release})")).unwrap_or_default();
    let result = expected.as_ref().map_or_else(|| "not run".to_owned(), RecordedResult::describe);
    let [command, origin, release, machine_type, accel, cpu, program, version, result, line] = [
        &shell(&manifest.command),
        &kernel.origin,
        &release,
        &machine.machine,
        &machine.accel,
        &machine.cpu,
        &qemu.program,
        &qemu.version,
        &result,
        &shell(&qemu.line),
    ]
    .map(|text| one_line(text));
    let memory_mib = machine.memory_mib;
    format!(
        "A reproducible run of a Linux guest.

  command   {command}
  kernel    {origin}{release}
  machine   {machine_type}, {accel} {cpu}, {memory_mib} MiB
  QEMU      {program} {version}
  result    {result}

With bootling, directly from the archive:

  bootling run ARCHIVE

bootling verifies every file, starts QEMU and reports whether the result is the same.
Use `bootling run --qemu PATH ARCHIVE` to select another QEMU.

With QEMU only, from the directory of this file:

  sh {SCRIPT}                     or: QEMU=/path/to/qemu-system-x86_64 sh {SCRIPT}

The guest uses its console, which is your terminal, and finally prints how the command
ended. Press Ctrl-a x to stop it earlier. {SCRIPT} appends {CONSOLE_ARCHIVE} to {INITRD}, which
makes pid 1 use the console, and runs:

  {line}
"
    )
}

/// Returns the content of `run.sh`.
pub(super) fn script(manifest: &Manifest) -> String {
    let mut words: Vec<OsString> = manifest.qemu.line.iter().map(OsString::from).collect();
    let program = words.drain(..words.len().min(1)).next().unwrap_or_default();
    format!(
        "#!/bin/sh\n# Repeats the run with QEMU only; see {README}.\ncd \"$(dirname \"$0\")\" || exit\n\
         cat {INITRD} {CONSOLE_ARCHIVE} >{CONSOLE_INITRD} || exit\nexec \"${{QEMU:-{}}}\" {}\n",
        in_quotes(&program.to_string_lossy()),
        shell_line(&words).to_string_lossy()
    )
}

/// Returns the name and version of this program for a manifest.
pub(super) fn made_by() -> String {
    format!("bootling {}", env!("CARGO_PKG_VERSION"))
}

impl Bundle {
    /// Returns a warning if the bundle contains a script that bootling would not write for its manifest and machine. Any
    /// other script is untrusted. The check is independent of the host.
    pub fn script_warning(&self) -> Result<Option<String>, BundleError> {
        if self.unchecked.iter().any(|name| name == SCRIPT) {
            return Ok(Some("not checked, since it follows very large files: read it before you run it".to_owned()));
        }
        let has_command_line = || command_line_of(&self.manifest).as_ref() == Some(&self.manifest.qemu.line);
        if !self.files.contains_key(SCRIPT)
            || (self.has_generated_script().map_err(BundleError::Read)? && has_command_line())
        {
            return Ok(None);
        }
        let (this, other) = (made_by(), &self.manifest.made_by);
        let reason = if *other == this {
            String::new()
        } else {
            let other = Printable(other.as_bytes());
            format!("; the bundle was made by {other}, this is {this}, which may be the only reason")
        };
        Ok(Some(format!("not the one that bootling would write: read it before you run it{reason}")))
    }

    /// Returns true if the script is missing or equals the script generated from the manifest.
    pub(super) fn has_generated_script(&self) -> io::Result<bool> {
        let Some(file) = self.files.get(SCRIPT) else { return Ok(true) };
        let generated = script(&self.manifest).into_bytes();
        let mut bytes = vec![0; generated.len()];
        Ok(file.metadata()?.len() == generated.len() as u64 && {
            file.read_exact_at(&mut bytes, 0)?;
            bytes == generated
        })
    }
}

/// Escapes text for a parameter expansion within double quotes, since the manifest is untrusted.
fn in_quotes(text: &str) -> String {
    let escape = |letter: char| matches!(letter, '\\' | '"' | '$' | '`' | '}').then_some('\\');
    text.chars().flat_map(|letter| escape(letter).into_iter().chain([letter])).collect()
}

#[cfg(test)]
mod tests {
    use super::in_quotes;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
    use std::process::Command;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 100, ..ProptestConfig::default() })]
        #[test]
        fn the_shell_expands_no_program_name(name in "[^\\PC\0]{0,3}[}\"$`\\\\a-z ;|(*!']{0,9}[a-z]") {
            let line = format!("printf %s \"${{NO_SUCH_VARIABLE:-{}}}\"", in_quotes(&name));
            let output = Command::new("sh").arg("-c").arg(line).output().expect("sh runs").stdout;
            prop_assert_eq!(String::from_utf8_lossy(&output), name);
        }
    }
}

//! The bundle's `README.txt`, and the script that repeats the run with QEMU only.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::{INITRD, Manifest, ON_CONSOLE, README, SCRIPT};
use crate::qemu::argv::shell_line;

/// The initrd for the console, created by the script.
pub const JOINED: &str = "initrd.console";

/// Returns the content of `README.txt`.
pub(super) fn readme(manifest: &Manifest) -> String {
    let mut text = String::new();
    let kernel = &manifest.kernel;
    let release = kernel.release.as_ref().map(|release| format!(" ({release})")).unwrap_or_default();
    let command = shell_line(&manifest.command.iter().map(OsString::from).collect::<Vec<_>>());
    let expected = manifest.expected.as_ref().map_or_else(|| "not run".to_owned(), super::Expected::told);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "A reproducible run of a Linux guest.

  command   {}
  kernel    {}{}
  machine   {}, {} {}, {} MiB
  QEMU      {} {}
  result    {}

With bootling, directly from the archive:

  bootling run ARCHIVE

bootling verifies every file, starts QEMU and reports whether the result is the same.
Use `bootling run --qemu PATH ARCHIVE` to select another QEMU.

With QEMU only, from the directory of this file:

  sh {SCRIPT}                     or: QEMU=/path/to/qemu-system-x86_64 sh {SCRIPT}

The guest uses its console, which is your terminal, and finally prints how the command
ended. Press Ctrl-a x to stop it earlier. {SCRIPT} appends {ON_CONSOLE} to {INITRD}, which
makes pid 1 use the console, and runs:

",
        plain(&command.to_string_lossy()),
        plain(&kernel.origin),
        plain(&release),
        plain(&manifest.machine.machine),
        plain(&manifest.machine.accel),
        plain(&manifest.machine.cpu),
        manifest.machine.memory_mib,
        plain(&manifest.qemu.program),
        plain(&manifest.qemu.version),
        plain(&expected),
    );
    let _ = writeln!(text, "  {}", line(manifest));
    text
}

/// Returns the content of `run.sh`.
pub(super) fn script(manifest: &Manifest) -> String {
    let mut words: Vec<OsString> = manifest.qemu.line.iter().map(OsString::from).collect();
    let program = words.drain(..words.len().min(1)).next().unwrap_or_default();
    format!(
        "#!/bin/sh\n# Repeats the run with QEMU only; see {README}.\ncd \"$(dirname \"$0\")\" || exit\n\
         cat {INITRD} {ON_CONSOLE} >{JOINED} || exit\nexec \"${{QEMU:-{}}}\" {}\n",
        in_quotes(&program.to_string_lossy()),
        shell_line(&words).to_string_lossy()
    )
}

/// Escapes text for a parameter expansion within double quotes, since the manifest is untrusted.
fn in_quotes(text: &str) -> String {
    let escape = |letter: char| matches!(letter, '\\' | '"' | '$' | '`' | '}').then_some('\\');
    text.chars().flat_map(|letter| escape(letter).into_iter().chain([letter])).collect()
}

fn line(manifest: &Manifest) -> String {
    let words: Vec<OsString> = manifest.qemu.line.iter().map(OsString::from).collect();
    plain(&shell_line(&words).to_string_lossy())
}

/// Replaces control characters, which a terminal would interpret.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
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

//! What a bundle tells people, and the script that repeats it with nothing but QEMU.

use std::ffi::OsString;
use std::fmt::Write as _;

use super::{INITRD, Manifest, ON_CONSOLE, README, SCRIPT};
use crate::qemu::argv::shell_line;

/// The initrd that talks on the console, once the script has made it.
pub const JOINED: &str = "initrd.console";

/// `README.txt`.
pub(super) fn readme(manifest: &Manifest) -> String {
    let mut text = String::new();
    let kernel = &manifest.kernel;
    let release = kernel.release.as_ref().map(|release| format!(" ({release})")).unwrap_or_default();
    let command = shell_line(&manifest.command.iter().map(OsString::from).collect::<Vec<_>>());
    let expected = manifest.expected.as_ref().map_or_else(|| "nobody has tried".to_owned(), super::Expected::told);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "A run of a Linux guest, to be repeated anywhere.

  command   {}
  kernel    {}{}
  machine   {}, {} {}, {} MiB
  QEMU      {} {}
  result    {}

With bootling, from the archive as it is:

  bootling run ARCHIVE

It checks every file, starts QEMU by itself and tells whether the result is the same.
`bootling run --qemu PATH ARCHIVE` takes another QEMU.

With nothing but QEMU, from where this file is:

  sh {SCRIPT}                     or: QEMU=/path/to/qemu-system-x86_64 sh {SCRIPT}

The guest then talks on its console, which is your terminal; at its end it says how the
command ended. Ctrl-a x ends it before that. {SCRIPT} puts {ON_CONSOLE} behind {INITRD}, which
makes its pid 1 talk there, and runs:

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

/// `run.sh`.
pub(super) fn script(manifest: &Manifest) -> String {
    let mut words: Vec<OsString> = manifest.qemu.line.iter().map(OsString::from).collect();
    let program = words.drain(..words.len().min(1)).next().unwrap_or_default();
    format!(
        "#!/bin/sh\n# Repeats the run with QEMU alone; {README} says more.\ncd \"$(dirname \"$0\")\" || exit\n\
         cat {INITRD} {ON_CONSOLE} >{JOINED} || exit\nexec \"${{QEMU:-{}}}\" {}\n",
        in_quotes(&program.to_string_lossy()),
        shell_line(&words).to_string_lossy()
    )
}

/// As it can stand in an expansion within double quotes: whoever wrote the manifest may have thought of more than a name.
fn in_quotes(text: &str) -> String {
    let escape = |letter: char| matches!(letter, '\\' | '"' | '$' | '`' | '}').then_some('\\');
    text.chars().flat_map(|letter| escape(letter).into_iter().chain([letter])).collect()
}

fn line(manifest: &Manifest) -> String {
    let words: Vec<OsString> = manifest.qemu.line.iter().map(OsString::from).collect();
    plain(&shell_line(&words).to_string_lossy())
}

/// Without what a terminal would obey.
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
        fn no_name_of_a_program_is_more_than_a_name_to_the_shell(name in "[^\\PC\0]{0,3}[}\"$`\\\\a-z ;|(*!']{0,9}[a-z]") {
            let line = format!("printf %s \"${{NO_SUCH_VARIABLE:-{}}}\"", in_quotes(&name));
            let said = Command::new("sh").arg("-c").arg(line).output().expect("sh runs").stdout;
            prop_assert_eq!(String::from_utf8_lossy(&said), name);
        }
    }
}

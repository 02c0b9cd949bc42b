//! `bootling test --emit`: writes a job file for the given command line, without the options that request the job file.

use std::ffi::{OsStr, OsString};
use std::io::Write;

use anyhow::{Context, ensure};

use crate::cli::output;
use bootling::qemu::argv::shell_line;
use bootling::suite::emit::{Job, System, emit};

/// Writes the job file to standard output. clap has already validated the command line.
pub(crate) fn run(system: System, shards: u32, suite: &str) -> anyhow::Result<u8> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = shell_line(&command(&words)).into_string();
    let command = command.ok().filter(|line| !line.chars().any(char::is_control));
    ensure!(
        command.is_some(),
        "failed to write a job file: the command line contains control characters or is not valid UTF-8"
    );
    let job = Job { name: suite.to_owned(), command: command.unwrap_or_default(), shards };
    let mut out = output::content();
    out.write_all(emit(system, &job).as_bytes()).and_then(|()| out.flush()).context("failed to write a job file")?;
    Ok(0)
}

/// Returns the command line without `--emit SYSTEM` and `--shards N`, in either spelling.
fn command(words: &[OsString]) -> Vec<OsString> {
    let mut command = vec![OsString::from("bootling")];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--emit" || word == "--shards" {
            words.next();
            continue;
        }
        let begins = |option: &str| word.to_str().is_some_and(|word| word.starts_with(option));
        if !begins("--emit=") && !begins("--shards=") {
            command.push(word.clone());
        }
    }
    // clap has accepted the command line, so the verb is present.
    debug_assert!(command.iter().any(|word| word == OsStr::new("test")));
    command
}

#[cfg(test)]
mod tests {
    use super::command;
    use std::ffi::OsString;

    #[test]
    fn options_that_request_the_job_file_are_removed() {
        let is = |typed: &str, left: &str| {
            let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
            let left: Vec<OsString> = left.split(' ').map(OsString::from).collect();
            assert_eq!(command(&words), left, "{typed}");
        };
        is("test --emit slurm", "bootling test");
        is("test my.toml --emit=slurm --tag smoke --shards 8", "bootling test my.toml --tag smoke");
        is("test --shards=8 --emit github -t emit", "bootling test -t emit");
    }
}

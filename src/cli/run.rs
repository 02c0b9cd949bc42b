//! `bootling run`: build in memory, boot, run the command, exit with its status.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::boot_options::BootArgs;
use super::json::Json;
use super::options::{InitrdArgs, module_parser};
use super::output;
use super::progress::Progress;
use super::report::{Circumstances, NotBooted, Report, for_people};
use super::talker::{self, Talker};
use crate::boot::argv::{Ends, Payload, Wires, argv, shell_line};
use crate::boot::session::Foreground;
use crate::boot::signals::Signals;
use crate::resolve::UserlandError;
use crate::spec::{ModuleRequest, RunWhat};
use crate::verdict::{code, judge};
use crate::vm::warm::{Age, Warm};
use crate::vm::{self, Listener, Prepared, Ran, RunSpec, VmError, prepare};

/// Build a tiny initrd in memory, boot it, run COMMAND in the guest, and exit with its status
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
pub struct RunArgs {
    #[command(flatten)]
    initrd: InitrdArgs,
    #[command(flatten)]
    boot: BootArgs,
    /// Boot this initrd instead of building one. With a COMMAND or --run, or where bootling built it, pid 1 and its
    /// job are put on top; otherwise it boots as it is, with its console on the terminal.
    #[arg(long = "initrd", value_name = "FILE", conflicts_with_all = ["with", "copy", "lib_path", "no_busybox"])]
    ready_made: Option<PathBuf>,
    /// Restore a guest that has booted once, rather than boot one: a run then takes a fraction of a second. The first run
    /// for a kernel and a machine makes the snapshot, `fresh` makes a new one. See `bootling warm --help`.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "yes",
        env = "BOOTLING_WARM"
    )]
    warm: Option<WarmArg>,
    /// As --kmod, for a warm run: load it before the guest is saved, once for all runs. May be repeated.
    #[arg(long, value_name = "NAME [PARAM=VALUE...]", requires = "warm", value_parser = module_parser())]
    base_kmod: Vec<ModuleRequest>,
    /// Give the command a terminal of its own in the guest. A shell on a terminal has one anyway.
    #[arg(long, short = 't')]
    tty: bool,
    /// Set a variable in the command's environment; without =VALUE it is taken over from here. May be repeated.
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,
    /// Write the whole verdict as JSON to FILE, or to standard output with `-`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Print the QEMU command line, ready to paste, and do not boot. The initrd it names is kept in the cache.
    #[arg(long, help_heading = "Output")]
    print_command: bool,
    /// Say nothing but what the command says and why there is no verdict.
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
    /// The program to run, from this machine, and its arguments, exactly as given.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// `--warm`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WarmArg {
    /// From the snapshot, which is made where there is none
    Yes,
    /// From a new snapshot
    Fresh,
    /// Boot, whatever BOOTLING_WARM says
    No,
}

/// What `-h` ends with, and `--help` goes on from.
macro_rules! examples {
    () => {
        "Examples:
  bootling run -- uname -a                        a program of this machine, in a guest, in seconds
  echo hi | bootling run -- wc -c                 standard input reaches it
  bootling run --run 'grep flags /proc/cpuinfo'   a line for the guest's shell
  bootling run                                    a shell in the guest; Ctrl-a x ends it
  bootling run --kernel linux-image-6.12.deb --kmod 'loop max_loop=4' -- ./mytest
  bootling run --kernel ~/src/linux -- ./selftest    a kernel build tree
  git bisect run bootling run --kernel . -- ./test   125 skips what cannot be tested
  bootling run --firmware uefi -- dmesg           the same through OVMF, for firmware developers
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
Keys on a terminal:
  Ctrl-a x  ends the guest      Ctrl-a a  sends Ctrl-a      Ctrl-a h  shows these keys
  Without a terminal of its own, Ctrl-C asks the command to stop; a second one ends the guest.

Exit status:
  the command's own, and 128+n where signal n killed it; 126 and 127 where it could not be executed or found
  118 QEMU died            119 the processor reset, nobody asked    120 kernel panic
  122 gone, no verdict     123 a watchdog fired                     124 timed out
  125 could not test (bad input, no QEMU, no kernel, a module that would not load)
"
);

impl RunArgs {
    fn wanted(&self) -> RunWhat {
        match &self.initrd.run {
            Some(line) => RunWhat::Line(line.clone()),
            None if self.command.is_empty() => RunWhat::Shell,
            None => RunWhat::Command(self.command.clone()),
        }
    }
}

/// Runs the verb; the exit code is the guest's, or one of `verdict`'s.
pub fn run(args: &RunArgs, start: Instant) -> anyhow::Result<u8> {
    // A verdict that cannot be written is better known before the boot than after it.
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let (exit_code, written) = match boot(args, start) {
        Ok((exit_code, None)) => return Ok(exit_code),
        Ok((exit_code, Some(report))) => (exit_code, json.map_or(Ok(()), |json| json.write(&report))),
        Err(error) => {
            output::fail(&error);
            let exit_code = code_for(&error, &args.command);
            let report = NotBooted { outcome: "could-not-test", exit_code, message: output::one_line(&error) };
            (exit_code, json.map_or(Ok(()), |json| json.write(&report)))
        }
    };
    match written {
        Ok(()) => Ok(exit_code),
        // What is known of the guest still counts for more, unless it would look like success.
        Err(error) if exit_code == 0 => Err(error),
        Err(error) => {
            output::fail(&error);
            Ok(exit_code)
        }
    }
}

/// 127 and 126 where the command itself is not there or cannot be executed, as with `env` and `timeout`; else 125.
fn code_for(error: &anyhow::Error, command: &[OsString]) -> u8 {
    let Some(name) = command.first() else { return code::COULD_NOT_TEST };
    let is_command = |path: &Path| std::path::absolute(name).is_ok_and(|command| command == path);
    let Some(VmError::Userland(error)) = error.downcast_ref() else { return code::COULD_NOT_TEST };
    match error {
        UserlandError::NoProgram { name: missing, .. } if missing == name => 127,
        UserlandError::NoSuchFile { path } if is_command(path) => 127,
        UserlandError::NotAProgram { path, .. } if is_command(path) => 126,
        _ => code::COULD_NOT_TEST,
    }
}

/// The exit code, and the verdict where there was a boot.
fn boot(args: &RunArgs, start: Instant) -> anyhow::Result<(u8, Option<Report>)> {
    anyhow::ensure!(
        args.initrd.run.is_none() || args.command.is_empty(),
        "taking both --run LINE and COMMAND: give one of them"
    );
    let on_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let what = args.wanted();
    let interactive = what == RunWhat::Shell;
    let tty = args.tty || (interactive && on_terminal);
    let spec = args.boot.spec(tty);
    let wanted = RunSpec {
        initrd: args.initrd.spec(&[], what)?,
        kernel: args.initrd.kernel(),
        boot: spec.clone(),
        ready_made: args.ready_made.clone(),
        env: args.env.clone(),
        for_pasting: args.print_command,
        warm: match args.warm {
            None | Some(WarmArg::No) => Warm::No,
            Some(WarmArg::Yes) => Warm::Yes,
            Some(WarmArg::Fresh) => Warm::Fresh,
        },
        base_modules: args.base_kmod.clone(),
    };
    let mut teller = Teller::new(args.quiet);
    let prepared = prepare(&wanted, &mut teller).map_err(|failed| output::advised(failed.error))?;
    if args.print_command {
        return print_command(&prepared).map(|()| (0, None));
    }
    let (timeout, boot_timeout) = args.boot.limits(&prepared.machine, interactive && on_terminal);
    let mut talker = Talker {
        timeout,
        boot_timeout,
        foreground: match (prepared.is_foreign(), tty) {
            (true, _) => Foreground::Console,
            (false, true) => Foreground::Terminal,
            (false, false) => Foreground::Streams,
        },
        console: talker::console(&spec.console)?,
        has_qemu_arguments: !spec.qemu_args.is_empty(),
        quiet: args.quiet,
        signals: Signals::catch().context("catching signals")?,
    };
    if tty && on_terminal && !args.quiet {
        output::note(&format!("booting {}; Ctrl-a x ends the guest, Ctrl-a h shows the keys", prepared.kernel));
    }
    let ran = vm::run(&wanted, prepared, &mut talker, &mut teller).map_err(output::advised)?;
    let Ran { transcript, machine, command, kernel, started, age } = ran;
    let outcome = judge(&transcript);
    output::to_stderr(&for_people(&outcome, &transcript, Some("--console - shows all of it")));
    let around = Circumstances {
        machine: &machine,
        command: &command,
        kernel: &kernel,
        age: age.map(|Age(age)| age),
        build: started.saturating_duration_since(start),
        fast_boot: spec.fast_boot,
        total: start.elapsed(),
    };
    Ok((outcome.exit_code(), Some(Report::new(&outcome, &transcript, &around))))
}

/// Tells people what goes on before the boot.
struct Teller {
    quiet: bool,
    progress: Progress,
}

impl Teller {
    fn new(quiet: bool) -> Self {
        Self { quiet, progress: Progress::new(quiet) }
    }
}

impl Listener for Teller {
    fn note(&mut self, text: &str) {
        self.progress.clear();
        if !self.quiet {
            output::note(text);
        }
    }

    fn progress(&mut self, doing: &str) {
        self.progress.show(doing);
    }
}

/// The line that boots the same machine by hand: kernel and initrd by name, the console on the terminal.
fn print_command(prepared: &Prepared) -> anyhow::Result<()> {
    let initrd = prepared.keep().map_err(output::advised)?;
    let payload =
        Payload::Linux { kernel: prepared.image.clone().into_os_string(), initrd: initrd.into_os_string(), warm: None };
    let wires = Wires { payload, flash: None, ends: Ends::Stdio };
    let mut line = shell_line(&argv(&prepared.machine, &wires)).into_encoded_bytes();
    line.push(b'\n');
    std::io::stdout().write_all(&line).context("writing the command line")
}

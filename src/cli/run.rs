//! `bootling run`: builds an initrd in memory, boots it, runs the command and exits with its status.

mod help;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use self::help::{EXAMPLES, LONG};
use super::boot_options::BootArgs;
use super::bundle;
use super::hang_options::{self, HangArgs};
use super::health::{self, HealthArgs};
use super::json::Json;
use super::options::{InitrdArgs, module_parser};
use super::output;
use super::report::{Circumstances, NotBooted, Report, for_people};
use super::talker::{self, Talker};
use super::teller::Teller;
use super::typed::TypedIds;
use super::watch::{self, WatchArgs};
use bootling::guest::evidence::Evidence;
use bootling::guest::hang::Keep;
use bootling::guest::recorded::Recording;
use bootling::guest::session::Foreground;
use bootling::guest::snapshot::{Age, Warm};
use bootling::guest::verdict::{BisectAnswer, Outcome, code, judge_with};
use bootling::guest::{self, Cwd, Inputs, Prepared, Ran, RunSpec, VmError};
use bootling::process::signals::Signals;
use bootling::qemu::argv::{Ends, Payload, Wires, argv, shell_line};
use bootling::qemu::machine::Machine;
use bootling::root::userland_error::UserlandError;
use bootling::{initrd::spec::RunWhat, root::request::ModuleRequest};

/// Build a tiny initrd in memory, boot it, run COMMAND in the guest, and exit with its status
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub struct RunArgs {
    #[command(flatten)]
    pub(super) typed: TypedIds,
    #[command(flatten)]
    pub(super) initrd: InitrdArgs,
    #[command(flatten)]
    pub(super) boot: BootArgs,
    #[command(flatten)]
    pub(super) hangs: HangArgs,
    #[command(flatten)]
    pub(super) health: HealthArgs,
    /// Boot this initrd instead of building one. If COMMAND or --run is given, or if bootling built the initrd, pid 1
    /// and its job are appended to it; otherwise it boots unchanged, with its console on the terminal.
    #[arg(long = "initrd", value_name = "FILE", conflicts_with_all = ["with", "copy", "lib_path", "no_busybox"])]
    pub(super) ready_made: Option<PathBuf>,
    /// Restore a snapshot of a booted guest instead of booting, which takes a fraction of a second. The first run for a
    /// kernel and machine creates the snapshot; `fresh` replaces it. Watch mode implies `yes`. See `bootling warm
    /// --help`.
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
    /// Like --kmod, but load the module before the snapshot is taken, once for all warm runs. May be repeated.
    #[arg(long, value_name = "NAME [PARAM=VALUE...]", value_parser = module_parser())]
    pub(super) base_kmod: Vec<ModuleRequest>,
    /// Allocate a terminal for the command in the guest. A shell started from a terminal always gets one.
    #[arg(long, short = 't')]
    pub(super) tty: bool,
    /// Set a variable in the command's environment; without =VALUE, pass the host's value on. May be repeated.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<OsString>,
    /// If COMMAND is a bundle: pass the recorded arguments to QEMU even if they give it access to files of the host.
    #[arg(long)]
    pub(super) trust: bool,
    /// Write the result as JSON to FILE ('-' for standard output).
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) json: Option<PathBuf>,
    /// Exit with a status for `git bisect run`: 0 good, 1 bad (any failure in the guest), 125 cannot be tested, 128 and
    /// above abort. See Bisecting below.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["watch", "watch_exec", "watch_path", "print_command"])]
    pub(super) bisect: bool,
    #[command(flatten)]
    pub(super) watching: WatchArgs,
    /// Print the QEMU command line, quoted for the shell, and exit. The initrd that it names is kept in the cache.
    #[arg(long, help_heading = "Output")]
    pub(super) print_command: bool,
    /// Show the kernel log lines of each health finding.
    #[arg(long, short, help_heading = "Output", conflicts_with = "quiet")]
    pub(super) verbose: bool,
    /// Print only the command's output and errors.
    #[arg(long, short, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Program of the host to run, with its arguments exactly as given; or a bundle to repeat.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Reason why `--trust` is rejected.
const NO_BUNDLE: &str = "COMMAND is not a bundle";
/// Limit on writing to a blocked standard error after a timeout.
const READERS: Duration = Duration::from_secs(2);

/// `--warm`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WarmArg {
    /// Restore the snapshot; create it if it does not exist
    Yes,
    /// Create a new snapshot and restore it
    Fresh,
    /// Boot, even if `BOOTLING_WARM` is set or in watch mode
    No,
}

impl RunArgs {
    /// Returns the command and its arguments; empty with `--run`.
    pub(super) fn command(&self) -> &[OsString] {
        &self.command
    }

    /// Returns what to run in the guest.
    pub(super) fn wanted(&self) -> RunWhat {
        match &self.initrd.run {
            Some(line) => RunWhat::Line(line.clone()),
            None if self.command.is_empty() => RunWhat::Shell,
            None => RunWhat::Command(self.command.clone()),
        }
    }

    /// Returns `--warm` from the command line or the environment.
    pub(super) fn warm_as_typed(&self) -> Option<WarmArg> {
        self.warm
    }

    /// Returns the snapshot mode. Watch mode uses snapshots by default.
    pub(super) fn warm(&self) -> Warm {
        match self.warm {
            Some(WarmArg::Yes) => Warm::Yes,
            Some(WarmArg::Fresh) => Warm::Fresh,
            None if self.watching.is_wanted() => Warm::Yes,
            Some(WarmArg::No) | None => Warm::No,
        }
    }

    /// Returns the time limits for a recorded run on this machine; all other fields have their defaults.
    pub(super) fn recording<'a>(&self, machine: &Machine) -> Recording<'a> {
        let (timeout, boot_timeout) = self.boot.limits(machine, false);
        Recording { timeout, boot_timeout, idle_timeout: self.hangs.idle_timeout(), ..Recording::default() }
    }

    /// Returns the run specification.
    pub(super) fn spec(&self, on_terminal: bool) -> anyhow::Result<RunSpec> {
        anyhow::ensure!(
            self.initrd.run.is_none() || self.command.is_empty(),
            "--run LINE cannot be used together with COMMAND"
        );
        let warm = self.warm();
        anyhow::ensure!(
            warm != Warm::No || self.base_kmod.is_empty(),
            "--base-kmod requires --warm; without it, use --kmod"
        );
        let what = self.wanted();
        let tty = self.tty || (what == RunWhat::Shell && on_terminal);
        Ok(RunSpec {
            initrd: self.initrd.spec(&[], what)?,
            kernel: self.initrd.kernel(),
            boot: self.boot.spec(tty),
            ready_made: self.ready_made.clone(),
            env: self.env.clone(),
            for_pasting: self.print_command,
            warm,
            base_modules: self.base_kmod.clone(),
            cwd: std::env::current_dir().map_or(Cwd::Root, Cwd::Here),
            term: std::env::var_os("TERM"),
            health: self.health.spec(),
            cache: None,
        })
    }
}

/// Runs the verb. The exit code is the command's, or one of `verdict`'s.
pub fn run(args: &RunArgs, start: Instant) -> anyhow::Result<u8> {
    if args.watching.is_wanted() {
        return watch::run(args, start);
    }
    // Fail before the boot, not after it, if the report cannot be written.
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let (exit_code, written) = match once(args, start) {
        Ok(None) => return Ok(0),
        Ok(Some(Booted { outcome, mut report, told })) => {
            match outcome {
                Outcome::TimedOut { .. } | Outcome::Interrupted { .. } => output::to_stderr_within(&told, READERS),
                _ => output::to_stderr(&told),
            }
            if args.bisect {
                report.exit_code = bisected(args, outcome.bisect_answer());
            }
            (report.exit_code, json.map_or(Ok(()), |json| json.write(&report)))
        }
        Err(error) => {
            output::fail(&error);
            let exit_code =
                if args.bisect { bisected(args, Ok(BisectAnswer::Skip)) } else { code_for(&error, &args.command) };
            let report = NotBooted { outcome: "could-not-test", exit_code, message: output::one_line(&error) };
            (exit_code, json.map_or(Ok(()), |json| json.write(&report)))
        }
    };
    match written {
        Ok(()) => Ok(exit_code),
        // The guest's result takes precedence, unless it would look like success.
        Err(error) if exit_code == 0 => Err(error),
        Err(error) => {
            output::fail(&error);
            Ok(exit_code)
        }
    }
}

/// Returns the exit code for `git bisect run`, and prints the answer, since the code is not the command's.
fn bisected(args: &RunArgs, answer: Result<BisectAnswer, u8>) -> u8 {
    if !args.quiet {
        output::note(&format!("bisecting: {}", answer.map_or("stop", BisectAnswer::name)));
    }
    answer.map_or_else(|code| code, BisectAnswer::exit_code)
}

/// Returns 127 if the command does not exist and 126 if it cannot be executed, as `env` and `timeout` do; otherwise
/// 125.
pub(super) fn code_for(error: &anyhow::Error, command: &[OsString]) -> u8 {
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

/// Runs once. Returns `None` if nothing was booted.
fn once(args: &RunArgs, start: Instant) -> anyhow::Result<Option<Booted>> {
    let mut teller = Teller::new(args.quiet);
    if let Some(found) = bundle::repeat::find(args)? {
        return found.repeat(args, start, &mut teller).map(Some);
    }
    anyhow::ensure!(!args.trust, "invalid --trust: {NO_BUNDLE}");
    let spec = args.spec(on_terminal())?;
    let ready = Ready::prepare(args, spec, start, &mut Inputs::default(), &mut teller)?;
    if args.print_command {
        return print_command(&ready.prepared).map(|()| None);
    }
    ready.boot(&mut teller).map(Some)
}

/// Boot result.
pub(super) struct Booted {
    pub outcome: Outcome,
    pub report: Report,
    /// Text for standard error; empty if the command's status says everything.
    pub told: String,
}

/// A prepared run.
pub(super) struct Ready<'a> {
    args: &'a RunArgs,
    start: Instant,
    spec: RunSpec,
    prepared: Prepared,
    /// True if standard input and standard output are terminals.
    on_terminal: bool,
}

impl<'a> Ready<'a> {
    /// Builds everything that QEMU needs. The files read are stored in `inputs`, even on failure.
    pub fn prepare(
        args: &'a RunArgs,
        spec: RunSpec,
        start: Instant,
        inputs: &mut Inputs,
        teller: &mut Teller,
    ) -> anyhow::Result<Self> {
        match guest::prepare(&spec, teller) {
            Ok(prepared) => {
                inputs.clone_from(&prepared.inputs);
                Ok(Self { args, start, spec, prepared, on_terminal: on_terminal() })
            }
            Err(failed) => {
                *inputs = failed.inputs;
                Err(output::advised(failed.error))
            }
        }
    }

    /// Wraps a run prepared elsewhere.
    pub fn of(args: &'a RunArgs, start: Instant, spec: RunSpec, prepared: Prepared) -> Self {
        Self { args, start, spec, prepared, on_terminal: on_terminal() }
    }

    /// Boots or restores the guest and determines the verdict.
    pub fn boot(self, teller: &mut Teller) -> anyhow::Result<Booted> {
        let evidence = self.args.hangs.evidence()?;
        let mut talker = self.talker(evidence.as_ref().map(Evidence::keep).transpose()?)?;
        let Self { args, start, spec, prepared, on_terminal } = self;
        if spec.boot.tty && on_terminal && !args.quiet {
            output::note(&format!("booting {}; Ctrl-a x ends the guest, Ctrl-a h shows the keys", prepared.kernel));
        }
        let rules = spec.health.rules().map_err(VmError::from).map_err(output::advised)?;
        let ran = guest::run(&spec, prepared, &mut talker, teller).map_err(output::advised)?;
        let Ran { mut transcript, machine, command, kernel, started, age } = ran;
        let outcome = judge_with(&mut transcript, &rules);
        let mut told = for_people(&outcome, &transcript, Some("--console - shows all"));
        if !args.quiet || matches!(outcome, Outcome::Unhealthy { .. }) {
            told += &health::for_people(&outcome, &transcript.health, args.verbose);
        }
        told += &hang_options::store(evidence, outcome.exit_code(), &transcript, &command);
        let around = Circumstances {
            machine: &machine,
            command: &command,
            kernel: &kernel,
            age: age.map(|Age(age)| age),
            build: started.saturating_duration_since(start),
            fast_boot: spec.boot.fast_boot,
            total: start.elapsed(),
        };
        let report = Report::new(&outcome, &transcript, &around);
        Ok(Booted { outcome, report, told })
    }

    fn talker(&self, keep: Option<Keep>) -> anyhow::Result<Talker> {
        let Self { args, spec, prepared, .. } = self;
        let alone = spec.initrd.run == RunWhat::Shell && self.on_terminal;
        let (timeout, boot_timeout) = args.boot.limits(&prepared.machine, alone);
        Ok(Talker {
            timeout,
            boot_timeout,
            foreground: match (prepared.is_foreign(), spec.boot.tty) {
                (true, _) => Foreground::Console,
                (false, true) => Foreground::Terminal,
                (false, false) => Foreground::Streams,
            },
            console: talker::console(&spec.boot.console)?,
            has_qemu_arguments: !spec.boot.qemu_args.is_empty(),
            quiet: args.quiet,
            idle_timeout: args.hangs.idle_timeout(),
            inquest: prepared.inquest.clone(),
            keep,
            signals: Signals::catch().context("failed to catch signals")?,
        })
    }
}

/// Returns true if standard input and standard output are terminals.
fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Prints the command line that boots the same machine by hand: kernel and initrd by name, the console on the terminal.
fn print_command(prepared: &Prepared) -> anyhow::Result<()> {
    let initrd = prepared.keep().map_err(output::advised)?;
    let payload =
        Payload::Linux { kernel: prepared.image.clone().into_os_string(), initrd: initrd.into_os_string(), warm: None };
    let wires = Wires { payload, flash: None, ends: Ends::Stdio };
    let mut line = shell_line(&argv(&prepared.machine, &wires)).into_encoded_bytes();
    line.push(b'\n');
    std::io::stdout().write_all(&line).context("failed to write the command line")
}

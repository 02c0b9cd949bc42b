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
use super::hang_options::{HangArgs, format_evidence};
use super::health::{self, HealthArgs};
use super::json::Json;
use super::options::{InitrdArgs, module_parser};
use super::output;
use super::reporter::Reporter;
use super::result::format_result;
use super::signal_code;
use super::typed::TypedIds;
use super::watch::{self, WatchArgs};
use bootling::format::amount;
use bootling::guest::collect::request::CollectRequest;
use bootling::guest::report::{NotRun, RunReport};
use bootling::guest::session::ShownOn;
use bootling::guest::snapshot::Warm;
use bootling::guest::verdict::{BisectAnswer, Outcome, code};
use bootling::guest::{self, Cwd, Limits, Prepared, RunOptions, RunResult, RunSpec, Streams, VmError};
use bootling::root::request::ModuleRequest;
use bootling::root::spec::{InitrdSpec, RunWhat};
use bootling::root::userland_error::UserlandError;

/// Build a tiny initrd in memory, boot it, run COMMAND in the guest, and exit with its status
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(super) typed: TypedIds,
    /// Program of the host to run, with its arguments exactly as given; or a bundle to repeat.
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
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
    #[arg(long = "initrd", value_name = "FILE", help_heading = "Image", conflicts_with_all = ["with", "copy", "lib_path", "no_busybox"])]
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
        help_heading = "Snapshots",
        env = "BOOTLING_WARM"
    )]
    warm: Option<WarmArg>,
    /// Like --kmod, but load the module before the snapshot is taken, once for all warm runs. May be repeated.
    #[arg(long, value_name = "NAME [PARAM=VALUE...]", value_parser = module_parser(), help_heading = "Snapshots")]
    pub(super) base_kmod: Vec<ModuleRequest>,
    /// Do not load modules on demand: `modprobe` and requests of the guest's kernel find only what is in the image. See
    /// Modules on demand below.
    #[arg(long, help_heading = "Guest")]
    pub(super) no_autoload: bool,
    /// Allocate a terminal for the command in the guest. A shell started from a terminal always gets one.
    #[arg(long, short = 't', help_heading = "Guest")]
    pub(super) tty: bool,
    /// Set a variable in the command's environment; without =VALUE, pass the host's value on. May be repeated.
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Guest")]
    pub(super) env: Vec<OsString>,
    /// Run the command as this user: a name or a number, with its groups, or with these GROUPs. Names are those of the
    /// image's /etc/passwd and /etc/group (root, nobody, and what --copy adds). HOME, USER and LOGNAME are set
    /// accordingly.
    #[arg(long, value_name = "USER[:GROUP[,GROUP...]]", help_heading = "Guest")]
    pub(super) user: Option<String>,
    /// Host name of the guest. Default: bootling.
    #[arg(long, value_name = "NAME", help_heading = "Guest")]
    pub(super) hostname: Option<String>,
    /// Copy files from the guest to the host when the command ends, whatever its status. GUESTPATH is a file, a directory, or
    /// a pattern (`*`, `?`, `[...]`). A file or directory becomes DST, or is placed below a DST that ends in `/`; matches of
    /// a pattern are placed below DST. Default: the same name in the current directory. May be repeated. See Collecting
    /// below.
    #[arg(long, value_name = "GUESTPATH[=DST]", conflicts_with = "print_command")]
    pub(super) collect: Vec<CollectRequest>,
    /// Most MiB (or with suffix K, M, G) of collected files. Default: 1G.
    #[arg(long, value_name = "SIZE", value_parser = amount::memory_mib, requires = "collect")]
    pub(super) collect_limit: Option<u64>,
    /// If COMMAND is a bundle: pass the recorded arguments to QEMU even if they give it access to files of the host.
    #[arg(long, help_heading = "Machine")]
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
}

/// Reason why `--trust` is rejected.
const NO_BUNDLE: &str = "COMMAND is not a bundle";
/// Limit on writing to a blocked standard error after a timeout.
const READERS: Duration = Duration::from_millis(500);

/// `--warm`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WarmArg {
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

    /// Returns the command to run in the guest.
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
            None if self.watching.is_enabled() => Warm::Yes,
            Some(WarmArg::No) | None => Warm::No,
        }
    }

    /// Returns the limits; an interactive shell has none by default.
    pub(super) fn limits(&self) -> Limits {
        let interactive = self.wanted() == RunWhat::Shell && on_terminal();
        self.hangs.limits(self.boot.limits(interactive))
    }

    /// Returns the options of a run in memory: the command's standard input, and the limit on each output in bytes.
    pub(super) fn recorded(&self, stdin: Vec<u8>, limit: usize) -> RunOptions<'static> {
        RunOptions {
            limits: self.hangs.limits(self.boot.limits(false)),
            streams: Streams::Memory { stdin, limit, foreground: None },
            ..RunOptions::default()
        }
    }

    /// Returns the options of a run over this process's streams.
    pub(super) fn options(&self) -> anyhow::Result<RunOptions<'static>> {
        Ok(RunOptions {
            limits: self.limits(),
            streams: Streams::Inherited { foreground: None, shown_on: ShownOn::Stdout },
            evidence: self.hangs.evidence()?,
            quiet: self.quiet,
            ..RunOptions::default()
        })
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
        let initrd = self.initrd.spec(&[], what)?;
        Ok(RunSpec {
            initrd: InitrdSpec { autoload: !self.no_autoload && !self.print_command, ..initrd },
            kernel: self.initrd.kernel(),
            boot: self.boot.spec(tty),
            ready_made: self.ready_made.clone(),
            env: self.env.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            print_only: self.print_command,
            warm,
            base_modules: self.base_kmod.clone(),
            cwd: std::env::current_dir().map_or(Cwd::Root, Cwd::Here),
            term: std::env::var_os("TERM"),
            health: self.health.spec(),
            collect: self.collect.clone(),
            collect_limit: self.collect_limit.map(|mib| mib << 20),
            cache: None,
        })
    }
}

/// Runs the verb. The exit code is the command's, or one of `verdict`'s.
pub(crate) fn run(args: &RunArgs, start: Instant) -> anyhow::Result<u8> {
    if args.watching.is_enabled() {
        return watch::run(args, start);
    }
    // Fail before the boot, not after it, if the report cannot be written.
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let (exit_code, written) = match once(args, start) {
        Ok(None) => return Ok(0),
        Ok(Some(Booted { outcome, mut report, text })) => {
            match outcome {
                Outcome::TimedOut { .. } | Outcome::Interrupted { .. } => output::to_stderr_within(&text, READERS),
                _ => output::to_stderr(&text),
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
            let report = NotRun::new("could-not-test", exit_code, output::one_line(&error));
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

/// Returns 128 and the number of the signal that interrupted a download, 127 if the command does not exist and 126 if
/// it cannot be executed, as `env` and `timeout` do; otherwise 125.
pub(super) fn code_for(error: &anyhow::Error, command: &[OsString]) -> u8 {
    if let Some(code) = signal_code(error) {
        return code;
    }
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

/// Runs one guest. Returns `None` if there was nothing to run.
fn once(args: &RunArgs, start: Instant) -> anyhow::Result<Option<Booted>> {
    let mut reporter = Reporter::new(args.quiet);
    if let Some(found) = bundle::repeat::find(args)? {
        return found.repeat(args, start, &mut reporter).map(Some);
    }
    anyhow::ensure!(!args.trust, "invalid --trust: {NO_BUNDLE}");
    let spec = args.spec(on_terminal())?;
    if args.print_command {
        let prepared = guest::prepare(&spec, &mut reporter).map_err(|failed| output::advised(failed.error))?;
        return print_command(&prepared).map(|()| None);
    }
    reporter.announces = spec.boot.tty && on_terminal();
    let result = guest::run(&spec, args.options()?, &mut reporter).map_err(output::advised)?;
    Ok(Some(Booted::new(args, spec.boot.fast_boot, result, start)))
}

/// A guest that ran.
pub(super) struct Booted {
    pub outcome: Outcome,
    pub report: RunReport,
    /// Text for standard error; empty if the command's status is sufficient.
    pub text: String,
}

impl Booted {
    /// Formats and reports a result. `start`: when bootling was started.
    pub(crate) fn new(args: &RunArgs, fast_boot: bool, result: RunResult, start: Instant) -> Self {
        let mut text = format_result(&result, Some("--console - shows all"));
        if !args.quiet || matches!(result.outcome, Outcome::Unhealthy { .. } | Outcome::KernelCrashed { .. }) {
            text += &health::format_findings(&result.outcome, &result.transcript.health, args.verbose);
        }
        text += &format_evidence(&result);
        Self { report: RunReport::new(&result, fast_boot, start), outcome: result.outcome, text }
    }
}

/// Returns true if standard input and standard output are terminals.
pub(super) fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Prints the command line that boots the same machine by hand: kernel and initrd by name, the console on the terminal.
fn print_command(prepared: &Prepared) -> anyhow::Result<()> {
    let mut line = prepared.shell_command().map_err(output::advised)?.into_encoded_bytes();
    line.push(b'\n');
    let mut out = output::content();
    out.write_all(&line).and_then(|()| out.flush()).context("failed to write the command line")
}

//! `bootling run --watch`, `bootling watch`: runs another round whenever an input of the last one changes.
//!
//! Refuses interactive commands: a shell, or a command on a terminal.

mod line;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use rustix::process::Signal;

use self::line::{Lines, RoundResult};
use super::bundle::repeat;
use super::output;
use super::reporter::Reporter;
use super::run::{Booted, RunArgs, code_for};
use bootling::cache::Cache;
use bootling::guest::report::NotRun;
use bootling::guest::verdict::{Outcome, code};
use bootling::guest::{Prepared, RunSpec, Warm};
use bootling::process::shell::Built;
use bootling::qemu::named;
use bootling::root::spec::RunWhat;
use bootling::watch::{Session, Sources};

/// Watch options.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watching")]
pub(crate) struct WatchArgs {
    /// Run again whenever an input of the run changes, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["tty", "print_command"])]
    watch: bool,
    /// Run this shell line as a build before each round, and also watch the source files below the current directory.
    #[arg(long, value_name = "LINE", conflicts_with_all = ["tty", "print_command"])]
    watch_exec: Option<OsString>,
    /// Also watch this file, or the files below this directory that git does not ignore. May be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["tty", "print_command"])]
    watch_path: Vec<PathBuf>,
}

impl WatchArgs {
    /// Enables `--watch`.
    pub(crate) fn enable(&mut self) {
        self.watch = true;
    }

    /// Returns true if watch mode is enabled.
    pub(crate) fn is_enabled(&self) -> bool {
        self.watch || self.watch_exec.is_some() || !self.watch_path.is_empty()
    }
}

/// Runs the verb. Returns 128+n if signal n ended it.
pub(crate) fn run(args: &RunArgs, start: Instant) -> anyhow::Result<u8> {
    ensure!(args.wanted() != RunWhat::Shell, "a shell cannot be watched: give COMMAND or --run LINE");
    ensure!(!args.tty, "a command on a terminal cannot be watched: omit -t");
    ensure!(!args.trust, "--trust cannot be used in watch mode, since it is only for bundles");
    ensure!(repeat::find(args)?.is_none(), "a bundle cannot be watched, since it does not change: omit --watch");
    ensure!(!args.bisect && !args.print_command, "--bisect and --print-command cannot be used in watch mode");
    // Otherwise the first round would consume the input of all rounds.
    let nothing = File::open("/dev/null").context("failed to open /dev/null")?;
    rustix::stdio::dup2_stdin(nothing).context("failed to replace standard input")?;
    let current_dir = std::env::current_dir().context("failed to get the current directory")?;
    let cache = Cache::open().ok().map(|cache| cache.directory().to_owned());
    let sources = sources(args, &current_dir, cache.as_deref());
    let mut rounds = Rounds {
        args,
        // Standard input is /dev/null, so this is not interactive.
        spec: args.spec(false)?,
        lines: Lines::new(current_dir, args.json.as_deref())?,
        reporter: Reporter::new(args.quiet),
        introduced: false,
        reported_polling: false,
    };
    let session = Session::new(sources, args.watching.watch_exec.clone(), cache).context("failed to start watching")?;
    session.run(start, |session| rounds.round(session))
}

/// Returns the sources to watch, without files that a round writes.
fn sources(args: &RunArgs, current_dir: &Path, cache: Option<&Path>) -> Sources {
    let watching = &args.watching;
    let built_from = watching.watch_exec.is_some().then(|| current_dir.to_owned());
    let mut sources = Sources::new(watching.watch_path.iter().cloned().chain(built_from));
    // QEMU may write files in the user's QEMU arguments, such as `file=disk.img`.
    let of_qemu = named::files(&args.boot.machine.qemu_arg);
    let outputs = args.json.iter().chain(&args.boot.console).chain(&of_qemu).map(PathBuf::as_path);
    for path in outputs.chain(cache) {
        sources.exclude(path);
    }
    sources.exclude_open(io::stdout());
    sources.exclude_open(io::stderr());
    sources
}

/// Specification and output of the rounds.
struct Rounds<'a> {
    args: &'a RunArgs,
    spec: RunSpec,
    lines: Lines,
    reporter: Reporter,
    introduced: bool,
    reported_polling: bool,
}

impl Rounds<'_> {
    /// Runs one round: builds, prepares, boots and reports.
    fn round(&mut self, session: &mut Session) -> anyhow::Result<ControlFlow<u8>> {
        let start = session.start();
        self.lines.begin_round(session.change(), start);
        self.reporter.begin();
        let (status, ignored) = session.build().context("failed to run --watch-exec")?;
        if let Some(path) = ignored {
            let path = self.lines.display_path(&path);
            output::note(&format!("ignoring changes of {path}, which every build modifies"));
        }
        match status {
            Built::Done => {}
            Built::Failed(how) => {
                let report = NotRun::new("not-built", code::COULD_NOT_TEST, format!("build failed ({how})"));
                self.lines.report(&RoundResult::NotBuilt(&how), &report)?;
                return Ok(ControlFlow::Continue(()));
            }
            Built::Interrupted(_) => return Ok(ControlFlow::Continue(())),
        }
        let prepared = session.prepare(&self.spec, &mut self.reporter).context("failed to watch for changes")?;
        let (booted, is_changed) = match prepared {
            None => return Ok(ControlFlow::Continue(())),
            Some(Err(error)) => (Err(output::advised(error)), false),
            Some(Ok(prepared)) => {
                session.run_guest(|| self.boot(prepared, start)).context("failed to watch for changes")?
            }
        };
        match booted {
            Ok(Booted { outcome: Outcome::Interrupted { signal }, .. })
                if is_changed && signal == Signal::TERM.as_raw() =>
            {
                Lines::report_restart();
            }
            Ok(Booted { outcome: Outcome::OutputClosed, report, .. }) => {
                return Ok(ControlFlow::Break(report.exit_code));
            }
            Ok(Booted { outcome, report, text }) => {
                output::to_stderr(&text);
                self.lines.report(&RoundResult::Judged(&outcome), &report)?;
                if report.warm && self.spec.warm == Warm::Fresh {
                    self.spec.warm = Warm::Yes;
                }
            }
            Err(error) => {
                output::fail(&error);
                let exit_code = code_for(&error, self.args.command());
                let report = NotRun::new("could-not-test", exit_code, output::one_line(&error));
                self.lines.report(&RoundResult::NotTested, &report)?;
            }
        }
        self.introduce(session);
        Ok(ControlFlow::Continue(()))
    }

    fn boot(&mut self, prepared: Prepared, start: Instant) -> anyhow::Result<Booted> {
        let result = prepared.run(self.args.options()?, &mut self.reporter).map_err(output::advised)?;
        Ok(Booted::new(self.args, self.spec.boot.fast_boot, result, start))
    }

    /// Prints once the number of watched paths, and the reason if they can only be polled.
    fn introduce(&mut self, session: &Session) {
        if self.args.quiet {
            return;
        }
        if !std::mem::replace(&mut self.introduced, true) {
            output::note(&format!("watching {} paths; press Ctrl-C to stop", session.path_count()));
        }
        let Some(reason) = session.polling() else { return };
        if !std::mem::replace(&mut self.reported_polling, true) {
            output::note(&format!("polling all of them twice a second: {reason}"));
        }
    }
}

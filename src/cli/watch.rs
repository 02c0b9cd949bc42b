//! `bootling run --watch`, `bootling watch`: runs another round whenever an input of the last one changes.
//!
//! Refuses interactive commands: a shell, or a command on a terminal.

mod line;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, kill_process};

use self::line::{Lines, Told};
use super::bundle::repeat;
use super::output;
use super::reporter::Reporter;
use super::run::{Booted, RunArgs, code_for};
use bootling::cache::Cache;
use bootling::guest::report::NotRun;
use bootling::guest::verdict::{Outcome, code};
use bootling::guest::{self, Inputs, Prepared, RunSpec, Warm};
use bootling::initrd::spec::RunWhat;
use bootling::process::shell::Built;
use bootling::process::signals::{Signals, ends};
use bootling::qemu::named;
use bootling::watch::{Blind, Build, Change, Moment, PATIENCE, Products, Snapshot, Sources, Watcher, Woken};

/// Interval between signals to a guest that must end.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Watch options.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
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
    pub fn want(&mut self) {
        self.watch = true;
    }

    /// Returns true if watch mode is enabled.
    pub fn is_wanted(&self) -> bool {
        self.watch || self.watch_exec.is_some() || !self.watch_path.is_empty()
    }
}

/// Runs the verb. Returns 128+n if signal n ended it.
pub fn run(args: &RunArgs, start: Instant) -> anyhow::Result<u8> {
    ensure!(args.wanted() != RunWhat::Shell, "a shell cannot be watched: give COMMAND or --run LINE");
    ensure!(!args.tty, "a command on a terminal cannot be watched: omit -t");
    ensure!(!args.trust, "--trust cannot be used in watch mode, since it is only for bundles");
    ensure!(repeat::find(args)?.is_none(), "a bundle cannot be watched, since it does not change: omit --watch");
    ensure!(!args.bisect && !args.print_command, "--bisect and --print-command cannot be used in watch mode");
    // Otherwise the first round would consume the input of all rounds.
    let nothing = File::open("/dev/null").context("failed to open /dev/null")?;
    rustix::stdio::dup2_stdin(nothing).context("failed to replace standard input")?;
    let mut session = Session::new(args)?;
    // Files saved just before the start must not be mistaken for files changed during the first round.
    Moment::next();
    let mut next = session.round(None, start)?;
    loop {
        next = match next {
            Next::End(code) => return Ok(code),
            Next::Round(change) => session.round(Some(change), Instant::now())?,
            Next::Wait => session.idle()?,
        };
    }
}

/// Action after a round.
enum Next {
    Wait,
    Round(Change),
    End(u8),
}

struct Session<'a> {
    args: &'a RunArgs,
    /// Specification of each round.
    spec: RunSpec,
    build: Option<Build>,
    sources: Sources,
    products: Products,
    watcher: Watcher,
    /// Caught during the whole session, in addition to the signals that a running guest catches.
    signals: Signals,
    /// Inputs of the last round, and their state.
    inputs: Inputs,
    snapshot: Snapshot,
    /// Cache directory, which only bootling modifies.
    cache: Option<PathBuf>,
    /// True if the last round could be prepared.
    is_whole: bool,
    lines: Lines,
    reporter: Reporter,
    is_introduced: bool,
    is_blind: bool,
}

impl<'a> Session<'a> {
    fn new(args: &'a RunArgs) -> anyhow::Result<Self> {
        let watching = &args.watching;
        let here = std::env::current_dir().context("failed to get the current directory")?;
        let mut roots: Vec<PathBuf> = watching.watch_path.iter().map(|path| real(path)).collect();
        roots.extend(watching.watch_exec.is_some().then(|| here.clone()));
        let mut sources = Sources::new(roots);
        let cache = Cache::open().ok().map(|cache| cache.directory().to_owned());
        // Files written by a round must not start the next one,
        let written = args.json.iter().chain(&args.boot.console).chain(&cache).cloned();
        // and neither must files in the user's QEMU arguments, such as `file=disk.img`, which QEMU may write.
        for path in written.chain(named::files(&args.boot.machine.qemu_arg)) {
            sources.leave_out(real(&path));
        }
        sources.leave_out_open(io::stdout());
        sources.leave_out_open(io::stderr());
        Ok(Self {
            args,
            // Standard input is /dev/null, so this is not interactive.
            spec: args.spec(false)?,
            build: watching.watch_exec.clone().map(Build::new),
            sources,
            products: Products::default(),
            watcher: Watcher::default(),
            signals: Signals::catch().context("failed to catch signals")?,
            inputs: Inputs::default(),
            snapshot: Snapshot::default(),
            cache,
            is_whole: false,
            lines: Lines::new(here, args.json.as_deref())?,
            reporter: Reporter::new(args.quiet),
            is_introduced: false,
            is_blind: false,
        })
    }

    /// Runs one round: builds, prepares, boots and reports.
    fn round(&mut self, change: Option<Change>, start: Instant) -> anyhow::Result<Next> {
        self.lines.begin(change, start);
        self.reporter.begin();
        let sources = match &self.build {
            None => Snapshot::of_sources(&self.sources),
            Some(build) => {
                let made = build.make(&self.sources, &self.inputs, &mut self.products, &mut self.signals);
                let made = made.context("failed to run --watch-exec")?;
                if let Some(path) = made.restless.first() {
                    let path = self.lines.short(path);
                    output::note(&format!("ignoring changes of {path}, which every build modifies"));
                }
                match made.built {
                    Built::Done => made.sources,
                    Built::Failed(how) => {
                        self.snapshot = Snapshot::of_inputs(&self.inputs).and(made.sources);
                        self.lines.tell(&Told::NotBuilt(&how), &not_built(&how))?;
                        return Ok(Next::Wait);
                    }
                    Built::Interrupted(signal) => return Ok(end(signal)),
                }
            }
        };
        let before = Snapshot::of_inputs(&self.inputs);
        let moment = Moment::now();
        let (mut inputs, prepared) = match guest::prepare(&self.spec, &mut self.reporter) {
            Ok(prepared) => (prepared.inputs.clone(), Ok(prepared)),
            Err(failed) => (failed.inputs, Err(output::advised(failed.error))),
        };
        if let Some(cache) = &self.cache {
            inputs.leave_out(cache);
        }
        self.snapshot = before.used(&inputs, moment).and(sources);
        self.inputs = inputs;
        if let Some(signal) = self.signals.ending() {
            return Ok(end(signal));
        }
        let was_whole = std::mem::replace(&mut self.is_whole, prepared.is_ok());
        match prepared {
            Ok(prepared) => self.boot(prepared, start),
            Err(error) => self.fail(&error, was_whole),
        }
    }

    /// Boots while another thread watches for changes.
    fn boot(&mut self, prepared: Prepared, start: Instant) -> anyhow::Result<Next> {
        let (done, over) = UnixStream::pair().context("failed to create a socket")?;
        let (watcher, snapshot, reporter) = (&mut self.watcher, &mut self.snapshot, &mut self.reporter);
        let (booted, overtaken) = thread::scope(|scope| {
            let looking = scope.spawn(|| overtake(watcher, snapshot, over.as_fd()));
            // Boot in this thread, because QEMU ends with the thread that started it.
            let options = self.args.options();
            let result = options.and_then(|options| prepared.run(options, reporter).map_err(output::advised));
            let booted = result.map(|result| Booted::new(self.args, self.spec.boot.fast_boot, result, start));
            drop(done);
            (booted, looking.join())
        });
        let overtaken = match overtaken {
            Ok(overtaken) => overtaken.context("failed to watch for changes")?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let ours = |signal: i32| overtaken.is_some() && signal == Signal::TERM.as_raw();
        let signal = self.signals.pending().into_iter().find(|signal| ends(*signal) && !ours(*signal));
        match (booted, &overtaken) {
            (Ok(Booted { outcome: Outcome::Interrupted { signal }, .. }), Some(_)) if ours(signal) => {
                Lines::overtaken();
            }
            (Ok(Booted { outcome: Outcome::OutputClosed, report, .. }), _) => return Ok(Next::End(report.exit_code)),
            (Ok(Booted { outcome, report, text }), _) => {
                output::to_stderr(&text);
                self.lines.tell(&Told::Judged(&outcome), &report)?;
                if report.warm && self.spec.warm == Warm::Fresh {
                    self.spec.warm = Warm::Yes;
                }
            }
            (Err(error), _) => drop(self.fail(&error, false)?),
        }
        self.introduce();
        Ok(match (signal, overtaken) {
            (Some(signal), _) => end(signal),
            (None, Some(change)) => Next::Round(change),
            (None, None) => Next::Wait,
        })
    }

    /// Reports a round without a guest. If the last round could be prepared, first waits for files still being written.
    fn fail(&mut self, error: &anyhow::Error, was_whole: bool) -> anyhow::Result<Next> {
        if was_whole {
            match self.wait(Some(PATIENCE))? {
                Next::Wait => {}
                next => return Ok(next),
            }
        }
        output::fail(error);
        let exit_code = code_for(error, self.args.command());
        let report = NotRun::new("could-not-test", exit_code, output::one_line(error));
        self.lines.tell(&Told::NotTested, &report)?;
        self.introduce();
        Ok(Next::Wait)
    }

    /// Waits for the next change or a signal.
    fn idle(&mut self) -> anyhow::Result<Next> {
        loop {
            match self.wait(None)? {
                Next::Wait => {}
                next => return Ok(next),
            }
        }
    }

    fn wait(&mut self, limit: Option<std::time::Duration>) -> anyhow::Result<Next> {
        let woken = self.watcher.wait(&mut self.snapshot, self.signals.as_fd(), limit);
        Ok(match woken.context("failed to watch for changes")? {
            Woken::Changed(change) => {
                // No build ran, so the user changed these files.
                self.products.forget(&change.paths);
                Next::Round(change)
            }
            Woken::Called => self.signals.ending().map_or(Next::Wait, end),
            Woken::Late => Next::Wait,
        })
    }

    /// Prints once what is watched, and whether changes can only be polled for.
    fn introduce(&mut self) {
        if !std::mem::replace(&mut self.is_introduced, true) && !self.args.quiet {
            output::note(&format!("watching {} paths; press Ctrl-C to stop", self.snapshot.len()));
        }
        let Some(blind) = self.watcher.blind() else { return };
        if !std::mem::replace(&mut self.is_blind, true) && !self.args.quiet {
            output::note(&match blind {
                Blind::Limit(error) => format!(
                    "polling all of them twice a second: inotify limit reached ({error}; see fs.inotify in sysctl)"
                ),
                Blind::Remote(path) => {
                    format!("polling all of them twice a second: {} is on a shared file system", self.lines.short(path))
                }
            });
        }
    }
}

fn end(signal: i32) -> Next {
    Next::End(code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)))
}

fn not_built(how: &str) -> NotRun {
    NotRun::new("not-built", code::COULD_NOT_TEST, format!("build failed ({how})"))
}

/// Returns the path without symbolic links if it exists, else the absolute path.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Waits for a change while a guest runs, and then ends the guest with the signal that a user would send.
fn overtake(watcher: &mut Watcher, snapshot: &mut Snapshot, over: BorrowedFd<'_>) -> io::Result<Option<Change>> {
    let Woken::Changed(change) = watcher.wait(snapshot, over, None)? else { return Ok(None) };
    loop {
        // Repeat, because the thread that runs the guest may not catch signals yet.
        kill_process(getpid(), Signal::TERM)?;
        let mut fds = [PollFd::new(&over, PollFlags::IN)];
        match poll(&mut fds, Some(&AGAIN)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Some(change)),
            Err(error) => return Err(error.into()),
        }
    }
}

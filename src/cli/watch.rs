//! `bootling run --watch`, `bootling watch`: a round for each change of what the last one was made from.
//!
//! Refuses what wants a person at the keyboard: a shell, or a command on a terminal.

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
use super::report::NotBooted;
use super::run::{Booted, Ready, RunArgs, code_for};
use super::teller::Teller;
use bootling::cache::Cache;
use bootling::guest::verdict::{Outcome, code};
use bootling::guest::{Inputs, RunSpec, Warm};
use bootling::initrd::spec::RunWhat;
use bootling::process::shell::Built;
use bootling::process::signals::{Signals, ends};
use bootling::qemu::named;
use bootling::watch::{Blind, Build, Change, Moment, PATIENCE, Products, Snapshot, Sources, Watcher, Woken};

/// How often a guest that is to end is told so.
const AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Whether, and what, to watch.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// Run again whenever a file changes that the run was made from, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["tty", "print_command"])]
    watch: bool,
    /// Build with this line for the shell before each round, and watch the sources below the current directory, too.
    #[arg(long, value_name = "LINE", conflicts_with_all = ["tty", "print_command"])]
    watch_exec: Option<OsString>,
    /// Watch this file, or what git would not ignore below this directory, too. May be repeated.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["tty", "print_command"])]
    watch_path: Vec<PathBuf>,
}

impl WatchArgs {
    /// As `--watch`.
    pub fn want(&mut self) {
        self.watch = true;
    }

    /// Whether there is to be more than one round.
    pub fn is_wanted(&self) -> bool {
        self.watch || self.watch_exec.is_some() || !self.watch_path.is_empty()
    }
}

/// Runs the verb: 128+n where signal n ended it.
pub fn run(args: &RunArgs, start: Instant) -> anyhow::Result<u8> {
    ensure!(args.wanted() != RunWhat::Shell, "watching a shell: give a COMMAND or --run LINE");
    ensure!(!args.tty, "watching a command on a terminal: leave -t out");
    ensure!(!args.trust, "watching with --trust: that is for a bundle; leave it out");
    ensure!(
        repeat::find(args)?.is_none(),
        "watching a bundle: nothing that it is made from changes; leave --watch out"
    );
    ensure!(!args.bisect && !args.print_command, "watching with --bisect or --print-command: leave that out");
    // One round would eat what was meant for all of them.
    let nothing = File::open("/dev/null").context("opening /dev/null")?;
    rustix::stdio::dup2_stdin(nothing).context("replacing standard input")?;
    let mut session = Session::new(args)?;
    // A file saved right before we were started was not saved while the first round read it.
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

/// What follows a round.
enum Next {
    Wait,
    Round(Change),
    End(u8),
}

struct Session<'a> {
    args: &'a RunArgs,
    /// What each round runs.
    spec: RunSpec,
    build: Option<Build>,
    sources: Sources,
    products: Products,
    watcher: Watcher,
    /// Caught from the first round to the last, beside those that a running guest catches.
    signals: Signals,
    /// What the last round was made from, and what that was like.
    inputs: Inputs,
    snapshot: Snapshot,
    /// What of the inputs is nobody's to change but ours.
    cache: Option<PathBuf>,
    /// Whether the last round could be prepared.
    is_whole: bool,
    lines: Lines,
    teller: Teller,
    is_introduced: bool,
    is_blind: bool,
}

impl<'a> Session<'a> {
    fn new(args: &'a RunArgs) -> anyhow::Result<Self> {
        let watching = &args.watching;
        let here = std::env::current_dir().context("looking up the current directory")?;
        let mut roots: Vec<PathBuf> = watching.watch_path.iter().map(|path| real(path)).collect();
        roots.extend(watching.watch_exec.is_some().then(|| here.clone()));
        let mut sources = Sources::new(roots);
        let cache = Cache::open().ok().map(|cache| cache.directory().to_owned());
        // What a round writes is nothing to go again for.
        let written = args.json.iter().chain(&args.boot.console).chain(&cache).cloned();
        // Nor what arguments of the user's own give QEMU, as in `file=disk.img`: it may write to it.
        for path in written.chain(named::files(&args.boot.machine.qemu_arg)) {
            sources.leave_out(real(&path));
        }
        sources.leave_out_open(io::stdout());
        sources.leave_out_open(io::stderr());
        Ok(Self {
            args,
            // Nobody sits before standard input as it is now.
            spec: args.spec(false)?,
            build: watching.watch_exec.clone().map(Build::new),
            sources,
            products: Products::default(),
            watcher: Watcher::default(),
            signals: Signals::catch().context("catching signals")?,
            inputs: Inputs::default(),
            snapshot: Snapshot::default(),
            cache,
            is_whole: false,
            lines: Lines::new(here, args.json.as_deref())?,
            teller: Teller::new(args.quiet),
            is_introduced: false,
            is_blind: false,
        })
    }

    /// Builds, prepares, boots, tells.
    fn round(&mut self, change: Option<Change>, start: Instant) -> anyhow::Result<Next> {
        self.lines.begin(change, start);
        self.teller.begin();
        let sources = match &self.build {
            None => Snapshot::of_sources(&self.sources),
            Some(build) => {
                let made = build.make(&self.sources, &self.inputs, &mut self.products, &mut self.signals);
                let made = made.context("running --watch-exec")?;
                if let Some(path) = made.restless.first() {
                    let path = self.lines.short(path);
                    output::note(&format!("the build changes {path} whenever it runs: not going again for that"));
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
        let mut inputs = Inputs::default();
        let ready = Ready::prepare(self.args, self.spec.clone(), start, &mut inputs, &mut self.teller);
        if let Some(cache) = &self.cache {
            inputs.leave_out(cache);
        }
        self.snapshot = before.used(&inputs, moment).and(sources);
        self.inputs = inputs;
        if let Some(signal) = self.signals.ending() {
            return Ok(end(signal));
        }
        let was_whole = std::mem::replace(&mut self.is_whole, ready.is_ok());
        match ready {
            Ok(ready) => self.boot(ready),
            Err(error) => self.fail(&error, was_whole),
        }
    }

    /// Boots, while somebody looks out for changes.
    fn boot(&mut self, ready: Ready<'_>) -> anyhow::Result<Next> {
        let (done, over) = UnixStream::pair().context("making a socket")?;
        let (watcher, snapshot, teller) = (&mut self.watcher, &mut self.snapshot, &mut self.teller);
        let (booted, overtaken) = thread::scope(|scope| {
            let looking = scope.spawn(|| overtake(watcher, snapshot, over.as_fd()));
            // This thread, not the other: QEMU ends with the thread that started it.
            let booted = ready.boot(teller);
            drop(done);
            (booted, looking.join())
        });
        let overtaken = match overtaken {
            Ok(overtaken) => overtaken.context("watching for changes")?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        let ours = |signal: i32| overtaken.is_some() && signal == Signal::TERM.as_raw();
        let signal = self.signals.pending().into_iter().find(|signal| ends(*signal) && !ours(*signal));
        match (booted, &overtaken) {
            (Ok(Booted { outcome: Outcome::Interrupted { signal }, .. }), Some(_)) if ours(signal) => {
                Lines::overtaken();
            }
            (Ok(Booted { outcome: Outcome::OutputClosed, report, .. }), _) => return Ok(Next::End(report.exit_code)),
            (Ok(Booted { outcome, report, told }), _) => {
                output::to_stderr(&told);
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

    /// Tells of a round without a guest; but where the last one had one, what is missing may just be in the making.
    fn fail(&mut self, error: &anyhow::Error, was_whole: bool) -> anyhow::Result<Next> {
        if was_whole {
            match self.wait(Some(PATIENCE))? {
                Next::Wait => {}
                next => return Ok(next),
            }
        }
        output::fail(error);
        let exit_code = code_for(error, self.args.command());
        let report = NotBooted { outcome: "could-not-test", exit_code, message: output::one_line(error) };
        self.lines.tell(&Told::NotTested, &report)?;
        self.introduce();
        Ok(Next::Wait)
    }

    /// Waits for the next change, or the end.
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
        Ok(match woken.context("watching for changes")? {
            Woken::Changed(change) => {
                // No build ran: somebody else did that.
                self.products.forget(&change.paths);
                Next::Round(change)
            }
            Woken::Called => self.signals.ending().map_or(Next::Wait, end),
            Woken::Late => Next::Wait,
        })
    }

    /// Says once what is going on, and where changes can only be looked for.
    fn introduce(&mut self) {
        if !std::mem::replace(&mut self.is_introduced, true) && !self.args.quiet {
            output::note(&format!("watching {} paths; Ctrl-C ends it", self.snapshot.len()));
        }
        let Some(blind) = self.watcher.blind() else { return };
        if !std::mem::replace(&mut self.is_blind, true) && !self.args.quiet {
            output::note(&match blind {
                Blind::Limit(error) => format!(
                    "looking at all of them twice a second: the kernel watches no more for us ({error}; see fs.inotify in sysctl)"
                ),
                Blind::Remote(path) => format!(
                    "looking at all of them twice a second: {} is on a file system that others may change",
                    self.lines.short(path)
                ),
            });
        }
    }
}

fn end(signal: i32) -> Next {
    Next::End(code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)))
}

fn not_built(how: &str) -> NotBooted {
    NotBooted { outcome: "not-built", exit_code: code::COULD_NOT_TEST, message: format!("build failed ({how})") }
}

/// A path as it is met by whoever walks down from the root: without links, if it is there.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// Waits for a change while a guest runs, and ends that guest, who is of no interest any more: by the signal that
/// would end it if anybody sent it.
fn overtake(watcher: &mut Watcher, snapshot: &mut Snapshot, over: BorrowedFd<'_>) -> io::Result<Option<Change>> {
    let Woken::Changed(change) = watcher.wait(snapshot, over, None)? else { return Ok(None) };
    loop {
        // Again, because whoever is about to run the guest may not be catching signals yet.
        kill_process(getpid(), Signal::TERM)?;
        let mut fds = [PollFd::new(&over, PollFlags::IN)];
        match poll(&mut fds, Some(&AGAIN)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Some(change)),
            Err(error) => return Err(error.into()),
        }
    }
}

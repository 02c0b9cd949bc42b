//! Finds, starts and reaps the command.

use crate::file;
use crate::files::{Failed, Files};
use crate::job::Job;
use crate::line::Line;
use crate::path::Path;
use crate::protocol::frame::{Ended, Usage};
use crate::syscall::file::{Fd, duplicate, exists, pipe, read, set_nonblocking, set_owner, write};
use crate::syscall::memory::allocate_pointers;
use crate::syscall::process::{
    SIGCHLD, block_signals, change_directory, execute, exit, fork, new_session, reap, set_user, uptime, vfork,
};
use crate::syscall::{Errno, Result, terminal};
use core::cell::Cell;
use core::ffi::CStr;

/// Default PATH, as in shells.
const DEFAULT_SEARCH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHELL: &CStr = c"/bin/sh";

/// Standard input, output and error of the command.
pub struct Stdio<'a> {
    pub files: [&'a Fd; 3],
    /// True if the first file is a terminal and becomes the controlling terminal.
    pub controls: bool,
}

/// A running command.
pub struct Command {
    pub pid: usize,
    pub started: u64,
    /// True if the working directory was missing and `/` is used instead.
    pub elsewhere: bool,
    /// Reports of a process that has not executed its program yet; closed when it does.
    reports: Option<Fd>,
}

/// Progress of a process that has not executed its program yet.
pub enum Step {
    Nothing,
    Executed,
    NotStarted(NotStarted),
}

/// Reason why a command failed to start.
pub enum NotStarted {
    /// There is no memory or no process for it.
    NoProcess(Errno),
    /// The kernel does not execute it.
    NotExecuted {
        errno: Errno,
        /// True if the file exists, but its interpreter does not.
        interpreter: bool,
    },
    /// The directories of the host could not be mounted.
    NoFiles(Failed),
}

/// Returns the exit status that shells use for a command that cannot be executed.
pub fn status(errno: Errno) -> u8 {
    if matches!(errno, Errno::NOENT | Errno::NOTDIR) { 127 } else { 126 }
}

/// Input and results of the child.
struct Child<'a> {
    job: &'a Job,
    stdio: &'a Stdio<'a>,
    errno: Cell<Option<Errno>>,
    found: Cell<bool>,
    elsewhere: Cell<bool>,
    /// Directories of the host, and where to report the progress.
    files: Option<(&'a Files, &'a Fd)>,
    no_files: Cell<Option<Failed>>,
}

/// First bytes of reports: [`Command::elsewhere`], the reasons of [`NotStarted::NotExecuted`] and [`NotStarted::NoFiles`].
const ELSEWHERE: u8 = b'd';
const NOT_EXECUTED: u8 = b'e';
const NO_INTERPRETER: u8 = b'i';
const NO_FILES: u8 = b'f';

impl Command {
    /// Starts the job's command. With directories of the host its process may wait for the host: see [`Command::step`].
    pub fn start(
        job: &Job,
        stdio: &Stdio<'_>,
        stack: &mut [u8],
        files: Option<&Files>,
    ) -> core::result::Result<Self, NotStarted> {
        if stack.is_empty() {
            return Err(NotStarted::NoProcess(Errno::NOMEM));
        }
        let (errno, found, elsewhere) = (Cell::new(None), Cell::new(false), Cell::new(false));
        let child = Child { job, stdio, errno, found, elsewhere, files: None, no_files: Cell::new(None) };
        let started = uptime();
        if let Some(files) = files {
            let (reports, reporter) = pipe().map_err(NotStarted::NoProcess)?;
            set_nonblocking(&reports).map_err(NotStarted::NoProcess)?;
            let child = Child { files: Some((files, &reporter)), ..child };
            let pid = fork(SIGCHLD, stack, Child::run_apart, &child).map_err(NotStarted::NoProcess)?;
            return Ok(Self { pid, started, elsewhere: false, reports: Some(reports) });
        }
        let pid = vfork(stack, Child::run, &child).map_err(NotStarted::NoProcess)?;
        match child.errno.get() {
            None => Ok(Self { pid, started, elsewhere: child.elsewhere.get(), reports: None }),
            Some(errno) => {
                // The child has already ended.
                while reap().is_some_and(|ending| ending.pid != pid) {}
                Err(NotStarted::NotExecuted { errno, interpreter: errno == Errno::NOENT && child.found.get() })
            }
        }
    }

    /// Returns where a process that has not executed its program yet reports its progress.
    pub fn reports(&self) -> Option<&Fd> {
        self.reports.as_ref()
    }

    /// Reads the reports.
    pub fn step(&mut self) -> Step {
        let Some(reports) = &self.reports else { return Step::Nothing };
        let mut buffer = [0; 600];
        let mut report = match read(reports, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Step::Nothing,
            Ok(0) | Err(_) => {
                self.reports = None;
                return Step::Executed;
            }
            Ok(len) => buffer.get(..len).unwrap_or_default(),
        };
        if let [ELSEWHERE, rest @ ..] = report {
            self.elsewhere = true;
            report = rest;
        }
        let [kind, errno, subject @ ..] = report else { return Step::Nothing };
        self.reports = None;
        let errno = Errno(usize::from(*errno));
        Step::NotStarted(match *kind {
            NO_FILES => NotStarted::NoFiles(Failed { errno, subject: Line::new(subject) }),
            kind => NotStarted::NotExecuted { errno, interpreter: kind == NO_INTERPRETER },
        })
    }

    /// Reaps ended processes, including orphans; returns the result of the command once it has ended.
    pub fn ended(&self) -> Option<(Ended, Usage)> {
        while let Some(ending) = reap() {
            if ending.pid != self.pid {
                continue;
            }
            let signal = (ending.status & 0x7f) as u8;
            let ended = match signal {
                0 => Ended::Exited((ending.status >> 8) as u8),
                _ => Ended::Signaled(signal, ending.status & 0x80 != 0),
            };
            let usage = Usage {
                wall_ns: self.running(),
                user_us: ending.user_us,
                system_us: ending.system_us,
                max_rss_kib: ending.max_rss_kib,
            };
            return Some((ended, usage));
        }
        None
    }

    /// Returns the run time so far, in nanoseconds.
    pub fn running(&self) -> u64 {
        uptime().saturating_sub(self.started)
    }
}

impl Child<'_> {
    /// Runs in the child, which shares the parent's memory: it only makes system calls and writes its cells.
    fn run(&self) -> ! {
        self.errno.set(self.begin().err());
        exit(127)
    }

    /// Runs in a child with its own memory.
    fn run_apart(&self) -> ! {
        if let (Err(errno), Some((_, reporter))) = (self.begin(), self.files) {
            let kind = if errno == Errno::NOENT && self.found.get() { NO_INTERPRETER } else { NOT_EXECUTED };
            let report = match self.no_files.take() {
                Some(failed) => Line::new(&[NO_FILES, failed.errno.0 as u8]).text(failed.subject.bytes()),
                None => Line::new(&[kind, errno.0 as u8]),
            };
            let _ = write(reporter, report.bytes());
        }
        exit(127)
    }

    fn begin(&self) -> Result<()> {
        new_session()?;
        let [input, output, errors] = self.stdio.files;
        duplicate(input, 0)?;
        duplicate(output, 1)?;
        duplicate(errors, 2)?;
        if self.stdio.controls {
            terminal::control(input)?;
        }
        if let Some((files, _)) = self.files
            && let Err(failed) = files.enter(self.job)
        {
            let errno = failed.errno;
            self.no_files.set(Some(failed));
            return Err(errno);
        }
        let directory = self.job.directory.unwrap_or(c"/");
        if change_directory(directory).is_err() {
            self.elsewhere.set(true);
            let _ = self.files.map(|(_, reporter)| write(reporter, &[ELSEWHERE]));
            change_directory(c"/")?;
        }
        if let Some((&uid, groups)) = self.job.user.split_first() {
            // Programs open their streams by name (`/dev/stderr`); a terminal belongs to its user.
            for file in self.stdio.files {
                let _ = set_owner(file, uid);
            }
            set_user(uid, groups)?;
        }
        block_signals(0)?;
        self.search()
    }

    /// Searches PATH like `execvp`, unless the name contains a slash. Returns the first error other than "not found".
    fn search(&self) -> Result<()> {
        let name = self.job.arguments.first().unwrap_or_default();
        if name.to_bytes().contains(&b'/') {
            return self.execute(name);
        }
        let mut worst = Errno::NOENT;
        for directory in self.job.search.unwrap_or(DEFAULT_SEARCH).split(|&byte| byte == b':') {
            let directory = if directory.is_empty() { b"." } else { directory };
            let Some(path) = Path::join(&[directory, b"/", name.to_bytes()]) else {
                continue;
            };
            match self.execute(path.as_c()) {
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(Errno::ACCES) => worst = Errno::ACCES,
                other => return other,
            }
        }
        Err(worst)
    }

    /// Executes the file. A script without `#!` is executed by the shell, as shells do.
    fn execute(&self, path: &CStr) -> Result<()> {
        let (arguments, environment) = (self.job.arguments.list(), self.job.environment.list());
        match execute(path, arguments, environment) {
            Err(Errno::NOEXEC) => {}
            Err(errno) => {
                if exists(path) {
                    self.found.set(true);
                }
                return Err(errno);
            }
            Ok(()) => return Ok(()),
        }
        if is_binary(path) {
            return Err(Errno::NOEXEC);
        }
        // Replaces the first argument by the shell and the script; the null pointer remains.
        let list = allocate_pointers(arguments.len())?;
        let words = arguments.get(1..).unwrap_or_default();
        let words = [SHELL.as_ptr().cast(), path.as_ptr().cast()].into_iter().chain(words.iter().copied());
        for (slot, word) in list.iter_mut().zip(words) {
            *slot = word;
        }
        execute(SHELL, list, environment)
    }
}

/// Returns true if the first line contains a NUL: then it is not a script, but probably a program for another
/// architecture.
fn is_binary(path: &CStr) -> bool {
    let mut start = [0; 256];
    let start = file::read_start(path, &mut start);
    start.iter().take_while(|&&byte| byte != b'\n').any(|&byte| byte == 0)
}

//! The command: how it is found and started, and what became of it.

use crate::file;
use crate::job::Job;
use crate::path::Path;
use crate::protocol::frame::{Ended, Usage};
use crate::syscall::file::{Fd, duplicate, exists};
use crate::syscall::memory::allocate_pointers;
use crate::syscall::process::{block_signals, change_directory, execute, exit, new_session, reap, uptime, vfork};
use crate::syscall::{Errno, Result, terminal};
use core::cell::Cell;
use core::ffi::CStr;

/// Where shells look when nobody told them.
const DEFAULT_SEARCH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SHELL: &CStr = c"/bin/sh";

/// What the command gets as 0, 1 and 2.
pub struct Stdio<'a> {
    pub files: [&'a Fd; 3],
    /// The first of them is a terminal, and is to control its session.
    pub controls: bool,
}

/// A command that runs.
pub struct Command {
    pub pid: usize,
    pub started: u64,
}

/// Why there is no such command.
pub struct NotStarted {
    pub errno: Errno,
    /// The file is there: what is missing is its interpreter.
    pub interpreter: bool,
}

impl NotStarted {
    /// The status that shells give it.
    pub fn status(&self) -> u8 {
        if matches!(self.errno, Errno::NOENT | Errno::NOTDIR) { 127 } else { 126 }
    }
}

/// Everything the child needs, and what it leaves behind.
struct Child<'a> {
    job: &'a Job,
    stdio: &'a Stdio<'a>,
    errno: Cell<Option<Errno>>,
    found: Cell<bool>,
    elsewhere: Cell<bool>,
}

impl Command {
    /// Starts the job's command. Also says whether its directory was missing, so that it began in `/`.
    pub fn start(
        job: &Job,
        stdio: &Stdio<'_>,
        stack: &mut [u8],
    ) -> core::result::Result<(Self, bool), NotStarted> {
        let refuse = |errno| NotStarted { errno, interpreter: false };
        if stack.is_empty() {
            return Err(refuse(Errno::NOMEM));
        }
        let child = Child { job, stdio, errno: Cell::new(None), found: Cell::new(false), elsewhere: Cell::new(false) };
        let started = uptime();
        let pid = vfork(stack, Child::run, &child).map_err(refuse)?;
        match child.errno.get() {
            None => Ok((Self { pid, started }, child.elsewhere.get())),
            Some(errno) => {
                // It has ended already.
                while reap().is_some_and(|ending| ending.pid != pid) {}
                Err(NotStarted { errno, interpreter: errno == Errno::NOENT && child.found.get() })
            }
        }
    }

    /// Takes what has ended; `Some` once the command is among it. Orphans of the guest end here, too.
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

    /// For how long it has been running, nanoseconds.
    pub fn running(&self) -> u64 {
        uptime().saturating_sub(self.started)
    }
}

impl Child<'_> {
    /// The child's side: it shares the parent's memory, so it calls the kernel and writes its cells, nothing more.
    fn run(&self) -> ! {
        self.errno.set(self.begin().err());
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
        let directory = self.job.directory.unwrap_or(c"/");
        if change_directory(directory).is_err() {
            self.elsewhere.set(true);
            change_directory(c"/")?;
        }
        block_signals(0)?;
        self.search()
    }

    /// As `execvp` does: through PATH where there is no slash; the first error that tells more than "not here" counts.
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

    /// Executes the file; a script without `#!` is given to the shell, as shells do.
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
        // The list's first word gives way to the shell and the script, its null pointer stays.
        let list = allocate_pointers(arguments.len())?;
        let words = arguments.get(1..).unwrap_or_default();
        let words = [SHELL.as_ptr().cast(), path.as_ptr().cast()].into_iter().chain(words.iter().copied());
        for (slot, word) in list.iter_mut().zip(words) {
            *slot = word;
        }
        execute(SHELL, list, environment)
    }
}

/// Is there a NUL in its first line? Then it is no script: a program for another machine, most likely.
fn is_binary(path: &CStr) -> bool {
    let mut start = [0; 256];
    let start = file::read_start(path, &mut start);
    start.iter().take_while(|&&byte| byte != b'\n').any(|&byte| byte == 0)
}

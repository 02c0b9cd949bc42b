//! The build of a candidate: a line for the shell, which a signal to us, or a limit, ends.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::boot::process::Process;
use crate::boot::signals::Signals;

/// How long a build may take to clean up after it was asked to stop: make deletes what is half made.
const GRACE: Duration = Duration::from_secs(10);
/// How much of what it said is looked at.
const TAIL: u64 = 16 << 10;

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Built {
    /// It succeeded.
    Done,
    /// It failed, in these words.
    Failed(String),
    /// A signal to us ended it.
    Interrupted(i32),
}

/// What a build is.
#[derive(Debug)]
pub struct Build<'a> {
    /// The line.
    pub line: &'a OsStr,
    /// Where it runs.
    pub directory: &'a Path,
    /// The longest that it may take.
    pub limit: Option<Duration>,
    /// Whether what it says is to be seen; it is kept anyway.
    pub verbose: bool,
}

impl Build<'_> {
    /// Runs it. Also gives the last lines that it said, at most so many, where they were not seen.
    pub fn run(&self, signals: &mut Signals, lines: usize) -> io::Result<(Built, Vec<String>)> {
        let said = tempfile::tempfile()?;
        let stream = || {
            if self.verbose {
                Ok(Stdio::from(rustix::io::dup(io::stderr())?))
            } else {
                said.try_clone().map(Stdio::from)
            }
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(self.line).current_dir(self.directory).stdin(Stdio::null());
        command.stdout(stream()?).stderr(stream()?);
        let mut process = Process::start(&mut command, &[])?;
        drop(command);
        let built = self.wait(&mut process, signals)?;
        Ok((built, tail(said, lines)?))
    }

    fn wait(&self, process: &mut Process, signals: &mut Signals) -> io::Result<Built> {
        let start = Instant::now();
        let mut asked: Option<(Built, Instant)> = None;
        loop {
            if let Some(status) = process.exit()? {
                return Ok(asked.map_or_else(|| how(status), |(built, _)| built));
            }
            let left = match &asked {
                Some((_, since)) => Some(GRACE.saturating_sub(since.elapsed())),
                None => self.limit.map(|limit| limit.saturating_sub(start.elapsed())),
            };
            if left.is_some_and(|left| left.is_zero()) {
                match asked {
                    Some((built, _)) => {
                        process.kill();
                        return Ok(built);
                    }
                    None => asked = Some((late(self.limit), stop(process)?)),
                }
                continue;
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = [PollFd::new(process.ended(), PollFlags::IN), PollFd::new(&*signals, PollFlags::IN)];
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(signal) = signals.ending() {
                match asked {
                    // Once more: at once.
                    Some((built, _)) => {
                        process.kill();
                        return Ok(built);
                    }
                    None => asked = Some((Built::Interrupted(signal), stop(process)?)),
                }
            }
        }
    }
}

/// Asks a build and all it started to stop, as Ctrl-C does.
fn stop(process: &Process) -> io::Result<Instant> {
    let group = i32::try_from(process.pid()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    kill_process_group(group, Signal::INT)?;
    Ok(Instant::now())
}

fn late(limit: Option<Duration>) -> Built {
    Built::Failed(format!("not done after {:?}", limit.unwrap_or_default()))
}

fn how(status: ExitStatus) -> Built {
    match (status.code(), status.signal()) {
        (Some(0), _) => Built::Done,
        (Some(code), _) => Built::Failed(format!("the build exited with {code}")),
        (None, signal) => Built::Failed(format!("the build was killed by signal {}", signal.unwrap_or_default())),
    }
}

/// The last lines of a file.
fn tail(mut file: File, lines: usize) -> io::Result<Vec<String>> {
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let plain = |line: &str| line.chars().filter(|letter| !letter.is_control() || *letter == '\t').collect();
    let all: Vec<String> = text.lines().map(plain).collect();
    Ok(all[all.len().saturating_sub(lines)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::{Build, Built};
    use crate::boot::signals::Signals;
    use std::ffi::OsStr;
    use std::path::Path;
    use std::time::Duration;

    fn run(line: &str, limit: Option<Duration>) -> (Built, Vec<String>) {
        let build = Build { line: OsStr::new(line), directory: Path::new("/"), limit, verbose: false };
        build.run(&mut Signals::catch().expect("signals"), 2).expect("it runs")
    }

    #[test]
    fn a_build_says_how_it_ended_and_what_it_said_last() {
        assert_eq!(run("pwd", None), (Built::Done, vec!["/".to_owned()]));
        let (built, said) = run("echo one; echo two >&2; echo three; exit 3", None);
        assert_eq!(built, Built::Failed("the build exited with 3".to_owned()));
        assert_eq!(said, ["two", "three"]);
    }

    #[test]
    fn a_build_that_takes_too_long_is_ended_with_all_it_started() {
        let (built, _) = run("sleep 1000 & sleep 1000", Some(Duration::from_millis(50)));
        assert!(matches!(built, Built::Failed(why) if why.contains("not done after 50ms")));
    }
}

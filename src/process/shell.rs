//! A build: a line for the shell, which a signal to us, or a limit, ends with all that it started.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::Process;
use super::signals::Signals;

/// How long a build may take to clean up after it was asked to stop: make deletes what is half made.
const GRACE: Duration = Duration::from_secs(10);

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
    /// The line, for `sh -c`.
    pub line: &'a OsStr,
    /// Where it runs.
    pub directory: &'a Path,
    /// The longest that it may take.
    pub limit: Option<Duration>,
    /// Where what it prints is kept; `None`: it goes to our standard error, since standard output is for results.
    pub kept: Option<&'a File>,
}

impl Build<'_> {
    /// Runs it. A signal to us is passed on to it; the second one, or a while without an end, kills it.
    pub fn run(&self, signals: &mut Signals) -> io::Result<Built> {
        let stream = || match self.kept {
            Some(file) => file.try_clone().map(Stdio::from),
            None => Ok(Stdio::from(rustix::io::dup(io::stderr())?)),
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(self.line).current_dir(self.directory).stdin(Stdio::null());
        command.stdout(stream()?).stderr(stream()?);
        let mut process = Process::start(&mut command, &[])?;
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
            let is_late = left.is_some_and(|left| left.is_zero());
            let signal = if is_late { None } else { wait(&process, signals, left)? };
            if !is_late && signal.is_none() {
                continue;
            }
            if let Some((built, _)) = asked {
                process.kill();
                // Who asks us to end after the limit means more than this build.
                return Ok(signal.map_or(built, Built::Interrupted));
            }
            // As Ctrl-C does, where it is the limit.
            let built = signal.map_or_else(|| late(self.limit), Built::Interrupted);
            process.signal(signal.unwrap_or(Signal::INT.as_raw()))?;
            asked = Some((built, Instant::now()));
        }
    }
}

/// Waits for the end of a process, for as long as that may take, and for a signal that is meant to end us.
fn wait(process: &Process, signals: &mut Signals, left: Option<Duration>) -> io::Result<Option<i32>> {
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut fds = [PollFd::new(process.ended(), PollFlags::IN), PollFd::new(&*signals, PollFlags::IN)];
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(signals.ending()),
        Err(error) => Err(error.into()),
    }
}

fn late(limit: Option<Duration>) -> Built {
    Built::Failed(format!("not done after {:?}", limit.unwrap_or_default()))
}

fn how(status: ExitStatus) -> Built {
    match (status.code(), status.signal()) {
        (Some(0), _) => Built::Done,
        (Some(code), _) => Built::Failed(format!("exit {code}")),
        (None, Some(signal)) => Built::Failed(format!("killed by signal {signal}")),
        (None, None) => Built::Failed("no status".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Build, Built};
    use crate::process::signals::Signals;
    use std::ffi::OsStr;
    use std::fs;
    use std::io::{Read, Seek, SeekFrom};
    use std::path::Path;
    use std::time::{Duration, Instant};

    fn run(line: &str, limit: Option<Duration>) -> (Built, String) {
        let mut kept = tempfile::tempfile().expect("a file");
        let build = Build { line: OsStr::new(line), directory: Path::new("/"), limit, kept: Some(&kept) };
        let ended = build.run(&mut Signals::catch().expect("signals")).expect("it runs");
        let mut said = String::new();
        kept.seek(SeekFrom::Start(0)).and_then(|_| kept.read_to_string(&mut said)).expect("text");
        (ended, said)
    }

    #[test]
    fn a_build_says_how_it_ended_and_what_it_printed_is_kept() {
        assert_eq!(run("pwd", None), (Built::Done, "/\n".to_owned()));
        let (ended, said) = run("echo one; echo two >&2; exit 3", None);
        assert_eq!((ended, said.as_str()), (Built::Failed("exit 3".to_owned()), "one\ntwo\n"));
        assert_eq!(run("kill -9 $$", None).0, Built::Failed("killed by signal 9".to_owned()));
    }

    #[test]
    fn a_build_that_takes_too_long_is_ended_with_all_it_started() {
        let (ended, said) = run("trap 'echo cleaned; exit 1' INT; sleep 1000 & wait", Some(Duration::from_secs(2)));
        assert!(matches!(&ended, Built::Failed(why) if why == "not done after 2s"), "{ended:?}");
        assert_eq!(said, "cleaned\n");
    }

    #[test]
    fn what_a_build_leaves_in_the_background_ends_with_it() {
        let (ended, number) = run("sleep 1000 & echo $!", None);
        assert_eq!(ended, Built::Done);
        let path = format!("/proc/{}/stat", number.trim());
        // Dead, and reaped or not.
        let is_over = || fs::read_to_string(&path).map_or(true, |stat| stat.contains(") Z "));
        let start = Instant::now();
        while !is_over() {
            assert!(start.elapsed() < Duration::from_secs(60), "{path} is there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

//! Builds: runs a shell command, and ends it with all its processes on a signal or at a time limit.

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

/// Time for cleanup after a build was asked to stop: make deletes incomplete targets.
const GRACE: Duration = Duration::from_secs(10);

/// Result of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Built {
    /// Success.
    Done,
    /// Failure, with its description.
    Failed(String),
    /// Interrupted by a signal to bootling.
    Interrupted(i32),
}

/// Description of a build.
#[derive(Debug)]
pub struct Build<'a> {
    /// Command for `sh -c`.
    pub line: &'a OsStr,
    /// Working directory.
    pub directory: &'a Path,
    /// Time limit.
    pub limit: Option<Duration>,
    /// File for its output; `None`: bootling's standard error, because standard output is for results.
    pub kept: Option<&'a File>,
}

impl Build<'_> {
    /// Runs the build. A signal to bootling is forwarded; a second signal, or the end of the grace period, kills the
    /// build.
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
                return Ok(asked.map_or_else(|| result_of(status), |(built, _)| built));
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
                // A signal after the time limit ends bootling, not only this build.
                return Ok(signal.map_or(built, Built::Interrupted));
            }
            // At the time limit, send the same signal as Ctrl-C.
            let built = signal.map_or_else(|| timed_out(self.limit), Built::Interrupted);
            process.signal(signal.unwrap_or(Signal::INT.as_raw()))?;
            asked = Some((built, Instant::now()));
        }
    }
}

/// Waits for the end of the process, a signal that ends bootling, or the timeout `left`.
pub(crate) fn wait(process: &Process, signals: &mut Signals, left: Option<Duration>) -> io::Result<Option<i32>> {
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    let mut fds = [PollFd::new(process.ended(), PollFlags::IN), PollFd::new(&*signals, PollFlags::IN)];
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(signals.ending()),
        Err(error) => Err(error.into()),
    }
}

fn timed_out(limit: Option<Duration>) -> Built {
    Built::Failed(format!("not finished after {:?}", limit.unwrap_or_default()))
}

fn result_of(status: ExitStatus) -> Built {
    match (status.code(), status.signal()) {
        (Some(0), _) => Built::Done,
        (Some(code), _) => Built::Failed(format!("exit {code}")),
        (None, Some(signal)) => Built::Failed(format!("killed by signal {signal}")),
        (None, None) => Built::Failed("no exit status".to_owned()),
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
        let mut output = String::new();
        kept.seek(SeekFrom::Start(0)).and_then(|_| kept.read_to_string(&mut output)).expect("text");
        (ended, output)
    }

    #[test]
    fn the_result_and_the_output_of_a_build_are_kept() {
        assert_eq!(run("pwd", None), (Built::Done, "/\n".to_owned()));
        let (ended, output) = run("echo one; echo two >&2; exit 3", None);
        assert_eq!((ended, output.as_str()), (Built::Failed("exit 3".to_owned()), "one\ntwo\n"));
        assert_eq!(run("kill -9 $$", None).0, Built::Failed("killed by signal 9".to_owned()));
    }

    #[test]
    fn a_build_over_its_limit_is_ended_with_all_its_processes() {
        // On a host with other load, the shell may start only after the first limits.
        for limit in [1, 10, 100] {
            let line = "trap 'echo cleaned; exit 1' INT; echo ready; sleep 1000 & wait";
            let (ended, output) = run(line, Some(Duration::from_secs(limit)));
            assert!(matches!(&ended, Built::Failed(why) if why.starts_with("not finished after ")), "{ended:?}");
            if output.contains("ready") || limit == 100 {
                assert_eq!(output, "ready\ncleaned\n");
                break;
            }
        }
    }

    #[test]
    fn background_processes_of_a_build_end_with_it() {
        let (ended, number) = run("sleep 1000 & echo $!", None);
        assert_eq!(ended, Built::Done);
        let path = format!("/proc/{}/stat", number.trim());
        // A zombie, or already reaped.
        let is_over = || fs::read_to_string(&path).map_or(true, |stat| stat.contains(") Z "));
        let start = Instant::now();
        while !is_over() {
            assert!(start.elapsed() < Duration::from_secs(120), "{path} is there");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

//! The bootling program under test: run to its end, or to a limit at which it and all it started are killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process_group};

use super::Kernel;
use super::processes::{peak_kib, to_pid};

/// No guest of these tests takes longer, even on a slow machine under TCG.
const LIMIT: Duration = Duration::from_secs(180);

/// A call of the program, being put together.
pub struct Program {
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

/// How it ended.
#[derive(Debug)]
pub struct Done {
    /// Exit status; `None` where a signal killed it.
    pub status: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// Largest resident set that was seen, KiB.
    pub peak_kib: u64,
}

/// A running program.
pub struct Running {
    child: Child,
    started: Instant,
    limit: Duration,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    peak_kib: u64,
}

/// `build/`, where everything goes that is not source.
pub fn build_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("build")
}

/// A private scratch folder below `build/`, gone when dropped.
pub fn scratch() -> tempfile::TempDir {
    let dir = build_dir().join("test-scratch");
    fs::create_dir_all(&dir).expect("build/ can be written");
    tempfile::tempdir_in(dir).expect("build/ can be written")
}

impl Program {
    /// `bootling` with nothing to do yet. Its cache is the tests' own, so that each package is unpacked once.
    pub fn new() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootling"));
        command.env("BOOTLING_CACHE_DIR", build_dir().join("test-cache")).env("LC_ALL", "C").process_group(0);
        Self { command, stdin: Vec::new(), limit: LIMIT }
    }

    /// `bootling run --kernel PACKAGE`; `None`, after saying why, where no guest can be booted.
    pub fn run(kernel: Kernel, test: &str) -> Option<Self> {
        let package = kernel.or_skip(test)?;
        Some(Self::new().args(["run", "--kernel"]).arg(package))
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Where it runs.
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads on standard input, followed by the end of file.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Kills it after this time, and fails the test.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("bootling was built");
        let mut stdin = child.stdin.take().expect("piped");
        let input = self.stdin;
        // A program that does not read its input breaks this pipe, as it may.
        thread::spawn(move || stdin.write_all(&input));
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        Running { child, started: Instant::now(), limit: self.limit, stdout, stderr, peak_kib: 0 }
    }

    /// Starts it with its output going to `file`, for tests of what it does where that fails.
    pub fn output_to(mut self, file: File) -> Done {
        self.command.stdout(file);
        let output = self.command.stdin(Stdio::null()).stderr(Stdio::piped()).output().expect("bootling was built");
        Done {
            status: output.status.code(),
            signal: output.status.signal(),
            stdout: Vec::new(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: Duration::ZERO,
            peak_kib: 0,
        }
    }

    /// Runs it to its end.
    pub fn done(self) -> Done {
        self.start().done()
    }

    /// Runs it to its end with `--json`; also gives what was written there. To be called before any command's `--`.
    pub fn json<S: AsRef<OsStr>>(self, rest: impl IntoIterator<Item = S>) -> (Done, serde_json::Value) {
        let dir = scratch();
        let file = dir.path().join("verdict.json");
        let done = self.arg("--json").arg(&file).args(rest).done();
        let text = fs::read(&file).unwrap_or_else(|error| panic!("no verdict ({error}); {}", done.stderr));
        (done, serde_json::from_slice(&text).expect("the verdict is JSON"))
    }
}

/// Reads a pipe to its end in a thread of its own.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.read_to_end(&mut bytes);
        // Nobody listens any more where the test has failed already.
        let _ = read.map(|_| send.send(bytes));
    });
    receive
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; kills it with all it started at the limit.
    pub fn done(mut self) -> Done {
        let end = self.started + self.limit;
        let status = loop {
            self.peak_kib = self.peak_kib.max(peak_kib(self.pid()).unwrap_or(0));
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            if Instant::now() > end {
                self.kill_all();
                let (stdout, stderr) = self.output();
                panic!(
                    "bootling still ran after {:?}\nstdout: {}\nstderr: {}",
                    self.limit,
                    tail(&stdout),
                    tail(&stderr)
                );
            }
            thread::sleep(Duration::from_millis(10));
        };
        let took = self.started.elapsed();
        let (stdout, stderr) = self.output();
        Done {
            status: status.code(),
            signal: status.signal(),
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            took,
            peak_kib: self.peak_kib,
        }
    }

    fn output(&self) -> (Vec<u8>, Vec<u8>) {
        // The pipes end with the program, unless something it left behind still holds them: that is a bug to be seen.
        let wait = Duration::from_secs(20);
        let stdout = self.stdout.recv_timeout(wait).expect("nothing that outlives bootling holds its standard output");
        let stderr = self.stderr.recv_timeout(wait).expect("nothing that outlives bootling holds its standard error");
        (stdout, stderr)
    }

    fn kill_all(&mut self) {
        // QEMU dies with bootling (which the tests check), the rest is in its group.
        let _ = kill_process_group(to_pid(self.pid()), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill_all();
        }
    }
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned()
}

impl Done {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Checks the exit status; shows everything where it is another.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(
            self.status,
            Some(status),
            "signal {:?} after {:?}\nstdout: {}\nstderr: {}",
            self.signal,
            self.took,
            tail(&self.stdout),
            tail(self.stderr.as_bytes())
        );
        self
    }

    /// Checks that standard error has `needle` in it.
    #[track_caller]
    pub fn says(self, needle: &str) -> Self {
        assert!(self.stderr.contains(needle), "no {needle:?} in standard error: {}", self.stderr);
        self
    }
}

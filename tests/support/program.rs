//! The bootling program under test, with a time limit at which it and its child processes are killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bootling::{BootReport, NotRun, RunReport};
use rustix::process::{Signal, kill_process_group};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Kernel;
use super::processes::{peak_kib, to_pid, wait_for};

/// Default time limit, also for a guest on a slow host under TCG.
const LIMIT: Duration = Duration::from_secs(180);

/// Builder for one call of the program.
pub(crate) struct Program {
    command: Command,
    stdin: Vec<u8>,
    limit: Duration,
}

/// Result of a call.
#[derive(Debug)]
pub(crate) struct Done {
    /// Exit status; `None` if a signal killed the program.
    pub status: Option<i32>,
    /// Signal that killed the program.
    pub signal: Option<i32>,
    /// Complete standard output.
    pub stdout: Vec<u8>,
    /// Complete standard error.
    pub stderr: String,
    /// Time from start to end.
    pub took: Duration,
    /// Largest observed resident set, in KiB.
    pub peak_kib: u64,
}

/// A running program.
pub(crate) struct Running {
    child: Child,
    started: Instant,
    limit: Duration,
    stdout: Collected,
    stderr: Collected,
    peak_kib: u64,
}

/// Returns the path of `build/`, the directory for generated files.
pub(crate) fn build_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("build")
}

/// Creates a temporary directory below `build/`, removed on drop.
pub(crate) fn scratch() -> tempfile::TempDir {
    let dir = build_dir().join("test-scratch");
    fs::create_dir_all(&dir).expect("build/ can be written");
    tempfile::tempdir_in(dir).expect("build/ can be written")
}

impl Program {
    /// Creates a call without arguments. The cache is shared by all tests, so that each package is unpacked once.
    pub(crate) fn new() -> Self {
        Self::of(env!("CARGO_BIN_EXE_bootling"))
    }

    /// Creates a call of another program that starts bootling, without arguments.
    pub(crate) fn of(program: &str) -> Self {
        let mut command = Command::new(program);
        command.env("BOOTLING_CACHE_DIR", build_dir().join("test-cache")).env("LC_ALL", "C").process_group(0);
        Self { command, stdin: Vec::new(), limit: LIMIT }
    }

    /// Returns `bootling run --kernel PACKAGE`; prints the reason and returns `None` if no guest can be booted.
    pub(crate) fn run(kernel: Kernel, test: &str) -> Option<Self> {
        let package = kernel.or_skip(test)?;
        Some(Self::new().args(["run", "--kernel"]).arg(package))
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets the bytes for standard input, which are followed by end of file.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets the time limit, at which the program is killed and the test fails.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the program.
    pub(crate) fn start(mut self) -> Running {
        let input = std::mem::take(&mut self.stdin);
        let (running, mut stdin) = self.start_with_input();
        // The write fails if the program does not read its input, which is not an error.
        thread::spawn(move || stdin.write_all(&input));
        running
    }

    /// Starts the program and returns its standard input, a pipe.
    pub(crate) fn start_with_input(mut self) -> (Running, ChildStdin) {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("bootling was built");
        let stdin = child.stdin.take().expect("piped");
        let stdout = collect(child.stdout.take().expect("piped"));
        let stderr = collect(child.stderr.take().expect("piped"));
        (Running { child, started: Instant::now(), limit: self.limit, stdout, stderr, peak_kib: 0 }, stdin)
    }

    /// Runs the program with standard output to `file`, for tests of failing output.
    pub(crate) fn output_to(mut self, file: File) -> Done {
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

    /// Runs the program to its end.
    pub(crate) fn done(self) -> Done {
        self.start().done()
    }

    /// Runs `run` or `boot` with `--json` and also returns the verdict, which the library's public types must read back
    /// without loss. Must be called before the `--` of a command.
    pub(crate) fn json<S: AsRef<OsStr>>(self, rest: impl IntoIterator<Item = S>) -> (Done, Value) {
        let dir = scratch();
        let file = dir.path().join("verdict.json");
        let done = self.arg("--json").arg(&file).args(rest).done();
        let text = fs::read(&file).unwrap_or_else(|error| panic!("no verdict ({error}); {}", done.stderr));
        let verdict: Value = serde_json::from_slice(&text).expect("the verdict is JSON");
        let read = if verdict.get("image").is_some() {
            round_trip::<BootReport>(&verdict)
        } else if verdict.get("qemu").is_some() {
            round_trip::<RunReport>(&verdict)
        } else {
            round_trip::<NotRun>(&verdict)
        };
        assert_eq!(read.expect("the public type reads the verdict"), verdict);
        (done, verdict)
    }
}

/// Reads JSON as `T` and writes it again.
fn round_trip<T: Serialize + DeserializeOwned>(json: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(T::deserialize(json)?)
}

/// Data that a pipe has delivered so far, and its end.
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Receiver<()>,
}

/// Reads a pipe to its end in a separate thread.
fn collect(mut pipe: impl Read + Send + 'static) -> Collected {
    let (send, end) = channel();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&bytes);
    thread::spawn(move || {
        let mut chunk = vec![0; 64 << 10];
        while let Ok(len @ 1..) = pipe.read(&mut chunk) {
            all.lock().expect("not poisoned").extend_from_slice(&chunk[..len]);
        }
        // The receiver is gone if the test has already failed.
        let _ = send.send(());
    });
    Collected { bytes, end }
}

impl Collected {
    /// Returns everything, at the end of the pipe.
    fn whole(&self) -> Vec<u8> {
        // The pipes close with the program, unless a leftover process has them open, which is a bug.
        self.end.recv_timeout(Duration::from_secs(60)).expect("no process outlives bootling with its output open");
        std::mem::take(&mut *self.bytes.lock().expect("not poisoned"))
    }
}

impl Running {
    /// Process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program to end; at the time limit, kills it and its children.
    pub(crate) fn done(mut self) -> Done {
        let end = self.started + self.limit;
        let status = loop {
            self.peak_kib = self.peak_kib.max(peak_kib(self.pid()).unwrap_or(0));
            if let Some(status) = self.child.try_wait().expect("child process") {
                break status;
            }
            if Instant::now() > end {
                self.kill_all();
                let (stdout, stderr) = self.output();
                panic!(
                    "bootling still running after {:?}\nstdout: {}\nstderr: {}",
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

    /// Waits until standard output contains `text`.
    pub(crate) fn wait_for_output(&self, text: &str) {
        let has_text = |bytes: &[u8]| bytes.windows(text.len()).any(|found| found == text.as_bytes());
        wait_for(&format!("{text:?} on standard output"), self.limit, || {
            has_text(&self.stdout.bytes.lock().expect("not poisoned")).then_some(())
        });
    }

    fn output(&self) -> (Vec<u8>, Vec<u8>) {
        (self.stdout.whole(), self.stderr.whole())
    }

    fn kill_all(&mut self) {
        // QEMU dies with bootling (the tests check this); other children are in the process group.
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
    /// Returns standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Checks the exit status; on failure, prints all output.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
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

    /// Checks that standard error contains `needle`.
    #[track_caller]
    pub(crate) fn says(self, needle: &str) -> Self {
        assert!(self.stderr.contains(needle), "no {needle:?} in standard error: {}", self.stderr);
        self
    }
}

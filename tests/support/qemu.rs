//! Plain QEMU, started without bootling, to boot bootling's images.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Kernel;

/// Result of a boot.
pub(crate) struct Booted {
    /// Output on the serial console.
    pub console: String,
    /// Exit status of QEMU; `None` if it was killed at the time limit.
    pub status: Option<i32>,
}

/// Boots `initrd` with the kernel's bzImage, the console on a pipe, and `extra` after QEMU's other arguments.
/// Once the console contains `prompt`, `input` is written to it.
pub(crate) fn boot(kernel: Kernel, initrd: &Path, extra: &[&str], prompt: &str, input: &[u8]) -> Booted {
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-accel", "tcg", "-cpu", "max", "-m", "1024"])
        .args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initrd)
        .args(extra)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("or_skip checked for QEMU");
    let mut stdin = qemu.stdin.take().expect("piped");
    let stdout = qemu.stdout.take().expect("piped");
    let receive = spawn_reader(stdout);
    let end = Instant::now() + Duration::from_secs(600);
    let mut console = Vec::new();
    let mut typed = input.is_empty();
    loop {
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => console.extend(bytes),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                qemu.kill().expect("child process");
                break;
            }
        }
        if !typed && String::from_utf8_lossy(&console).contains(prompt) {
            stdin.write_all(input).and_then(|()| stdin.flush()).expect("open console");
            typed = true;
        }
    }
    let status = qemu.wait().expect("child process").code();
    Booted { console: String::from_utf8_lossy(&console).into_owned(), status }
}

/// Reads a pipe in a separate thread, so that a caller can wait for output with a time limit.
pub(crate) fn spawn_reader(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut chunk) {
            if send.send(chunk[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

impl Booted {
    /// Checks that the guest powered off and that the console contains `needle`.
    #[track_caller]
    pub(crate) fn powered_off_after(self, needle: &str) -> Self {
        assert_eq!(self.status, Some(0), "QEMU did not exit: {}", self.console);
        assert!(self.console.contains(needle), "no {needle:?} on the console: {}", self.console);
        self
    }
}

//! QEMU as anybody would start it, without bootling: what our images do in foreign hands.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Kernel;

/// What came of it.
pub struct Booted {
    /// Everything the serial console said.
    pub console: String,
    /// QEMU's own exit status; `None` where it had to be killed.
    pub status: Option<i32>,
}

/// Boots `initrd` with the kernel's bzImage, its console on a pipe, `extra` behind QEMU's other arguments.
/// Once the console says `prompt`, `input` is typed on it.
pub fn boot(kernel: Kernel, initrd: &Path, extra: &[&str], prompt: &str, input: &[u8]) -> Booted {
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
        .expect("or_skip said QEMU is there");
    let mut stdin = qemu.stdin.take().expect("piped");
    let stdout = qemu.stdout.take().expect("piped");
    let receive = heard(stdout);
    let end = Instant::now() + Duration::from_secs(120);
    let mut console = Vec::new();
    let mut typed = input.is_empty();
    loop {
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => console.extend(bytes),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                qemu.kill().expect("it is our child");
                break;
            }
        }
        if !typed && String::from_utf8_lossy(&console).contains(prompt) {
            stdin.write_all(input).and_then(|()| stdin.flush()).expect("QEMU reads its console");
            typed = true;
        }
    }
    let status = qemu.wait().expect("it is our child").code();
    Booted { console: String::from_utf8_lossy(&console).into_owned(), status }
}

/// What a process writes to a pipe, as it comes, so that it can be waited for with a limit.
pub fn heard(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
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
    /// Checks that the guest powered itself off, and that the console has `needle` in it.
    #[track_caller]
    pub fn powered_off_after(self, needle: &str) -> Self {
        assert_eq!(self.status, Some(0), "QEMU did not end by itself: {}", self.console);
        assert!(self.console.contains(needle), "no {needle:?} on the console: {}", self.console);
        self
    }
}

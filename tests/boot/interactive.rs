//! `bootling run` without a command on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::Kernel;
use crate::support::processes::{LIMIT, children, qemu_of, wait_for, wait_until_gone};
use crate::support::program::build_dir;

/// A pseudoterminal with its keyboard (input) and screen (output).
struct Seat {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    slave: File,
}

impl Seat {
    fn new() -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&master).expect("a pty");
        unlockpt(&master).expect("a pty");
        let name = ptsname(&master, Vec::new()).expect("a pty has a name");
        let slave = File::options().read(true).write(true).open(name.to_str().expect("ASCII")).expect("unlocked");
        let size = Winsize { ws_row: 37, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).expect("a pty has a size");
        let keyboard = File::from(master);
        let mut glass = keyboard.try_clone().expect("a free descriptor");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&screen);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = glass.read(&mut chunk) {
                seen.lock().expect("not poisoned").extend_from_slice(&chunk[..len]);
            }
        });
        Self { keyboard, screen, slave }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("not poisoned")).into_owned()
    }

    /// Waits until the screen shows `what`, then clears the recorded output.
    fn expect(&self, what: &str) {
        wait_for(&format!("{what:?} on the screen"), LIMIT, || {
            let mut screen = self.screen.lock().expect("not poisoned");
            let found = String::from_utf8_lossy(&screen).contains(what);
            found.then(|| screen.clear())
        });
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal is open");
    }

    /// True if the terminal echoes and is in canonical mode, as a shell expects.
    fn is_cooked(&self) -> bool {
        tcgetattr(&self.slave).expect("a terminal").local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn bootling(&self, package: &std::path::Path) -> std::process::Child {
        let end = || Stdio::from(self.slave.try_clone().expect("a free descriptor"));
        // setsid makes the terminal the controlling terminal, as a login does.
        Command::new("setsid")
            .args(["--wait", "--ctty", env!("CARGO_BIN_EXE_bootling"), "run", "--kernel"])
            .arg(package)
            .env("BOOTLING_CACHE_DIR", build_dir().join("test-cache"))
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("util-linux is installed")
    }
}

#[test]
fn an_interactive_shell_has_job_control_and_the_window_size() {
    let Some(package) = Kernel::Cloud612.or_skip("an_interactive_shell_has_job_control") else { return };
    let mut seat = Seat::new();
    let mut child = seat.bootling(&package);
    seat.expect("# ");
    assert!(!seat.is_cooked(), "the guest's terminal handles echo and line editing");
    seat.types("stty size; echo done-$((1 + 1))\n");
    wait_for("the size", LIMIT, || seat.text().contains("done-2").then_some(()));
    assert!(seat.text().contains("37 111"), "{}", seat.text());
    // Ctrl-C is for the guest's command.
    seat.types("sh -c 'echo ready-$((5 + 5)); exec sleep 1000'\n");
    seat.expect("ready-10");
    seat.types("\x03");
    seat.types("echo alive-$((2 + 2))\n");
    seat.expect("alive-4");
    // A change of the window size reaches the guest.
    let size = Winsize { ws_row: 20, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&seat.slave, size).expect("a pty has a size");
    seat.types("until stty size | grep -q '^20 60'; do :; done; stty size; echo done-$((3 + 3))\n");
    wait_for("the new size", LIMIT, || seat.text().contains("done-6").then_some(()));
    assert!(seat.text().contains("20 60"), "{}", seat.text());
    seat.types("exit 5\n");
    assert_eq!(child.wait().expect("child process").code(), Some(5), "{}", seat.text());
    assert!(seat.is_cooked(), "the terminal settings are restored");
}

#[test]
fn end_of_file_powers_the_guest_off() {
    let Some(package) = Kernel::Generic61.or_skip("end_of_file_powers_the_guest_off") else { return };
    let mut seat = Seat::new();
    let mut child = seat.bootling(&package);
    seat.expect("# ");
    seat.types("\x04");
    assert_eq!(child.wait().expect("child process").code(), Some(0), "{}", seat.text());
    assert!(seat.is_cooked());
}

#[test]
fn the_terminal_is_restored_after_sigterm() {
    let Some(package) = Kernel::Cloud612.or_skip("the_terminal_is_restored") else { return };
    let seat = Seat::new();
    let mut child = seat.bootling(&package);
    seat.expect("# ");
    // setsid may fork: bootling is the child process itself or its child.
    let bootling = children(child.id(), "bootling").pop().unwrap_or(child.id());
    let qemu = qemu_of(bootling);
    crate::support::processes::signal(bootling, rustix::process::Signal::TERM);
    child.wait().expect("child process");
    assert!(seat.is_cooked(), "{}", seat.text());
    wait_until_gone(qemu);
}

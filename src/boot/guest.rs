//! A QEMU that runs a guest, and the sockets to it.
//!
//! QEMU has a process group of its own, so that the terminal's Ctrl-C is for us to pass on; and it dies with us,
//! whatever kills us: see [`Process`].

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, Command, ExitStatus, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::argv::{Ends, Wires, argv};
use super::machine::Machine;
use super::process::Process;
use super::transcript::QemuExit;

/// A running machine. Killed when dropped.
#[derive(Debug)]
pub struct Guest {
    /// The console.
    pub console: UnixStream,
    /// The control channel.
    pub channel: UnixStream,
    /// The monitor.
    pub monitor: UnixStream,
    /// What QEMU itself says.
    pub stderr: ChildStderr,
    /// The command line it was started with.
    pub command: Vec<OsString>,
    process: Process,
}

/// The boot artefacts, open: QEMU reads them through inherited descriptors, so that nothing that happens to their
/// names meanwhile matters.
#[derive(Debug)]
pub struct Artefacts {
    /// The kernel image.
    pub kernel: OwnedFd,
    /// The initrd.
    pub initrd: OwnedFd,
}

impl Guest {
    /// Starts QEMU. Call it from a thread that lives as long as the guest.
    pub fn start(machine: &Machine, artefacts: &Artefacts) -> io::Result<Self> {
        let (console, console_end) = UnixStream::pair()?;
        let (channel, channel_end) = UnixStream::pair()?;
        let (monitor, monitor_end) = UnixStream::pair()?;
        for ours in [&console, &channel, &monitor] {
            // Our ends only: the other side's flags are QEMU's own.
            ours.set_nonblocking(true)?;
        }
        let inherited = |fd: &OwnedFd| OsString::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let wires = Wires {
            kernel: inherited(&artefacts.kernel),
            initrd: inherited(&artefacts.initrd),
            ends: Ends::Sockets {
                console: console_end.as_raw_fd(),
                channel: channel_end.as_raw_fd(),
                monitor: monitor_end.as_raw_fd(),
            },
        };
        let words = argv(machine, &wires);
        let mut command = Command::new(&machine.qemu.path);
        command.args(words.iter().skip(1)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let keep = [
            artefacts.kernel.as_fd(),
            artefacts.initrd.as_fd(),
            console_end.as_fd(),
            channel_end.as_fd(),
            monitor_end.as_fd(),
        ];
        let mut process = Process::start(&mut command, &keep)?;
        let stderr = process.take_stderr().ok_or(io::ErrorKind::BrokenPipe)?;
        // Our end only; whoever has inherited the other may keep it open after QEMU's end.
        fcntl_setfl(&stderr, fcntl_getfl(&stderr)? | OFlags::NONBLOCK)?;
        Ok(Self { console, channel, monitor, stderr, command: words, process })
    }

    /// Readable once the process has ended.
    pub fn ended(&self) -> &OwnedFd {
        self.process.ended()
    }

    /// Kills QEMU, if it still lives, and waits for it.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// How the process ended, if it has; told once.
    pub fn exit(&mut self) -> io::Result<Option<QemuExit>> {
        Ok(self.process.exit()?.map(how))
    }
}

fn how(status: ExitStatus) -> QemuExit {
    match status.signal() {
        Some(signal) => QemuExit::Signal(signal),
        None => QemuExit::Status(status.code().unwrap_or(-1)),
    }
}

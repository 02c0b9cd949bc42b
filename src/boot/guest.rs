//! A QEMU process and the sockets to it. The one place that starts QEMU.
//!
//! QEMU gets a process group of its own (the terminal's Ctrl-C is for us to pass on) and dies with us,
//! whatever kills us: see [`sys::spawn_tied`].

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::argv::{Ends, Wires, argv};
use super::machine::Machine;
use super::transcript::QemuExit;
use crate::sys;

/// A running machine. Killed when dropped.
#[derive(Debug)]
pub struct Guest {
    /// Readable once the process has ended.
    pub ended: OwnedFd,
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
    child: Child,
    reaped: bool,
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
        let mut child = sys::spawn_tied(&mut command, &keep)?;
        let prepared = prepare(&mut child);
        let (ended, stderr) = match prepared {
            Ok(both) => both,
            Err(error) => {
                kill(&mut child);
                return Err(error);
            }
        };
        Ok(Self { ended, console, channel, monitor, stderr, command: words, child, reaped: false })
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills QEMU, if it still lives, and waits for it.
    pub fn kill(&mut self) {
        if !self.reaped {
            self.reaped = true;
            kill(&mut self.child);
        }
    }

    /// How the process ended, if it has.
    ///
    /// What it left running in its group ends with it: a wrapper script's QEMU, say. The group is signalled before its
    /// leader is reaped, since a number that is still taken cannot be another's.
    pub fn exit(&mut self) -> io::Result<Option<QemuExit>> {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.reaped || waitid(WaitId::PidFd(self.ended.as_fd()), ended)?.is_none() {
            return Ok(None);
        }
        drop(sys::signal_group(&self.child, libc::SIGKILL));
        self.reaped = true;
        self.child.wait().map(how).map(Some)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

fn prepare(child: &mut Child) -> io::Result<(OwnedFd, ChildStderr)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    // Our end only; whoever has inherited the other may keep it open after QEMU's end.
    fcntl_setfl(&stderr, fcntl_getfl(&stderr)? | OFlags::NONBLOCK)?;
    Ok((ended, stderr))
}

fn kill(child: &mut Child) {
    // The group first: QEMU may be a wrapper script with the real one below it.
    drop(sys::signal_group(child, libc::SIGKILL));
    drop(child.kill());
    drop(child.wait());
}

fn how(status: ExitStatus) -> QemuExit {
    match status.signal() {
        Some(signal) => QemuExit::Signal(signal),
        None => QemuExit::Status(status.code().unwrap_or(-1)),
    }
}

//! Child process that never outlives bootling: QEMU as a guest or for a version query, or a build.
//!
//! It leads its own process group and dies with bootling (see `sys::spawn_tied`). Remaining processes of the group
//! are killed when it ends, for example the QEMU of a wrapper script. The group is signaled before its leader is
//! reaped, because the process ID cannot be reused until then.

pub mod shell;
pub mod signals;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::sys;

/// Running program. Killed with its process group on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: OwnedFd,
    reaped: bool,
}

impl Process {
    /// Starts `command`, which inherits `keep`. The calling thread must live as long as the program.
    pub(crate) fn start(command: &mut Command, keep: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let mut child = sys::spawn_tied(command, keep)?;
        match watch(&child) {
            Ok(ended) => Ok(Self { child, ended, reaped: false }),
            Err(error) => {
                kill(&mut child);
                Err(error)
            }
        }
    }

    /// Process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Descriptor that becomes readable when the program has ended.
    pub(crate) fn ended(&self) -> &OwnedFd {
        &self.ended
    }

    /// Takes the pipe of its standard output, if any; once.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Takes the pipe of its standard error, if any; once.
    pub(crate) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Exit status, if it has ended; returned once.
    pub(crate) fn exit(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.reaped || waitid(WaitId::PidFd(self.ended.as_fd()), ended)?.is_none() {
            return Ok(None);
        }
        drop(sys::signal_group(&self.child, libc::SIGKILL));
        self.reaped = true;
        self.child.wait().map(Some)
    }

    /// Sends a signal to its process group, if it is still running.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        if self.reaped { Ok(()) } else { sys::signal_group(&self.child, signal) }
    }

    /// Kills it, if it is still running, and waits for it.
    pub(crate) fn kill(&mut self) {
        if !self.reaped {
            self.reaped = true;
            kill(&mut self.child);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn watch(child: &Child) -> io::Result<OwnedFd> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn kill(child: &mut Child) {
    drop(sys::signal_group(child, libc::SIGKILL));
    drop(child.kill());
    drop(child.wait());
}

//! A program that never outlives us: QEMU while it runs a guest, and while it is only asked for its version; a build.
//!
//! It leads a process group of its own and dies with us (see [`sys::spawn_tied`]). What it leaves running in its group
//! ends with it: a wrapper script's QEMU, say. The group is signalled before its leader is reaped, since a number that is
//! still taken cannot be another's.

pub mod shell;
pub mod signals;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::sys;

/// A running program. Killed, with its group, when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: OwnedFd,
    reaped: bool,
}

impl Process {
    /// Starts `command`, which inherits `keep`. Call it from a thread that lives as long as the program should.
    pub fn start(command: &mut Command, keep: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let mut child = sys::spawn_tied(command, keep)?;
        match watch(&child) {
            Ok(ended) => Ok(Self { child, ended, reaped: false }),
            Err(error) => {
                kill(&mut child);
                Err(error)
            }
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readable once the program has ended.
    pub fn ended(&self) -> &OwnedFd {
        &self.ended
    }

    /// What it writes to its standard output, where that is a pipe; once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What it writes to its standard error, where that is a pipe; once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended, if it has; told once.
    pub fn exit(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.reaped || waitid(WaitId::PidFd(self.ended.as_fd()), ended)?.is_none() {
            return Ok(None);
        }
        drop(sys::signal_group(&self.child, libc::SIGKILL));
        self.reaped = true;
        self.child.wait().map(Some)
    }

    /// Sends a signal to it and its group, if it still lives.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if self.reaped { Ok(()) } else { sys::signal_group(&self.child, signal) }
    }

    /// Kills it, if it still lives, and waits for it.
    pub fn kill(&mut self) {
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

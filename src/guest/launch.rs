//! QEMU process of a guest, with its pipes and sockets.
//!
//! QEMU runs in its own process group, so that bootling handles the terminal's Ctrl-C; and it is killed when bootling
//! dies for any reason: see [`Process`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, fcntl_setfl, memfd_create};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::devices::host::open_disks;
use super::transcript::QemuExit;
use crate::cache::Stamp;
use crate::process::Process;
use crate::qemu::argv::{Chardevs, Connections, Payload, argv};
use crate::qemu::machine::{Display, Machine};
use crate::qemu::qmp;

/// Pipe buffer size: the unprivileged maximum (`fs.pipe-max-size`).
pub(crate) const PIPE_BYTES: usize = 1 << 20;
/// Maximum flash image size. QEMU's own default limit for a PC is 8 MiB (`hw/i386/pc_sysfw.c`).
const FLASH_BYTES: u64 = 64 << 20;

/// Running machine. Killed on drop.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Console output.
    pub(crate) console: File,
    /// Console input.
    pub(crate) keys: File,
    /// Control channel.
    pub(crate) channel: UnixStream,
    /// Connection of the file server, if the machine has a port for it.
    pub(crate) files: Option<UnixStream>,
    /// QMP monitor.
    pub(crate) qmp: qmp::Client,
    /// IDs of the QMP commands that restore or resume the guest.
    pub(crate) start_commands: Vec<u64>,
    /// QEMU's standard error.
    pub(crate) stderr: ChildStderr,
    /// File for screen content, if the machine has a display.
    pub(crate) scratch: Option<Scratch>,
    /// Command line that QEMU was started with.
    pub(crate) command: Vec<OsString>,
    /// Remaining device state that QEMU has to restore.
    pub(crate) state: Option<Feed>,
    /// Start time; taken by the first session, which measures its times from it.
    pub(crate) started: Option<Instant>,
    process: Process,
}

/// File to boot, in the form in which QEMU opens it.
#[derive(Debug)]
pub(crate) enum Artifact {
    /// Inherited descriptor: independent of later changes to the file name.
    Open(OwnedFd),
    /// File name, because the file refers to other files relative to its own path.
    Named(PathBuf),
}

impl Artifact {
    fn name(&self) -> OsString {
        match self {
            Self::Open(fd) => fd_path(fd),
            Self::Named(path) => path.clone().into_os_string(),
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Open(fd) => Some(fd.as_fd()),
            Self::Named(_) => None,
        }
    }
}

/// Unnamed file that QEMU inherits.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The file.
    pub(crate) file: File,
    /// Path under which QEMU opens it.
    pub(crate) name: String,
}

impl Scratch {
    fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("screen", MemfdFlags::CLOEXEC)?);
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(Self { file, name })
    }
}

/// Data to be written to a pipe that QEMU reads.
#[derive(Debug)]
pub(crate) struct Feed {
    pipe: File,
    bytes: Vec<u8>,
    at: usize,
}

impl Feed {
    /// Creates a pipe for `bytes`: returns the writer and QEMU's end. As much as fits is already in the pipe.
    pub(crate) fn new(bytes: Vec<u8>) -> io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        // The pipe is as large as permitted for the data; the rest is written as QEMU reads.
        let _ = fcntl_setpipe_size(&ours, bytes.len().min(PIPE_BYTES));
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        let mut feed = Self { pipe: ours.into(), bytes, at: 0 };
        feed.push();
        Ok((feed, theirs))
    }

    /// Writes as much as fits. Returns true if nothing remains to be done.
    pub(crate) fn push(&mut self) -> bool {
        while let Some(rest) = self.bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            match self.pipe.write(rest) {
                Ok(len) => self.at += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Guest {
    /// Starts QEMU. The calling thread must live as long as the guest.
    pub(crate) fn start(machine: &Machine, payload: &Payload<Artifact>) -> io::Result<Self> {
        // Pipes instead of a socket: a UART writes single bytes, and each takes a separate buffer in a socket. The
        // default socket buffer holds 277 of them, after which the UART is busy; writers that wait only for a limited
        // time (the kernel's printk, boot sectors) would then lose output on a busy host.
        let (console, console_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let (keys_end, keys) = pipe_with(PipeFlags::CLOEXEC)?;
        // The default pipe size is sufficient if the user's pipe quota is exhausted.
        let _ = fcntl_setpipe_size(&console, PIPE_BYTES);
        let (channel, channel_end) = UnixStream::pair()?;
        let (monitor, monitor_end) = UnixStream::pair()?;
        let files = machine.devices.files.then(UnixStream::pair).transpose()?;
        if let Some((ours, _)) = &files {
            ours.set_nonblocking(true)?;
        }
        for ours in [console.as_fd(), keys.as_fd(), channel.as_fd(), monitor.as_fd()] {
            // Only bootling's ends: the flags of the other ends are QEMU's.
            fcntl_setfl(ours, fcntl_getfl(ours)? | OFlags::NONBLOCK)?;
        }
        let flash = machine.firmware.writable().map(|image| copy_in_memory(&image.path)).transpose()?;
        let disks = open_disks(&machine.devices)?;
        let connections = Connections {
            payload: payload.map(Artifact::name),
            flash: flash.as_ref().map(fd_path),
            disks: disks.iter().map(fd_path).collect(),
            chardevs: Chardevs::Inherited {
                channel: channel_end.as_raw_fd(),
                files: files.as_ref().map(|(_, end)| end.as_raw_fd()),
                monitor: monitor_end.as_raw_fd(),
            },
        };
        let words = argv(machine, &connections);
        let mut command = Command::new(&machine.qemu.path);
        command.args(words.iter().skip(1)).stdin(keys_end).stdout(console_end).stderr(Stdio::piped());
        let mut keep = vec![channel_end.as_fd(), monitor_end.as_fd()];
        keep.extend(files.as_ref().map(|(_, end)| end.as_fd()));
        keep.extend(payload.parts().filter_map(Artifact::fd));
        keep.extend(flash.as_ref().map(OwnedFd::as_fd));
        keep.extend(disks.iter().map(OwnedFd::as_fd));
        let scratch = match machine.display {
            Display::None => None,
            Display::Vga | Display::Mirrored => Some(Scratch::new()?),
        };
        keep.extend(scratch.as_ref().map(|scratch| scratch.file.as_fd()));
        let started = Instant::now();
        // The program may have vanished since it was looked up.
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", machine.qemu.path.display()));
        let mut process = Process::start(&mut command, &keep).map_err(named)?;
        // `command` also has QEMU's ends of the pipes open, which would prevent end of file on the console.
        drop(command);
        let stderr = process.take_stderr().ok_or(io::ErrorKind::BrokenPipe)?;
        // Only bootling's end. A process that inherited the other end may keep it open after QEMU has exited.
        fcntl_setfl(&stderr, fcntl_getfl(&stderr)? | OFlags::NONBLOCK)?;
        Ok(Self {
            console: console.into(),
            keys: keys.into(),
            channel,
            files: files.map(|(ours, _)| ours),
            qmp: qmp::Client::new(monitor),
            start_commands: Vec::new(),
            stderr,
            scratch,
            command: words,
            state: None,
            started: Some(started),
            process,
        })
    }

    /// Process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Executable that actually runs, with its stamp; `None` if it cannot be determined.
    pub(crate) fn program(&self) -> Option<String> {
        let path = format!("/proc/{}/exe", self.pid());
        let stamp = Stamp::of(&std::fs::metadata(&path).ok()?);
        Some(format!("{} {stamp}", std::fs::read_link(&path).ok()?.display()))
    }

    /// Returns true if the executable is evidently not QEMU, but a wrapper that waits for it.
    pub(crate) fn is_wrapped(&self) -> bool {
        let program = std::fs::read_link(format!("/proc/{}/exe", self.pid()));
        program.is_ok_and(|path| !path.to_string_lossy().contains("qemu"))
    }

    /// Descriptor that becomes readable when the process has ended.
    pub(crate) fn ended(&self) -> &OwnedFd {
        self.process.ended()
    }

    /// Kills QEMU, if it is still running, and waits for it.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Exit status of the process, if it has ended; returned once.
    pub(crate) fn exit(&mut self) -> io::Result<Option<QemuExit>> {
        Ok(self.process.exit()?.map(exit_of))
    }
}

/// Path under which QEMU opens an inherited descriptor.
fn fd_path(fd: &OwnedFd) -> OsString {
    OsString::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Copies a file into anonymous memory.
fn copy_in_memory(path: &Path) -> io::Result<OwnedFd> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("failed to copy {}: {error}", path.display()));
    let mut from = File::open(path).map_err(failed)?.take(FLASH_BYTES + 1);
    let mut copy = File::from(memfd_create("flash", MemfdFlags::CLOEXEC)?);
    if io::copy(&mut from, &mut copy).map_err(failed)? > FLASH_BYTES {
        return Err(failed(io::Error::other(format!("larger than {} MiB, the maximum for flash", FLASH_BYTES >> 20))));
    }
    Ok(copy.into())
}

fn exit_of(status: ExitStatus) -> QemuExit {
    match status.signal() {
        Some(signal) => QemuExit::Signal(signal),
        None => QemuExit::Status(status.code().unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::{FLASH_BYTES, copy_in_memory};

    #[test]
    fn flash_is_copied_completely_or_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(FLASH_BYTES + 1).expect("sparse");
        let error = copy_in_memory(file.path()).expect_err("too large").to_string();
        assert!(error.contains("larger than 64 MiB"), "{error}");
        file.as_file().set_len(4096).expect("shortened");
        let copy = std::fs::File::from(copy_in_memory(file.path()).expect("copied"));
        assert_eq!(copy.metadata().expect("a file").len(), 4096);
    }
}

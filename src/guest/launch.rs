//! A QEMU that runs a guest, and the pipes and sockets to it.
//!
//! QEMU has a process group of its own, so that the terminal's Ctrl-C is for us to pass on; and it dies with us,
//! whatever kills us: see [`Process`].

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

use super::transcript::QemuExit;
use crate::cache::Stamp;
use crate::process::Process;
use crate::qemu::argv::{Ends, Payload, Wires, argv};
use crate::qemu::machine::{Display, Machine};

/// Room for what the console says while we do not get to read: what anybody may ask for (`fs.pipe-max-size`).
const CONSOLE_ROOM: usize = 1 << 20;
/// Largest flash image: QEMU gives a PC 8 MiB of it at most, unless it is told otherwise (`hw/i386/pc_sysfw.c`).
const FLASH_BYTES: u64 = 64 << 20;

/// A running machine. Killed when dropped.
#[derive(Debug)]
pub struct Guest {
    /// What the console says.
    pub console: File,
    /// What is typed on it.
    pub keys: File,
    /// The control channel.
    pub channel: UnixStream,
    /// The monitor.
    pub monitor: UnixStream,
    /// What QEMU itself says.
    pub stderr: ChildStderr,
    /// A file that QEMU writes what it shows to, where there is something to see.
    pub scratch: Option<Scratch>,
    /// The command line it was started with.
    pub command: Vec<OsString>,
    /// Whether its monitor has said that it is there.
    pub has_greeted: bool,
    /// What is left of the state that QEMU is to restore.
    pub state: Option<Feed>,
    /// When it was started; taken by the first conversation with it, whose times count from there.
    pub started: Option<Instant>,
    process: Process,
}

/// Something to boot, as QEMU gets at it.
#[derive(Debug)]
pub enum Artefact {
    /// Through an inherited descriptor: what happens to its name meanwhile does not matter.
    Open(OwnedFd),
    /// By its name, because it names other files relative to its own.
    Named(PathBuf),
}

impl Artefact {
    fn name(&self) -> OsString {
        match self {
            Self::Open(fd) => inherited(fd),
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

/// A file without a name that QEMU has inherited.
#[derive(Debug)]
pub struct Scratch {
    /// The file.
    pub file: File,
    /// How QEMU opens it.
    pub name: String,
}

impl Scratch {
    fn new() -> io::Result<Self> {
        let file = File::from(memfd_create("screen", MemfdFlags::CLOEXEC)?);
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(Self { file, name })
    }
}

/// Bytes on their way into a pipe that QEMU reads.
#[derive(Debug)]
pub struct Feed {
    pipe: File,
    bytes: Vec<u8>,
    at: usize,
}

impl Feed {
    /// A pipe that will carry `bytes`: the feed, and QEMU's end. Most of it is in the pipe by then.
    pub fn new(bytes: Vec<u8>) -> io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
        // As much as anybody may ask for; what does not fit is handed over as QEMU reads.
        let _ = fcntl_setpipe_size(&ours, bytes.len().min(CONSOLE_ROOM));
        fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
        let mut feed = Self { pipe: ours.into(), bytes, at: 0 };
        feed.push();
        Ok((feed, theirs))
    }

    /// Hands over what fits; true when there is nothing more to do.
    pub fn push(&mut self) -> bool {
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
    /// Starts QEMU. Call it from a thread that lives as long as the guest.
    pub fn start(machine: &Machine, payload: &Payload<Artefact>) -> io::Result<Self> {
        // Pipes, not a socket: a UART writes byte by byte, and on a socket each takes a buffer of its own. The usual room
        // is for 277 of them, after which the UART is busy; what waits for one only so long (kernels' printk, boot
        // sectors) would lose its words on a busy host.
        let (console, console_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let (keys_end, keys) = pipe_with(PipeFlags::CLOEXEC)?;
        // The room it has by itself does, too, where somebody has used up what users may have in all.
        let _ = fcntl_setpipe_size(&console, CONSOLE_ROOM);
        let (channel, channel_end) = UnixStream::pair()?;
        let (monitor, monitor_end) = UnixStream::pair()?;
        for ours in [console.as_fd(), keys.as_fd(), channel.as_fd(), monitor.as_fd()] {
            // Our ends only: the other side's flags are QEMU's own.
            fcntl_setfl(ours, fcntl_getfl(ours)? | OFlags::NONBLOCK)?;
        }
        let flash = machine.firmware.writable().map(|image| copy_in_memory(&image.path)).transpose()?;
        let wires = Wires {
            payload: payload.map(Artefact::name),
            flash: flash.as_ref().map(inherited),
            ends: Ends::Wired { channel: channel_end.as_raw_fd(), monitor: monitor_end.as_raw_fd() },
        };
        let words = argv(machine, &wires);
        let mut command = Command::new(&machine.qemu.path);
        command.args(words.iter().skip(1)).stdin(keys_end).stdout(console_end).stderr(Stdio::piped());
        let mut keep = vec![channel_end.as_fd(), monitor_end.as_fd()];
        keep.extend(payload.parts().filter_map(Artefact::fd));
        keep.extend(flash.as_ref().map(OwnedFd::as_fd));
        let scratch = match machine.display {
            Display::None => None,
            Display::Vga | Display::Mirrored => Some(Scratch::new()?),
        };
        keep.extend(scratch.as_ref().map(|scratch| scratch.file.as_fd()));
        let started = Instant::now();
        let mut process = Process::start(&mut command, &keep)?;
        // It holds QEMU's ends of the pipes, too: while they are open there is no end of the console.
        drop(command);
        let stderr = process.take_stderr().ok_or(io::ErrorKind::BrokenPipe)?;
        // Our end only; whoever has inherited the other may keep it open after QEMU's end.
        fcntl_setfl(&stderr, fcntl_getfl(&stderr)? | OFlags::NONBLOCK)?;
        Ok(Self {
            console: console.into(),
            keys: keys.into(),
            channel,
            monitor,
            stderr,
            scratch,
            command: words,
            has_greeted: false,
            state: None,
            started: Some(started),
            process,
        })
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The program that really runs, and its stamp; `None` where that cannot be told.
    pub fn program(&self) -> Option<String> {
        let path = format!("/proc/{}/exe", self.pid());
        let stamp = Stamp::of(&std::fs::metadata(&path).ok()?);
        Some(format!("{} {stamp}", std::fs::read_link(&path).ok()?.display()))
    }

    /// Whether that is plainly something else than QEMU: a wrapper that waits for it.
    pub fn is_wrapped(&self) -> bool {
        let program = std::fs::read_link(format!("/proc/{}/exe", self.pid()));
        program.is_ok_and(|path| !path.to_string_lossy().contains("qemu"))
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

/// How QEMU opens what it inherits.
fn inherited(fd: &OwnedFd) -> OsString {
    OsString::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A copy of a file that nobody else ever sees.
fn copy_in_memory(path: &Path) -> io::Result<OwnedFd> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("copying {}: {error}", path.display()));
    let mut from = File::open(path).map_err(failed)?.take(FLASH_BYTES + 1);
    let mut copy = File::from(memfd_create("flash", MemfdFlags::CLOEXEC)?);
    if io::copy(&mut from, &mut copy).map_err(failed)? > FLASH_BYTES {
        return Err(failed(io::Error::other(format!(
            "it has more than {} MiB, the most for flash",
            FLASH_BYTES >> 20
        ))));
    }
    Ok(copy.into())
}

fn how(status: ExitStatus) -> QemuExit {
    match status.signal() {
        Some(signal) => QemuExit::Signal(signal),
        None => QemuExit::Status(status.code().unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::{FLASH_BYTES, copy_in_memory};

    #[test]
    fn flash_is_copied_whole_or_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(FLASH_BYTES + 1).expect("sparse");
        let error = copy_in_memory(file.path()).expect_err("too large").to_string();
        assert!(error.contains("more than 64 MiB"), "{error}");
        file.as_file().set_len(4096).expect("shortened");
        let copy = std::fs::File::from(copy_in_memory(file.path()).expect("copied"));
        assert_eq!(copy.metadata().expect("a file").len(), 4096);
    }
}

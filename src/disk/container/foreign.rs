//! Reads formats that bootling does not parse itself through qemu-storage-daemon, QEMU's image code without a machine:
//! VMDK, VHDX, VDI, dynamic VHD, QED, and qcow2 with zstd compression or subclusters.
//!
//! The child gets the open file, opens it read-only and with a stated format, and exports it to this process alone. It
//! ends with this process. Images that refer to other files are refused before it starts (`references`), unless the user
//! allows them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::content::Content;
use crate::format::nbd::Export;
use crate::process::Process;

/// Program that reads the images. Part of QEMU since 5.1.
pub const PROGRAM: &str = "qemu-storage-daemon";
/// Time limit of one reply. A sparse image on a slow disk needs less than a second per MiB.
const REPLY_LIMIT: Duration = Duration::from_secs(60);
/// Maximum length of the program's error message.
const COMPLAINT: u64 = 4096;
/// Name of the export.
const EXPORT: &str = "disk";

/// Error from reading an image through the program.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The program is not installed.
    #[error("{PROGRAM}, which reads it, not found on PATH")]
    NoProgram,
    /// The program or its export cannot be used.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The program refused the image.
    #[error("{PROGRAM} refused it: {0}")]
    Refused(String),
}

/// An image that the program has open.
#[derive(Debug)]
pub(crate) struct Foreign {
    export: Mutex<Export<UnixStream>>,
    size: u64,
    /// Killed on drop.
    _program: Process,
}

/// Returns the program's name for a format (`--blockdev driver=`); `None` if it cannot read it.
pub(crate) fn driver(content: Content) -> Option<&'static str> {
    match content {
        Content::Qcow2 => Some("qcow2"),
        Content::Foreign("VMDK") => Some("vmdk"),
        Content::Foreign("VHDX") => Some("vhdx"),
        Content::Foreign("VDI") => Some("vdi"),
        Content::Foreign("dynamic VHD") => Some("vpc"),
        Content::Foreign("QED") => Some("qed"),
        Content::Foreign("qcow version 1") => Some("qcow"),
        Content::Raw | Content::Vhd | Content::Compressed(_) | Content::Foreign(_) => None,
    }
}

impl Foreign {
    /// Opens `file`, whose format has this name. `named`: its path, if it refers to other files, which may be opened.
    pub(crate) fn open(file: &File, named: Option<&Path>, driver: &str) -> Result<Self, ForeignError> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        // The connection waits in the queue until the program accepts it.
        let stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(REPLY_LIMIT))?;
        stream.set_write_timeout(Some(REPLY_LIMIT))?;
        let socket = listener.as_raw_fd();
        let image = match named {
            // The other files are found relative to this one. A comma ends an option.
            Some(path) => std::path::absolute(path)?.to_string_lossy().replace(',', ",,"),
            None => format!("/proc/self/fd/{}", file.as_raw_fd()),
        };
        let mut command = Command::new(PROGRAM);
        command
            .arg("--blockdev")
            .arg(format!("driver=file,node-name=file,filename={image},read-only=on,auto-read-only=off"))
            .arg("--blockdev")
            .arg(format!("driver={driver},node-name={EXPORT},file=file,read-only=on"))
            .arg("--nbd-server")
            .arg(format!("addr.type=fd,addr.str={socket}"))
            .arg("--export")
            .arg(format!("type=nbd,id=export,node-name={EXPORT},name={EXPORT},writable=off"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Process::start(&mut command, &[file.as_fd(), listener.as_fd()]);
        let mut program = started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ForeignError::NoProgram,
            _ => error.into(),
        })?;
        // Without this end, the connection fails when the program ends.
        drop(listener);
        match Export::open(stream, EXPORT) {
            Ok(export) => Ok(Self { size: export.size(), export: Mutex::new(export), _program: program }),
            Err(error) => Err(complaint(&mut program, error)),
        }
    }

    /// Returns the size of the disk in bytes.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Reads bytes at `offset` of the disk.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut export = self.export.lock().map_err(|_| io::Error::other("a reader of the image panicked"))?;
        export.read_at(buffer, offset)
    }
}

/// Returns the program's last message, or `error` if it printed none.
fn complaint(program: &mut Process, error: io::Error) -> ForeignError {
    let stderr = program.take_stderr();
    program.kill();
    let mut output = Vec::new();
    if let Some(stderr) = stderr {
        drop(stderr.take(COMPLAINT).read_to_end(&mut output));
    }
    let output = String::from_utf8_lossy(&output);
    match output.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => ForeignError::Refused(line.trim().trim_start_matches("qemu-storage-daemon: ").to_owned()),
        None => error.into(),
    }
}

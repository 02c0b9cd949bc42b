//! Frames of the control channel.
//!
//! A frame is a tag (one byte), a length (`u16`, little endian, at most [`MAX_PAYLOAD`]) and a payload of that length.
//! Integers are little endian. Input is untrusted: the decoder is bounded and does not allocate.
//!
//! The guest sends [`ToHost::Hello`], the host answers with [`ToGuest::Go`]; no other frame precedes these. A guest
//! whose job has a window sends [`ToHost::Ready`] instead of waiting for `Go`, and restarts at `Hello` after each
//! [`ToGuest::Renew`]. Standard input has flow control: the host sends only as many bytes as the guest has granted, so
//! that a serial port never overruns and pid 1's buffer is bounded.

pub mod fields;
pub mod to_guest;
pub mod to_host;

/// Maximum payload length.
pub const MAX_PAYLOAD: usize = 32 * 1024;
/// Header length.
pub const HEADER: usize = 3;
/// Header length of the frames that carry a message of a helper: the frame's header and the helper's number.
pub const HELPER_HEADER: usize = HEADER + 4;
/// Maximum length of a message of a helper. A frame with it fits into one write to a virtio-serial port.
pub const MAX_MESSAGE: usize = MAX_PAYLOAD - HELPER_HEADER;
/// Length of a seed: the key size of the kernel's random generator (`drivers/char/random.c`, `BLAKE2S_HASH_SIZE`).
pub const SEED: usize = 32;
/// First bytes of [`ToHost::Hello`].
pub const HELLO_MAGIC: &[u8; 8] = b"bootling";

/// Line on the console before the reason, if pid 1 ends without a channel to the host.
pub const GIVING_UP: &[u8] = b"bootling: giving up\n";

/// End of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Exited with this status.
    Exited(u8),
    /// Killed by this signal; true if a core was dumped.
    Signaled(u8, bool),
    /// A process requested a power-off before the command ended.
    PowerOff,
    /// A process requested a restart before the command ended.
    Restart,
    /// A process requested a halt before the command ended.
    Halt,
}

/// Resource usage of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Run time by the guest's clock, in nanoseconds.
    pub wall_ns: u64,
    /// CPU time in user mode, in microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, in microseconds.
    pub system_us: u64,
    /// Maximum resident set size, in KiB.
    pub max_rss_kib: u64,
}

/// Step that failed before the command could run. After [`Failure::Exec`], [`ToHost::Exit`] follows; after
/// [`Failure::SoftModule`], pid 1 continues; any other failure ends the command's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Reading or parsing the job.
    Job,
    /// Loading a module.
    Module,
    /// Executing the command.
    Exec,
    /// Creating a terminal.
    Tty,
    /// Waiting for block devices.
    BlockDevices,
    /// Mapping the window or unpacking its payload.
    Window,
    /// Loading a module that is not required.
    SoftModule,
    /// Loading a module: the kernel killed the loading process. The error number is the signal.
    Crash,
    /// Creating a resource that every command needs: a pipe, a process.
    Setup,
    /// Reseeding the random generator.
    Seed,
}

/// Missing kernel log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// No relevant record is missing.
    Nothing = 0,
    /// Records were overwritten before pid 1 read them.
    Overwritten = 1,
    /// There were more records than pid 1 sends for one command.
    TooMany = 2,
    /// The log is not readable in this guest.
    Unreadable = 3,
}

/// Message from guest to host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToHost<'a> {
    /// pid 1 is ready.
    Hello {
        /// Must be [`super::VERSION`].
        version: u32,
        /// Time since the kernel started, in nanoseconds.
        uptime_ns: u64,
        /// `/proc/sys/kernel/tainted`.
        taint: u64,
        /// Initial credit for standard input, in bytes.
        window: u32,
        /// `uname -r`.
        release: &'a [u8],
    },
    /// `/proc/cmdline`, after the greeting of a boot.
    CommandLine(&'a [u8]),
    /// A module is being loaded: its path. Empty: no module is being loaded any more.
    Loading(&'a [u8]),
    /// The command runs. Time since the kernel started, in nanoseconds.
    Started(u64),
    /// Standard output of the command, or its terminal output.
    Stdout(&'a [u8]),
    /// Standard error of the command.
    Stderr(&'a [u8]),
    /// Additional credit for standard input, in bytes.
    Window(u32),
    /// A note to the user.
    Note(&'a [u8]),
    /// A step failed; see [`Failure`] for what follows.
    Failed {
        /// Failed step.
        what: Failure,
        /// Error number of the kernel, or 0.
        errno: u32,
        /// Affected object: a path.
        subject: &'a [u8],
    },
    /// Everything that does not depend on the command is done: pid 1 waits for [`ToGuest::Renew`].
    Ready,
    /// Kernel log records that are relevant to its health, in the format of `/dev/kmsg`, one line each, including the
    /// line end. Sent before [`ToHost::Ready`] and [`ToHost::Exit`]; complete unless `lost` reports a loss.
    Log {
        /// Kind of loss.
        lost: Lost,
        /// Complete records.
        records: &'a [u8],
    },
    /// A process that the command left behind. Sent before [`ToHost::Exit`].
    Left {
        /// Process ID.
        pid: u32,
        /// True if the process survived SIGKILL.
        lives: bool,
        /// Process name. If the process survived, followed by lines with its kernel stack.
        name: &'a [u8],
    },
    /// A message of a helper process, such as the guest's `modprobe` (see [`super::modules`]). Empty: the helper has
    /// ended. Sent while the command runs.
    Helper {
        /// Number of the helper; not used again in this guest.
        id: u32,
        /// Message, at most [`MAX_MESSAGE`] bytes.
        message: &'a [u8],
    },
    /// Part of the stream of collected files (see [`super::collect`]). Sent after the command's end, before [`ToHost::Exit`].
    Collected(&'a [u8]),
    /// End of the command: the last frame, unless pid 1 waits for another command.
    Exit {
        /// End of the command.
        ended: Ended,
        /// Resource usage.
        usage: Usage,
        /// `/proc/sys/kernel/tainted` after the command.
        taint: u64,
    },
}

/// Output stream of the command, or of the process that collects its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// [`ToHost::Stdout`].
    Output,
    /// [`ToHost::Stderr`].
    Errors,
    /// [`ToHost::Collected`].
    Collected,
}

impl Stream {
    /// Returns the frame header for `len` bytes of output, for a sender that has the payload in place.
    pub const fn header(self, len: u16) -> [u8; HEADER] {
        let [low, high] = len.to_le_bytes();
        match self {
            Self::Output => [STDOUT, low, high],
            Self::Errors => [STDERR, low, high],
            Self::Collected => [COLLECTED, low, high],
        }
    }
}

/// Returns the header of a [`ToHost::Helper`] frame for a message of `len` bytes, for a sender that has it in place.
pub const fn helper_header(id: u32, len: u16) -> [u8; HELPER_HEADER] {
    let [low, high] = (len + 4).to_le_bytes();
    let [a, b, c, d] = id.to_le_bytes();
    [FROM_HELPER, low, high, a, b, c, d]
}

/// Message from host to guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToGuest<'a> {
    /// Start. Rows and columns are 0 if there is no terminal.
    Go {
        /// Terminal rows.
        rows: u16,
        /// Terminal columns.
        columns: u16,
        /// Host time: nanoseconds since 1970.
        realtime_ns: u64,
    },
    /// Bytes for standard input.
    Stdin(&'a [u8]),
    /// End of standard input.
    StdinEof,
    /// Change the size of the terminal.
    Resize {
        /// Terminal rows.
        rows: u16,
        /// Terminal columns.
        columns: u16,
    },
    /// Send this signal to the process group of the command.
    Signal(u8),
    /// For a guest in state [`ToHost::Ready`], restored or not: kill the processes of the last command, mix the seed into
    /// the kernel's random pool, unpack the payload in the window, and send [`ToHost::Hello`] again.
    Renew {
        /// Length of the payload in the window, in bytes.
        len: u64,
        /// Random bytes, unique to this guest.
        seed: [u8; SEED],
    },
    /// A message to a helper process. Ignored if the helper has ended.
    Helper {
        /// Number of the helper.
        id: u32,
        /// Message, at most [`MAX_MESSAGE`] bytes.
        message: &'a [u8],
    },
    /// End the command, which has reached a time limit, and collect its files: [`ToHost::Exit`] follows.
    Collect,
    /// The host has received [`ToHost::Exit`]: power off. The guest waits for this frame or a hangup, since powering
    /// off discards undelivered data of its ports.
    Done,
}

/// An invalid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Unknown tag.
    Tag(u8),
    /// Payload longer than [`MAX_PAYLOAD`]: tag and length.
    TooLong(u8, u16),
    /// The payload is invalid for its tag.
    Malformed(u8),
}

const HELLO: u8 = 0x01;
const STARTED: u8 = 0x02;
const STDOUT: u8 = 0x03;
const STDERR: u8 = 0x04;
const WINDOW: u8 = 0x05;
const NOTE: u8 = 0x06;
const FAILED: u8 = 0x07;
const EXIT: u8 = 0x08;
const READY: u8 = 0x09;
const LOG: u8 = 0x0a;
const LEFT: u8 = 0x0b;
const COMMAND_LINE: u8 = 0x0c;
const LOADING: u8 = 0x0d;
const FROM_HELPER: u8 = 0x0e;
const COLLECTED: u8 = 0x0f;
const GO: u8 = 0x41;
const STDIN: u8 = 0x42;
const STDIN_EOF: u8 = 0x43;
const RESIZE: u8 = 0x44;
const SIGNAL: u8 = 0x45;
const DONE: u8 = 0x46;
const RENEW: u8 = 0x47;
const TO_HELPER: u8 = 0x48;
const COLLECT: u8 = 0x49;

/// A frame's tag, payload and total length.
pub type Frame<'a> = (u8, &'a [u8], usize);

/// Splits a frame into its parts; returns `None` if it is incomplete.
pub fn split(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let &[tag, low, high, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if !matches!(tag, HELLO..=COLLECTED | GO..=COLLECT) {
        return Err(FrameError::Tag(tag));
    }
    let len = u16::from_le_bytes([low, high]);
    if usize::from(len) > MAX_PAYLOAD {
        return Err(FrameError::TooLong(tag, len));
    }
    let len = usize::from(len);
    Ok(rest.get(..len).map(|payload| (tag, payload, HEADER + len)))
}

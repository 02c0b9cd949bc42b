//! Frames of the control channel.
//!
//! A frame is a tag (one byte), a length (`u16`, little endian, at most [`MAX_PAYLOAD`]) and that many bytes.
//! Integers inside are little endian. What arrives is untrusted: the decoder bounds everything and allocates nothing.
//!
//! The guest speaks first ([`ToHost::Hello`]), the host answers with [`ToGuest::Go`]; nothing else is sent before. A guest
//! whose job has a window says [`ToHost::Ready`] instead of waiting for that, and each [`ToGuest::Renew`] makes it begin
//! again with a greeting.
//! Standard input flows under credit: the host sends no more than the guest has granted, so that a serial port
//! never overruns and pid 1 never has to hold what its command does not read.

pub mod fields;
pub mod to_guest;
pub mod to_host;

/// Largest payload of a frame.
pub const MAX_PAYLOAD: usize = 32 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 3;
/// Bytes of a seed: what the kernel's generator takes (`drivers/char/random.c`, `BLAKE2S_HASH_SIZE`).
pub const SEED: usize = 32;
/// First bytes of [`ToHost::Hello`].
pub const HELLO_MAGIC: &[u8; 8] = b"bootling";

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(u8),
    /// This signal killed it; whether it dumped core.
    Signaled(u8, bool),
    /// Somebody asked pid 1 to power off before the command ended.
    PowerOff,
    /// Somebody asked pid 1 to restart before the command ended.
    Restart,
    /// Somebody asked pid 1 to halt before the command ended.
    Halt,
}

/// What pid 1 measured of its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// From start to end, in nanoseconds of the guest's clock.
    pub wall_ns: u64,
    /// Processor time in user mode, microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, microseconds.
    pub system_us: u64,
    /// Largest resident set, KiB.
    pub max_rss_kib: u64,
}

/// What could not be done for the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The job could not be read or understood.
    Job,
    /// A module could not be loaded.
    Module,
    /// The command could not be executed.
    Exec,
    /// A terminal could not be made.
    Tty,
    /// The block devices that were waited for did not come.
    BlockDevices,
    /// The window is not there, or what is in it could not be unpacked.
    Window,
}

/// Whether records of the kernel's log are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// None that matters.
    Nothing = 0,
    /// The kernel had overwritten some before they could be read.
    Overwritten = 1,
    /// There were more than pid 1 sends for one command.
    TooMany = 2,
    /// The log cannot be read in this guest.
    Unreadable = 3,
}

/// From guest to host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToHost<'a> {
    /// pid 1 is ready.
    Hello {
        /// Must be [`super::VERSION`].
        version: u32,
        /// Time since the kernel started, nanoseconds.
        uptime_ns: u64,
        /// `/proc/sys/kernel/tainted`.
        taint: u64,
        /// Bytes of standard input that may be sent at first.
        window: u32,
        /// `uname -r`.
        release: &'a [u8],
    },
    /// The command runs; time since the kernel started, nanoseconds.
    Started(u64),
    /// Bytes of its standard output, or of its terminal.
    Stdout(&'a [u8]),
    /// Bytes of its standard error.
    Stderr(&'a [u8]),
    /// This many more bytes of standard input may be sent.
    Window(u32),
    /// Something worth a line to the user.
    Note(&'a [u8]),
    /// Something could not be done. [`ToHost::Exit`] does not follow, except after [`Failure::Exec`].
    Failed {
        /// What.
        what: Failure,
        /// The kernel's error number; 0 where there is none.
        errno: u32,
        /// Whose fault: a path, a module's name.
        subject: &'a [u8],
    },
    /// Everything is done that can be done without a command: pid 1 waits for [`ToGuest::Renew`].
    Ready,
    /// Records of the kernel's log that bear on its health, as `/dev/kmsg` gives them, a line each, with a line's end behind the
    /// last. They come before [`ToHost::Ready`] and [`ToHost::Exit`]; without a word of loss these are all there are.
    Log {
        /// What is missing.
        lost: Lost,
        /// Whole records.
        records: &'a [u8],
    },
    /// A process that the command left behind. Comes before [`ToHost::Exit`].
    Left {
        /// Its number.
        pid: u32,
        /// Whether it is still there although it was killed.
        lives: bool,
        /// Its name; of one that lives, where it is in the kernel stands in the lines behind it.
        name: &'a [u8],
    },
    /// The verdict: the last frame, unless pid 1 is to wait for another command.
    Exit {
        /// How it ended.
        ended: Ended,
        /// What it took.
        usage: Usage,
        /// `/proc/sys/kernel/tainted` after it.
        taint: u64,
    },
}

/// Which output of the command a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// [`ToHost::Stdout`].
    Output,
    /// [`ToHost::Stderr`].
    Errors,
}

impl Stream {
    /// The bytes that stand before `len` bytes of it: for a sender that has its payload in place already.
    pub const fn header(self, len: u16) -> [u8; HEADER] {
        let [low, high] = len.to_le_bytes();
        match self {
            Self::Output => [STDOUT, low, high],
            Self::Errors => [STDERR, low, high],
        }
    }
}

/// From host to guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToGuest<'a> {
    /// Begin. Rows and columns are 0 where there is no terminal.
    Go {
        /// Terminal rows.
        rows: u16,
        /// Terminal columns.
        columns: u16,
        /// The host's clock: nanoseconds since 1970.
        realtime_ns: u64,
    },
    /// Bytes for standard input.
    Stdin(&'a [u8]),
    /// Standard input has ended.
    StdinEof,
    /// The terminal's size changed.
    Resize {
        /// Terminal rows.
        rows: u16,
        /// Terminal columns.
        columns: u16,
    },
    /// Send this signal to the command's process group.
    Signal(u8),
    /// For a guest that is [`ToHost::Ready`], restored or not: mix the seed into the kernel's random numbers, unpack what is
    /// in the window, and greet again. Processes of the last command are killed.
    Renew {
        /// Bytes in the window.
        len: u64,
        /// Random bytes that no other guest gets.
        seed: [u8; SEED],
    },
    /// The verdict has arrived: switch off. Until this comes, or the host hangs up, or ends the machine, the guest
    /// stays, since a machine that is switched off takes along what its ports have not delivered.
    Done,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Unknown tag.
    Tag(u8),
    /// Longer than [`MAX_PAYLOAD`].
    TooLong(u8, u16),
    /// The payload does not have the shape its tag asks for.
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
const GO: u8 = 0x41;
const STDIN: u8 = 0x42;
const STDIN_EOF: u8 = 0x43;
const RESIZE: u8 = 0x44;
const SIGNAL: u8 = 0x45;
const DONE: u8 = 0x46;
const RENEW: u8 = 0x47;

/// A frame's tag, its payload, and the number of bytes both took.
pub type Frame<'a> = (u8, &'a [u8], usize);

/// A frame split into its parts; `None` until enough bytes are there.
pub fn split(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let &[tag, low, high, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if !matches!(tag, HELLO..=LEFT | GO..=RENEW) {
        return Err(FrameError::Tag(tag));
    }
    let len = u16::from_le_bytes([low, high]);
    if usize::from(len) > MAX_PAYLOAD {
        return Err(FrameError::TooLong(tag, len));
    }
    let len = usize::from(len);
    Ok(rest.get(..len).map(|payload| (tag, payload, HEADER + len)))
}

//! Frames of the control channel.
//!
//! A frame is a tag (one byte), a length (`u16`, little endian, at most [`MAX_PAYLOAD`]) and that many bytes.
//! Integers inside are little endian. What arrives is untrusted: the decoder bounds everything and allocates nothing.
//!
//! The guest speaks first ([`ToHost::Hello`]), the host answers with [`ToGuest::Go`]; nothing else is sent before.
//! Standard input flows under credit: the host sends no more than the guest has granted, so that a serial port
//! never overruns and pid 1 never has to hold what its command does not read.

/// Largest payload of a frame.
pub const MAX_PAYLOAD: usize = 32 * 1024;
/// Bytes before the payload.
pub const HEADER: usize = 3;
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
    /// The verdict: the last frame.
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
const GO: u8 = 0x41;
const STDIN: u8 = 0x42;
const STDIN_EOF: u8 = 0x43;
const RESIZE: u8 = 0x44;
const SIGNAL: u8 = 0x45;
const DONE: u8 = 0x46;

/// A frame's tag, its payload, and the number of bytes both took.
pub type Frame<'a> = (u8, &'a [u8], usize);

/// A frame split into its parts; `None` until enough bytes are there.
pub fn split(bytes: &[u8]) -> Result<Option<Frame<'_>>, FrameError> {
    let &[tag, low, high, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if !matches!(tag, HELLO..=EXIT | GO..=DONE) {
        return Err(FrameError::Tag(tag));
    }
    let len = u16::from_le_bytes([low, high]);
    if usize::from(len) > MAX_PAYLOAD {
        return Err(FrameError::TooLong(tag, len));
    }
    let len = usize::from(len);
    Ok(rest.get(..len).map(|payload| (tag, payload, HEADER + len)))
}

/// Takes integers off the front of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
    /// `value`, if nothing is left over.
    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

impl<'a> ToHost<'a> {
    /// Reads one frame off the front; `None` until enough bytes are there. Also says how many bytes it took.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((tag, payload, taken)) = split(bytes)? else {
            return Ok(None);
        };
        let message = Self::from_payload(tag, payload).ok_or(FrameError::Malformed(tag))?;
        Ok(Some((message, taken)))
    }

    fn from_payload(tag: u8, payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        match tag {
            HELLO => {
                if fields.take::<8>()? != *HELLO_MAGIC {
                    return None;
                }
                Some(Self::Hello {
                    version: fields.u32()?,
                    uptime_ns: fields.u64()?,
                    taint: fields.u64()?,
                    window: fields.u32()?,
                    release: fields.rest(),
                })
            }
            STARTED => fields.u64().and_then(|uptime| fields.end(Self::Started(uptime))),
            STDOUT => Some(Self::Stdout(payload)),
            STDERR => Some(Self::Stderr(payload)),
            WINDOW => fields.u32().and_then(|more| fields.end(Self::Window(more))),
            NOTE => Some(Self::Note(payload)),
            FAILED => {
                let what = match fields.u8()? {
                    0 => Failure::Job,
                    1 => Failure::Module,
                    2 => Failure::Exec,
                    3 => Failure::Tty,
                    4 => Failure::BlockDevices,
                    _ => return None,
                };
                Some(Self::Failed { what, errno: fields.u32()?, subject: fields.rest() })
            }
            EXIT => {
                let (how, value) = (fields.u8()?, fields.u8()?);
                let ended = match how {
                    0 => Ended::Exited(value),
                    1 => Ended::Signaled(value, false),
                    2 => Ended::Signaled(value, true),
                    3 => Ended::PowerOff,
                    4 => Ended::Restart,
                    5 => Ended::Halt,
                    _ => return None,
                };
                let usage = Usage {
                    wall_ns: fields.u64()?,
                    user_us: fields.u64()?,
                    system_us: fields.u64()?,
                    max_rss_kib: fields.u64()?,
                };
                let taint = fields.u64()?;
                fields.end(Self::Exit { ended, usage, taint })
            }
            _ => None,
        }
    }

    /// Writes the frame to the front of `out`, which must have room for [`HEADER`] + [`MAX_PAYLOAD`] bytes.
    /// Longer texts are cut. Returns the frame's length.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut frame = Builder { out, len: HEADER };
        let tag = match *self {
            Self::Hello { version, uptime_ns, taint, window, release } => {
                frame.put(HELLO_MAGIC);
                frame.put(&version.to_le_bytes());
                frame.put(&uptime_ns.to_le_bytes());
                frame.put(&taint.to_le_bytes());
                frame.put(&window.to_le_bytes());
                frame.put(release);
                HELLO
            }
            Self::Started(uptime) => {
                frame.put(&uptime.to_le_bytes());
                STARTED
            }
            Self::Stdout(bytes) => {
                frame.put(bytes);
                STDOUT
            }
            Self::Stderr(bytes) => {
                frame.put(bytes);
                STDERR
            }
            Self::Window(more) => {
                frame.put(&more.to_le_bytes());
                WINDOW
            }
            Self::Note(text) => {
                frame.put(text);
                NOTE
            }
            Self::Failed { what, errno, subject } => {
                let code = match what {
                    Failure::Job => 0,
                    Failure::Module => 1,
                    Failure::Exec => 2,
                    Failure::Tty => 3,
                    Failure::BlockDevices => 4,
                };
                frame.put(&[code]);
                frame.put(&errno.to_le_bytes());
                frame.put(subject);
                FAILED
            }
            Self::Exit { ended, usage, taint } => {
                frame.put(&match ended {
                    Ended::Exited(status) => [0, status],
                    Ended::Signaled(signal, false) => [1, signal],
                    Ended::Signaled(signal, true) => [2, signal],
                    Ended::PowerOff => [3, 0],
                    Ended::Restart => [4, 0],
                    Ended::Halt => [5, 0],
                });
                for field in [usage.wall_ns, usage.user_us, usage.system_us, usage.max_rss_kib, taint] {
                    frame.put(&field.to_le_bytes());
                }
                EXIT
            }
        };
        frame.finish(tag)
    }
}

impl<'a> ToGuest<'a> {
    /// Reads one frame off the front; `None` until enough bytes are there. Also says how many bytes it took.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((tag, payload, taken)) = split(bytes)? else {
            return Ok(None);
        };
        let message = Self::from_payload(tag, payload).ok_or(FrameError::Malformed(tag))?;
        Ok(Some((message, taken)))
    }

    fn from_payload(tag: u8, payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let message = match tag {
            GO => Self::Go { rows: fields.u16()?, columns: fields.u16()?, realtime_ns: fields.u64()? },
            STDIN => Self::Stdin(fields.rest()),
            STDIN_EOF => Self::StdinEof,
            RESIZE => Self::Resize { rows: fields.u16()?, columns: fields.u16()? },
            SIGNAL => Self::Signal(fields.u8()?),
            DONE => Self::Done,
            _ => return None,
        };
        fields.end(message)
    }

    /// Writes the frame to the front of `out`, which must have room for [`HEADER`] + [`MAX_PAYLOAD`] bytes.
    /// Returns the frame's length.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut frame = Builder { out, len: HEADER };
        let tag = match *self {
            Self::Go { rows, columns, realtime_ns } => {
                frame.put(&rows.to_le_bytes());
                frame.put(&columns.to_le_bytes());
                frame.put(&realtime_ns.to_le_bytes());
                GO
            }
            Self::Stdin(bytes) => {
                frame.put(bytes);
                STDIN
            }
            Self::StdinEof => STDIN_EOF,
            Self::Resize { rows, columns } => {
                frame.put(&rows.to_le_bytes());
                frame.put(&columns.to_le_bytes());
                RESIZE
            }
            Self::Signal(number) => {
                frame.put(&[number]);
                SIGNAL
            }
            Self::Done => DONE,
        };
        frame.finish(tag)
    }
}

/// Fills a frame from its payload's start; what does not fit is cut.
struct Builder<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Builder<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.out.len().min(HEADER + MAX_PAYLOAD);
        let room = end.saturating_sub(self.len);
        let len = bytes.len().min(room);
        if let (Some(to), Some(from)) = (self.out.get_mut(self.len..self.len + len), bytes.get(..len)) {
            to.copy_from_slice(from);
            self.len += len;
        }
    }

    fn finish(self, tag: u8) -> usize {
        let [low, high] = ((self.len - HEADER) as u16).to_le_bytes();
        if let Some(header) = self.out.first_chunk_mut::<HEADER>() {
            *header = [tag, low, high];
        }
        self.len
    }
}

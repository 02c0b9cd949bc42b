//! Encoding and decoding of [`ToHost`].

use super::fields::{Builder, Fields};
use super::{
    COLLECTED, COMMAND_LINE, EXIT, Ended, FAILED, FROM_HELPER, Failure, FrameError, HEADER, HELLO, HELLO_MAGIC, LEFT,
    LOADING, LOG, Lost, NOTE, READY, STARTED, STDERR, STDOUT, ToHost, Usage, WINDOW, split,
};

impl<'a> ToHost<'a> {
    /// Decodes the first frame; returns its length, too. `None` if the frame is incomplete.
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
            COMMAND_LINE => Some(Self::CommandLine(payload)),
            LOADING => Some(Self::Loading(payload)),
            STARTED => fields.u64().and_then(|uptime| fields.end(Self::Started(uptime))),
            STDOUT => Some(Self::Stdout(payload)),
            STDERR => Some(Self::Stderr(payload)),
            COLLECTED => Some(Self::Collected(payload)),
            WINDOW => fields.u32().and_then(|more| fields.end(Self::Window(more))),
            NOTE => Some(Self::Note(payload)),
            FAILED => {
                let what = failure(fields.u8()?)?;
                Some(Self::Failed { what, errno: fields.u32()?, subject: fields.rest() })
            }
            READY => fields.end(Self::Ready),
            LOG => Some(Self::Log { lost: lost(fields.u8()?)?, records: fields.rest() }),
            LEFT => {
                let (pid, lives) = (fields.u32()?, fields.u8()?);
                // Accept only one encoding of each message.
                (lives <= 1).then(|| Self::Left { pid, lives: lives == 1, name: fields.rest() })
            }
            FROM_HELPER => Some(Self::Helper { id: fields.u32()?, message: fields.rest() }),
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

    /// Encodes the frame at the start of `out`, which must have room for [`HEADER`] + [`MAX_PAYLOAD`] bytes. Truncates
    /// text that does not fit. Returns the frame's length.
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
            Self::CommandLine(text) => frame.text(COMMAND_LINE, text),
            Self::Loading(path) => frame.text(LOADING, path),
            Self::Started(uptime) => {
                frame.put(&uptime.to_le_bytes());
                STARTED
            }
            Self::Stdout(bytes) => frame.text(STDOUT, bytes),
            Self::Stderr(bytes) => frame.text(STDERR, bytes),
            Self::Collected(bytes) => frame.text(COLLECTED, bytes),
            Self::Window(more) => {
                frame.put(&more.to_le_bytes());
                WINDOW
            }
            Self::Note(text) => frame.text(NOTE, text),
            Self::Failed { what, errno, subject } => {
                frame.put(&[code(what)]);
                frame.put(&errno.to_le_bytes());
                frame.put(subject);
                FAILED
            }
            Self::Ready => READY,
            Self::Log { lost, records } => {
                frame.put(&[lost as u8]);
                frame.put(records);
                LOG
            }
            Self::Left { pid, lives, name } => {
                frame.put(&pid.to_le_bytes());
                frame.put(&[u8::from(lives)]);
                frame.put(name);
                LEFT
            }
            Self::Helper { id, message } => {
                frame.put(&id.to_le_bytes());
                frame.put(message);
                FROM_HELPER
            }
            Self::Exit { ended, usage, taint } => {
                frame.put(&ended_code(ended));
                for field in [usage.wall_ns, usage.user_us, usage.system_us, usage.max_rss_kib, taint] {
                    frame.put(&field.to_le_bytes());
                }
                EXIT
            }
        };
        frame.finish(tag)
    }
}

/// Decodes the kind of loss.
const fn lost(code: u8) -> Option<Lost> {
    Some(match code {
        0 => Lost::Nothing,
        1 => Lost::Overwritten,
        2 => Lost::TooMany,
        3 => Lost::Unreadable,
        _ => return None,
    })
}

/// Encodes the end of a command.
const fn ended_code(ended: Ended) -> [u8; 2] {
    match ended {
        Ended::Exited(status) => [0, status],
        Ended::Signaled(signal, false) => [1, signal],
        Ended::Signaled(signal, true) => [2, signal],
        Ended::PowerOff => [3, 0],
        Ended::Restart => [4, 0],
        Ended::Halt => [5, 0],
    }
}

/// Encodes a failed step.
const fn code(what: Failure) -> u8 {
    match what {
        Failure::Job => 0,
        Failure::Module => 1,
        Failure::Exec => 2,
        Failure::Tty => 3,
        Failure::BlockDevices => 4,
        Failure::Window => 5,
        Failure::SoftModule => 6,
        Failure::Crash => 7,
        Failure::Setup => 8,
        Failure::Seed => 9,
    }
}

/// Decodes a failed step.
const fn failure(code: u8) -> Option<Failure> {
    Some(match code {
        0 => Failure::Job,
        1 => Failure::Module,
        2 => Failure::Exec,
        3 => Failure::Tty,
        4 => Failure::BlockDevices,
        5 => Failure::Window,
        6 => Failure::SoftModule,
        7 => Failure::Crash,
        8 => Failure::Setup,
        9 => Failure::Seed,
        _ => return None,
    })
}

//! The job: what pid 1 is to do, as a file in the initrd.
//!
//! A magic line, then records: tag (one byte), length (`u32`, little endian), that many bytes.
//! Unknown tags are refused, not skipped: host and guest are built together.

/// Where pid 1 finds its job.
pub const PATH: &str = "/.bootling/job";

/// The first bytes of every job file.
pub const MAGIC: &[u8] = b"bootling job 1\n";

/// Name of the virtio-serial port (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "bootling.0";

/// What a record of the job says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// One word of the command, in order. The first is looked up through PATH where it has no slash.
    Arg,
    /// One `NAME=value` of the command's environment.
    Env,
    /// The directory the command starts in; without it, `/`. Missing in the guest: `/`, with a note.
    Cwd,
    /// One module to load, in order: `PATH NUL PARAMETERS`.
    Module,
    /// As [`Tag::Module`], but a failure is only noted: the drivers of the channel, which may have a second way.
    ChannelModule,
    /// The control channel: `virtio` (the port named [`PORT_NAME`]) or a serial device's name (`ttyS1`).
    /// Without it pid 1 uses the console alone.
    Channel,
    /// Empty: the command gets a terminal (a pty over the channel; the console without one).
    Tty,
    /// The guest's host name.
    Hostname,
    /// Wait until this many block devices (decimal) are there before the command runs.
    BlockDevices,
    /// There is no command: be ready, and wait for archives in a window (see [`super::window`]) of so many bytes
    /// (decimal).
    Window,
    /// Empty: say on the console what pid 1 does.
    Verbose,
}

impl Tag {
    /// Its byte in the file.
    pub const fn code(self) -> u8 {
        match self {
            Self::Arg => b'a',
            Self::Env => b'e',
            Self::Cwd => b'd',
            Self::Module => b'm',
            Self::ChannelModule => b'n',
            Self::Channel => b'c',
            Self::Tty => b't',
            Self::Hostname => b'h',
            Self::BlockDevices => b'b',
            Self::Window => b'w',
            Self::Verbose => b'v',
        }
    }

    /// The tag a byte stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            b'a' => Self::Arg,
            b'e' => Self::Env,
            b'd' => Self::Cwd,
            b'm' => Self::Module,
            b'n' => Self::ChannelModule,
            b'c' => Self::Channel,
            b't' => Self::Tty,
            b'h' => Self::Hostname,
            b'b' => Self::BlockDevices,
            b'w' => Self::Window,
            b'v' => Self::Verbose,
            _ => return None,
        })
    }
}

/// Why a job could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobError {
    /// The magic line is missing.
    Magic,
    /// A record's tag is unknown; its offset.
    Tag(usize),
    /// A record ends behind the file's end; its offset.
    Truncated(usize),
}

/// Iterates over the records of a job file.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Starts reading a job file.
pub fn records(bytes: &[u8]) -> Result<Records<'_>, JobError> {
    if !bytes.starts_with(MAGIC) {
        return Err(JobError::Magic);
    }
    Ok(Records { bytes, offset: MAGIC.len() })
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Tag, &'a [u8]), JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.offset;
        let rest = self.bytes.get(at..)?;
        if rest.is_empty() {
            return None;
        }
        // A broken record ends the iteration.
        self.offset = usize::MAX;
        let &[code, a, b, c, d, ref body @ ..] = rest else {
            return Some(Err(JobError::Truncated(at)));
        };
        let Some(tag) = Tag::from_code(code) else {
            return Some(Err(JobError::Tag(at)));
        };
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(value) = body.get(..len) else {
            return Some(Err(JobError::Truncated(at)));
        };
        self.offset = at + 5 + len;
        Some(Ok((tag, value)))
    }
}

/// The five bytes that stand before a record's value.
pub const fn record_header(tag: Tag, len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_le_bytes();
    [tag.code(), a, b, c, d]
}

//! The job: pid 1's instructions, a file in the initrd.
//!
//! A magic line is followed by records: tag (one byte), length (`u32`, little endian), value. Unknown tags are refused,
//! not skipped: host and guest are built together.

/// Path of the job file in the guest.
pub const PATH: &str = "/.bootling/job";

/// Magic line at the start of a job file.
pub const MAGIC: &[u8] = b"bootling job 1\n";

/// Name of the virtio-serial port (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "bootling.0";

/// Name of the network interface.
pub const NETWORK: &str = "eth0";

/// Record tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// One argument of the command, in order. The first is looked up in PATH unless it contains a slash.
    Arg,
    /// One `NAME=value` of the command's environment.
    Env,
    /// Working directory of the command (default: `/`). If it is missing, pid 1 uses `/` and sends a note.
    Cwd,
    /// A module to load, in order: `PATH NUL PARAMETERS`.
    Module,
    /// Like [`Tag::Module`], but a failure is only noted: a soft dependency.
    SoftModule,
    /// Like [`Tag::SoftModule`], one of several modules with one alias.
    Alternative,
    /// The last of several modules with one alias. If none of them was loaded, this is a failure.
    LastAlternative,
    /// Like [`Tag::SoftModule`]: a driver of the channel, which may have an alternative.
    ChannelModule,
    /// The control channel: `virtio` (the port named [`PORT_NAME`]) or a serial device's name (`ttyS1`). Without it,
    /// pid 1 only uses the console.
    Channel,
    /// Empty: the command gets a terminal (a pty over the channel, or the console without a channel).
    Tty,
    /// Host name of the guest.
    Hostname,
    /// Number of block devices (decimal) to wait for before the command starts.
    BlockDevices,
    /// A disk to wait for before the command starts, and to link below `/dev/disk/by-id`: `BUS SERIAL NAMESPACE`. The
    /// namespace is 0 on buses without them.
    Disk,
    /// The network interface [`NETWORK`]: empty to bring it up, or its address, netmask and gateway, four bytes each.
    Network,
    /// Length of the window in bytes (decimal). There is no command: pid 1 waits for payloads in the window (see
    /// [`super::window`]).
    Window,
    /// Empty: pid 1 reports its actions on the console.
    Verbose,
    /// User and groups of the command (decimal, separated by spaces): UID, GID, supplementary groups.
    User,
    /// Empty: the host provides the modules that the kernel requests while the command runs.
    Autoload,
    /// A directory of the host to mount: `r` or `w`, and its path in the guest. In the order of mounting. The host serves
    /// it over the port [`super::files::PORT_NAME`].
    Share,
    /// Empty: a directory of the host, served before the shares, is the root of the command. A temporary file system receives
    /// all changes.
    Root,
    /// A path or pattern of files to send to the host after the command's end, in order.
    Collect,
    /// Most bytes of such files (decimal).
    CollectLimit,
}

impl Tag {
    /// Returns the tag's byte in the file.
    pub const fn code(self) -> u8 {
        match self {
            Self::Arg => b'a',
            Self::Env => b'e',
            Self::Cwd => b'd',
            Self::Module => b'm',
            Self::SoftModule => b's',
            Self::Alternative => b'o',
            Self::LastAlternative => b'l',
            Self::ChannelModule => b'n',
            Self::Channel => b'c',
            Self::Tty => b't',
            Self::Hostname => b'h',
            Self::BlockDevices => b'b',
            Self::Disk => b'D',
            Self::Network => b'I',
            Self::Window => b'w',
            Self::Verbose => b'v',
            Self::User => b'u',
            Self::Autoload => b'k',
            Self::Share => b'S',
            Self::Root => b'R',
            Self::Collect => b'C',
            Self::CollectLimit => b'L',
        }
    }

    /// Returns the tag for a byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            b'a' => Self::Arg,
            b'e' => Self::Env,
            b'd' => Self::Cwd,
            b'm' => Self::Module,
            b's' => Self::SoftModule,
            b'o' => Self::Alternative,
            b'l' => Self::LastAlternative,
            b'n' => Self::ChannelModule,
            b'c' => Self::Channel,
            b't' => Self::Tty,
            b'h' => Self::Hostname,
            b'b' => Self::BlockDevices,
            b'D' => Self::Disk,
            b'I' => Self::Network,
            b'w' => Self::Window,
            b'v' => Self::Verbose,
            b'u' => Self::User,
            b'k' => Self::Autoload,
            b'S' => Self::Share,
            b'R' => Self::Root,
            b'C' => Self::Collect,
            b'L' => Self::CollectLimit,
            _ => return None,
        })
    }
}

/// A job that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobError {
    /// The magic line is missing.
    Magic,
    /// Unknown tag in the record at this offset.
    Tag(usize),
    /// The record at this offset extends past the end of the file.
    Truncated(usize),
}

/// Iterator over the records of a job file.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// Parses a job file.
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
        // An invalid record ends the iteration.
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

/// Returns the header (five bytes) of a record.
pub const fn record_header(tag: Tag, len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_le_bytes();
    [tag.code(), a, b, c, d]
}

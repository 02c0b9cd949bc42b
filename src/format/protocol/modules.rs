//! Messages between the guest's `modprobe` and the host, in the helper frames of the channel.
//!
//! The guest sends [`Question::Request`]. The host answers with [`Answer::Plan`], the modules in load order, and the
//! guest with [`Question::Wanted`]: those that are not loaded. For each of them the host sends [`Answer::File`] and its
//! bytes in [`Answer::Chunk`] messages, and the guest reports [`Question::Loaded`]. [`Answer::End`] is the last message,
//! also instead of a plan. At most [`CREDIT`] files and chunks are under way: the guest sends [`Question::Taken`] for
//! each.
//!
//! Both sides are untrusted: the decoders are bounded and do not allocate.

/// Maximum length of a module's name or alias. The kernel's own requests are shorter (`MODULE_NAME_LEN`).
pub const MAX_NAME: usize = 256;
/// Maximum length of a module's parameters.
pub const MAX_PARAMETERS: usize = 1024;
/// Maximum number of modules in a plan.
pub const MAX_MODULES: usize = 128;
/// Maximum number of files and chunks under way. They fit into the buffer of a socket.
pub const CREDIT: usize = 4;
/// Maximum length of a chunk.
pub const CHUNK: usize = 24 * 1024;

/// Message of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// A module is requested.
    Request {
        /// True if the kernel requests it.
        by_kernel: bool,
        /// Name or alias.
        name: &'a [u8],
        /// Parameters, separated by spaces.
        parameters: &'a [u8],
    },
    /// One byte per module of the plan: 1 if its file is wanted.
    Wanted(&'a [u8]),
    /// A file or a chunk was received.
    Taken,
    /// The module was loaded, or why not: the error number.
    Loaded(u32),
}

/// Consequence of a failure to load a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The request fails.
    Required = 0,
    /// None.
    Soft = 1,
    /// One of several modules with one alias.
    Alternative = 2,
    /// The last of these: the request fails if none of them was loaded.
    LastAlternative = 3,
}

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Everything was sent, or the module is built in.
    Done = 0,
    /// There is no such module.
    NotFound = 1,
    /// The host cannot provide it.
    Failed = 2,
}

/// Message of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The modules: see [`entries`].
    Plan(&'a [u8]),
    /// The bytes of a module follow.
    File {
        /// Its place in the plan.
        index: u8,
        /// Number of bytes.
        len: u32,
    },
    /// Bytes of the module.
    Chunk(&'a [u8]),
    /// The last message.
    End {
        /// Result.
        status: Status,
        /// Message for the user; may be empty.
        text: &'a [u8],
    },
}

/// A module of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Consequence of a failure.
    pub weight: Weight,
    /// Name, with `_` for `-`.
    pub name: &'a [u8],
    /// Parameters.
    pub parameters: &'a [u8],
}

impl<'a> Question<'a> {
    /// Decodes a message.
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = message.split_first()?;
        match tag {
            b'r' => {
                let (&by_kernel, rest) = rest.split_first()?;
                let (name, parameters) = text(rest)?;
                let fits = name.len() <= MAX_NAME && parameters.len() <= MAX_PARAMETERS && !parameters.contains(&0);
                (by_kernel <= 1 && fits).then_some(Self::Request { by_kernel: by_kernel == 1, name, parameters })
            }
            b'w' => rest.iter().all(|&byte| byte <= 1).then_some(Self::Wanted(rest)),
            b't' => rest.is_empty().then_some(Self::Taken),
            b'l' => Some(Self::Loaded(u32::from_le_bytes(rest.try_into().ok()?))),
            _ => None,
        }
    }

    /// Encodes the message; returns its length. Truncates what does not fit.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut to = Writer { out, len: 0 };
        match *self {
            Self::Request { by_kernel, name, parameters } => {
                to.put(&[b'r', u8::from(by_kernel)]).put(name).put(&[0]).put(parameters)
            }
            Self::Wanted(wanted) => to.put(b"w").put(wanted),
            Self::Taken => to.put(b"t"),
            Self::Loaded(errno) => to.put(b"l").put(&errno.to_le_bytes()),
        };
        to.len
    }
}

impl<'a> Answer<'a> {
    /// Decodes a message.
    pub fn decode(message: &'a [u8]) -> Option<Self> {
        let (&tag, rest) = message.split_first()?;
        match tag {
            b'p' => Some(Self::Plan(rest)),
            b'f' => {
                let (&index, len) = rest.split_first()?;
                Some(Self::File { index, len: u32::from_le_bytes(len.try_into().ok()?) })
            }
            b'c' => Some(Self::Chunk(rest)),
            b'e' => {
                let (&status, text) = rest.split_first()?;
                let status = match status {
                    0 => Status::Done,
                    1 => Status::NotFound,
                    2 => Status::Failed,
                    _ => return None,
                };
                Some(Self::End { status, text })
            }
            _ => None,
        }
    }

    /// Encodes the message; returns its length. Truncates what does not fit.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut to = Writer { out, len: 0 };
        match *self {
            Self::Plan(entries) => to.put(b"p").put(entries),
            Self::File { index, len } => to.put(&[b'f', index]).put(&len.to_le_bytes()),
            Self::Chunk(bytes) => to.put(b"c").put(bytes),
            Self::End { status, text } => to.put(&[b'e', status as u8]).put(text),
        };
        to.len
    }
}

impl Entry<'_> {
    /// Encodes the entry at the start of `out`; returns its length, or `None` if it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let len = 3 + self.name.len() + self.parameters.len();
        if len > out.len() {
            return None;
        }
        let mut to = Writer { out, len: 0 };
        to.put(&[self.weight as u8]).put(self.name).put(&[0]).put(self.parameters).put(&[0]);
        Some(to.len)
    }
}

/// Returns the entries of a plan. The iteration ends at the first invalid one.
pub fn entries(plan: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = plan;
    core::iter::from_fn(move || {
        let (&weight, after) = rest.split_first()?;
        let weight = match weight {
            0 => Weight::Required,
            1 => Weight::Soft,
            2 => Weight::Alternative,
            3 => Weight::LastAlternative,
            _ => return None,
        };
        let (name, after) = text(after)?;
        let (parameters, after) = text(after)?;
        rest = after;
        Some(Entry { weight, name, parameters })
    })
}

/// Splits a NUL-terminated text from the rest.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Writes fields; truncates what does not fit.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        let len = bytes.len().min(self.out.len().saturating_sub(self.len));
        if let (Some(to), Some(from)) = (self.out.get_mut(self.len..self.len + len), bytes.get(..len)) {
            to.copy_from_slice(from);
            self.len += len;
        }
        self
    }
}

//! The stream of collected files (`--collect`): records that a process of the guest writes and the host reads.
//!
//! A record is a kind (one byte), a length (`u32`, little endian, at most [`MAX_RECORD`]) and a payload of that length.
//! [`Record::Request`] precedes the entries of a request; a file's bytes and its end follow [`Record::File`]. The last
//! record is [`Record::End`]. Everything is untrusted: the decoder is bounded, and checks the order and the names.

/// Header length.
pub const HEADER: usize = 5;
/// Maximum payload length.
pub const MAX_RECORD: usize = 32 * 1024 - HEADER;
/// Maximum length of an entry's path, in bytes.
pub const MAX_PATH: usize = 4000;

/// Kind of a record: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Record::Request`]
    Request,
    /// [`Record::File`]
    File,
    /// [`Record::Directory`]
    Directory,
    /// [`Record::Bytes`]
    Bytes,
    /// [`Record::FileEnd`]
    FileEnd,
    /// [`Record::Skipped`]
    Skipped,
    /// [`Record::Missing`]
    Missing,
    /// [`Record::TooLarge`]
    TooLarge,
    /// [`Record::End`]
    End,
}

impl Kind {
    /// Returns the kind's byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Request => b'r',
            Self::File => b'f',
            Self::Directory => b'd',
            Self::Bytes => b'b',
            Self::FileEnd => b'e',
            Self::Skipped => b's',
            Self::Missing => b'm',
            Self::TooLarge => b'l',
            Self::End => b'z',
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            b'r' => Self::Request,
            b'f' => Self::File,
            b'd' => Self::Directory,
            b'b' => Self::Bytes,
            b'e' => Self::FileEnd,
            b's' => Self::Skipped,
            b'm' => Self::Missing,
            b'l' => Self::TooLarge,
            b'z' => Self::End,
            _ => return None,
        })
    }
}

/// Returns the header of a record, for a writer that has the payload in place.
pub const fn header(kind: Kind, len: u32) -> [u8; HEADER] {
    let [a, b, c, d] = len.to_le_bytes();
    [kind.code(), a, b, c, d]
}

/// A record. Paths are relative to the request, without a leading slash; the empty path is the requested path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// The next request, by its number.
    Request(u16),
    /// A regular file.
    File {
        /// Permission bits.
        mode: u16,
        /// Path.
        path: &'a [u8],
    },
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u16,
        /// Path.
        path: &'a [u8],
    },
    /// Bytes of the file.
    Bytes(&'a [u8]),
    /// End of the file: an error number of the kernel, or 0.
    FileEnd(u32),
    /// An entry that is not collected: an error number, or 0 if it is neither a file nor a directory.
    Skipped {
        /// Error number, or 0.
        errno: u32,
        /// Path.
        path: &'a [u8],
    },
    /// Nothing matches the request: an error number.
    Missing(u32),
    /// The size limit is reached. Ends the collection, after which [`Record::End`] follows.
    TooLarge,
    /// End of the collection.
    End,
}

impl<'a> Record<'a> {
    /// Decodes the first record; returns its length, too. `None` if it is incomplete. The error is what is wrong with it.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let &[code, a, b, c, d, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let kind = Kind::from_code(code).ok_or("an unknown record in the collected files")?;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_RECORD {
            return Err("a record of the collected files that is too long");
        }
        let Some(payload) = rest.get(..len) else { return Ok(None) };
        let record = Self::from_payload(kind, payload).ok_or("an invalid record in the collected files")?;
        Ok(Some((record, HEADER + len)))
    }

    fn from_payload(kind: Kind, payload: &'a [u8]) -> Option<Self> {
        let word = |bytes: &[u8]| bytes.try_into().ok().map(u16::from_le_bytes);
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let entry = || {
            let (mode, path) = payload.split_first_chunk::<2>()?;
            let mode = u16::from_le_bytes(*mode);
            (mode <= 0o777 && is_path(path)).then_some((mode, path))
        };
        Some(match kind {
            Kind::Request => Self::Request(word(payload)?),
            Kind::File => entry().map(|(mode, path)| Self::File { mode, path })?,
            Kind::Directory => entry().map(|(mode, path)| Self::Directory { mode, path })?,
            Kind::Bytes => Self::Bytes(payload),
            Kind::FileEnd => Self::FileEnd(number(payload)?),
            Kind::Skipped => {
                let (errno, path) = payload.split_first_chunk::<4>()?;
                if !is_path(path) {
                    return None;
                }
                Self::Skipped { errno: u32::from_le_bytes(*errno), path }
            }
            Kind::Missing => Self::Missing(number(payload)?),
            Kind::TooLarge if payload.is_empty() => Self::TooLarge,
            Kind::End if payload.is_empty() => Self::End,
            Kind::TooLarge | Kind::End => return None,
        })
    }
}

/// Returns true for a relative path of names that stay below their directory.
fn is_path(path: &[u8]) -> bool {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= 255 && !name.contains(&0);
    path.is_empty() || path.len() <= MAX_PATH && path.split(|&byte| byte == b'/').all(is_name)
}

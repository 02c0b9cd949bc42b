//! newc header: a magic number and thirteen fields of eight hexadecimal digits.

use std::io::Read;

use super::unpack::Stream;
use super::{HEADER, Rule, rule};

/// Fields of a member header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Inode number.
    pub ino: u32,
    /// File type and permission bits, as `st_mode`.
    pub mode: u32,
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID of the owner.
    pub gid: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: u32,
    /// Length of the data in bytes.
    pub size: u32,
    /// Major and minor number of the device that contained the file.
    pub device: (u32, u32),
    /// Major and minor number of a device node.
    pub rdevice: (u32, u32),
    /// Length of the name in bytes, including its NULs.
    pub name_size: u32,
    /// Sum of the data bytes, if the magic number is 070702.
    pub(crate) checksum: Option<u32>,
}

impl Header {
    /// Reads a header of 110 bytes.
    pub(super) fn read(input: &mut Stream<impl Read>) -> Result<Self, Rule> {
        let mut bytes = [0; HEADER];
        input.read_exact(&mut bytes).map_err(rule)?;
        let (magic, fields) = bytes.split_at(6);
        let with_sum = match magic {
            b"070701" => false,
            b"070702" => true,
            other => return Err(Rule::HeaderMagic(other.escape_ascii().to_string())),
        };
        let mut fields = fields.chunks_exact(8);
        let mut next = |name| hex(fields.next().unwrap_or_default()).ok_or(Rule::Hex(name));
        let header = Self {
            ino: next("c_ino")?,
            mode: next("c_mode")?,
            uid: next("c_uid")?,
            gid: next("c_gid")?,
            nlink: next("c_nlink")?,
            mtime: next("c_mtime")?,
            size: next("c_filesize")?,
            device: (next("c_maj")?, next("c_min")?),
            rdevice: (next("c_rmaj")?, next("c_rmin")?),
            name_size: next("c_namesize")?,
            checksum: None,
        };
        let checksum = next("c_chksum")?;
        Ok(Self { checksum: with_sum.then_some(checksum), ..header })
    }

    /// Returns true for a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// Returns true for a symbolic link.
    pub(crate) fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }
}

/// Parses hexadecimal digits, without a sign or `0x`.
fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

//! Streaming reader for initrds of any origin: a sequence of newc archives, uncompressed or compressed, as the kernel
//! unpacks them.
//!
//! Memory is bounded: 4 KiB for a name or a link target, 8 MiB for an LZ4 chunk, and for
//! the dictionaries of zstd and xz the limits of [`Compression`]. Refuses everything that the kernel refuses or would skip, and reports its offset (`init/initramfs.c`,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

pub(crate) mod header;
pub mod unpack;

use std::cell::Cell;
use std::io::{self, Read};
use std::ops::ControlFlow;

pub(crate) use self::header::Header;
use self::unpack::{Metered, Stream};

use super::archive_path::PATH_MAX;
use super::compression::{Compression, Properties, Streams};
use super::lz4::OversizedChunk;

/// Size of a header in bytes: a magic number and thirteen fields of eight hexadecimal digits.
pub(crate) const HEADER: usize = 110;
/// Name of the last member of every archive.
pub(crate) const TRAILER: &[u8] = b"TRAILER!!!";

/// Segment of an initrd: an uncompressed archive or a compressed stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Number, from 1.
    pub number: usize,
    /// Byte offset in the file.
    pub offset: u64,
    /// Compression format.
    pub compression: Compression,
}

/// Member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Segment of the member.
    pub segment: Segment,
    /// Byte offset of the header in the segment, after decompression.
    pub offset: u64,
    /// Header.
    pub header: Header,
    /// Name, without the NUL.
    pub name: Vec<u8>,
    /// Target of a symbolic link.
    pub target: Option<Vec<u8>>,
}

/// Error from reading an initrd.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file violates a rule.
    #[error("segment {} ({}, starts at byte {}), {}byte {offset}: {rule}", .segment.number, .segment.compression,
        .segment.offset, if .segment.compression == Compression::None { "" } else { "unpacked " })]
    Broken {
        /// Segment.
        segment: Segment,
        /// Byte offset in the segment, after decompression.
        offset: u64,
        /// The violated rule.
        rule: Rule,
    },
    /// The file has no segment.
    #[error("empty initrd: {0}")]
    Empty(&'static str),
    /// The visitor returned an error.
    #[error("failed to process a member")]
    Visitor(#[source] io::Error),
}

/// Violated rule for initrds.
#[derive(Debug, thiserror::Error)]
pub enum Rule {
    /// A segment is a newc archive or a compressed stream.
    #[error("expected a newc archive or a supported compression format, found {0}")]
    Magic(String),
    /// A member header starts with a magic number.
    #[error("invalid magic number of a member header: expected 070701 or 070702, found {0}")]
    HeaderMagic(String),
    /// An archive starts at a multiple of 4.
    #[error("archive does not start at a multiple of 4 bytes, as the kernel requires")]
    Unaligned,
    /// A header field consists of eight hexadecimal digits.
    #[error("header field {0} does not consist of eight hexadecimal digits")]
    Hex(&'static str),
    /// A name has at least 1 byte, for its NUL, and at most `PATH_MAX`.
    #[error("name size {0} out of range (1 to 4096): the kernel skips such members")]
    NameSize(u32),
    /// A name is NUL-terminated.
    #[error("name is not NUL-terminated")]
    NameEnd,
    /// A link target has 1 to `PATH_MAX` bytes.
    #[error("link target size {0} out of range (1 to 4096)")]
    TargetSize(u32),
    /// A 070702 header has the sum of the data bytes.
    #[error("wrong checksum of the data: expected {wanted:#x}, found {found:#x}")]
    Checksum {
        /// Checksum in the header.
        wanted: u32,
        /// Checksum of the data.
        found: u32,
    },
    /// An archive ends with a trailer.
    #[error("unexpected end of file inside an archive")]
    Truncated,
    /// The kernel's buffer limits the size of an LZ4 chunk.
    #[error(transparent)]
    Lz4Chunk(OversizedChunk),
    /// A compressed stream is valid.
    #[error("failed to unpack: {0}")]
    Unpack(io::Error),
    /// A compressed stream contains an archive.
    #[error("compressed segment without an archive")]
    Hollow,
}

/// Callback that receives each member and its data. The reader skips data that the callback does not read. `Break` ends
/// the walk.
pub(crate) type Visit<'a> = dyn FnMut(&Member, &mut dyn Read) -> io::Result<ControlFlow<()>> + 'a;

/// Reads an initrd from the start and calls `visit` with its members in order.
pub fn walk(input: impl Read, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    walk_within(input, &Cell::new(u64::MAX), visit)
}

/// Like [`walk`], but reads and unpacks at most `left` bytes, including the zeros between archives. On return, `left`
/// is the unused rest. If it is 0, the limit was reached, and the result is an error.
pub(crate) fn walk_within(input: impl Read, left: &Cell<u64>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut input = Stream::new(Metered::new(input, left));
    let mut number = 0;
    loop {
        // Zeros may separate segments.
        let start = Segment { number: number + 1, offset: input.offset(), compression: Compression::None };
        input.skip_zeros().map_err(|error| broken(start, 0, rule(error)))?;
        let offset = input.offset();
        let magic = input.peek(6).map_err(|error| broken(start, 0, rule(error)))?;
        if magic.is_empty() {
            return if number == 0 { Err(ReadError::Empty("no data, or only zeros")) } else { Ok(()) };
        }
        let compression = Compression::detect(magic);
        let is_archive = magic.starts_with(b"070701") || magic.starts_with(b"070702");
        if !is_archive && !compression.reads_segments() {
            return Err(broken(Segment { offset, ..start }, 0, Rule::Magic(named(magic))));
        }
        number += 1;
        let segment = Segment { number, offset, compression };
        let flow = if is_archive {
            one_archive(&mut input, segment, offset, visit)?
        } else {
            let unpacked = compression.reader(&mut input, Streams::First);
            let unpacked = unpacked.map_err(|error| broken(segment, 0, rule(error)))?;
            unpacked_archives(&mut Stream::new(Metered::new(unpacked, left)), segment, visit)?
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

/// Reads all archives in a compressed segment.
fn unpacked_archives(
    input: &mut Stream<impl Read>,
    segment: Segment,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, ReadError> {
    let mut hollow = true;
    loop {
        let at = input.offset();
        input.skip_zeros().map_err(|error| broken(segment, at, rule(error)))?;
        let at = input.offset();
        // At the end of the stream, the decoder has verified its checksum.
        let magic = input.peek(6).map_err(|error| broken(segment, at, rule(error)))?;
        if magic.is_empty() {
            return if hollow { Err(broken(segment, at, Rule::Hollow)) } else { Ok(ControlFlow::Continue(())) };
        }
        hollow = false;
        if one_archive(input, segment, 0, visit)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Reads an archive, including its trailer. Reports offsets relative to `base`.
fn one_archive(
    input: &mut Stream<impl Read>,
    segment: Segment,
    base: u64,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, ReadError> {
    if !input.offset().is_multiple_of(4) {
        return Err(broken(segment, input.offset() - base, Rule::Unaligned));
    }
    loop {
        let at = input.offset() - base;
        let fail = |rule| broken(segment, at, rule);
        let header = Header::read(input).map_err(fail)?;
        let name = read_name(input, header.name_size).map_err(fail)?;
        input.pad().map_err(|error| fail(rule(error)))?;
        if name == TRAILER {
            skip(input, header.size).map_err(fail)?;
            return Ok(ControlFlow::Continue(()));
        }
        let target = if header.is_link() { Some(read_target(input, header.size).map_err(fail)?) } else { None };
        let left = if header.is_link() { 0 } else { u64::from(header.size) };
        let mut body = Body { input, left, sum: 0, failed: None };
        let member = Member { segment, offset: at, header, name, target };
        let flow = match visit(&member, &mut body) {
            Ok(flow) => flow,
            // If reading the data failed, that error is more precise than the one that the visitor returns.
            Err(error) => return Err(body.failed.take().map_or(ReadError::Visitor(error), fail)),
        };
        if flow.is_break() {
            return Ok(flow);
        }
        body.finish(&member.header).map_err(fail)?;
        input.pad().map_err(|error| fail(rule(error)))?;
    }
}

/// Reads a name of `size` bytes.
fn read_name(input: &mut Stream<impl Read>, size: u32) -> Result<Vec<u8>, Rule> {
    if size == 0 || size as usize > PATH_MAX {
        return Err(Rule::NameSize(size));
    }
    let mut name = vec![0; size as usize];
    input.read_exact(&mut name).map_err(rule)?;
    if name.last() != Some(&0) {
        return Err(Rule::NameEnd);
    }
    // A name may be padded with NULs to align the data.
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    Ok(name)
}

/// Reads a link target of `size` bytes.
fn read_target(input: &mut Stream<impl Read>, size: u32) -> Result<Vec<u8>, Rule> {
    if size == 0 || size as usize > PATH_MAX {
        return Err(Rule::TargetSize(size));
    }
    let mut target = vec![0; size as usize];
    input.read_exact(&mut target).map_err(rule)?;
    Ok(target)
}

/// Skips `len` bytes and the padding after them.
fn skip(input: &mut Stream<impl Read>, len: u32) -> Result<(), Rule> {
    let skipped = io::copy(&mut input.by_ref().take(u64::from(len)), &mut io::sink()).map_err(rule)?;
    if skipped < u64::from(len) {
        return Err(Rule::Truncated);
    }
    input.pad().map_err(rule)
}

/// Unread data of a member.
struct Body<'a, R> {
    input: &'a mut Stream<R>,
    left: u64,
    sum: u32,
    failed: Option<Rule>,
}

impl<R: Read> Body<'_, R> {
    fn add(&mut self, bytes: &[u8]) {
        self.sum = bytes.iter().fold(self.sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    }

    /// Skips the rest and verifies the checksum, if there is one.
    fn finish(&mut self, header: &Header) -> Result<(), Rule> {
        // Only files have a checksum, as in the kernel (`do_copy`): GNU cpio writes zero for links.
        if header.checksum.is_none() || !header.is_file() {
            let left = self.left;
            self.left = 0;
            return self.input.skip(left).map_err(rule);
        }
        if let Err(error) = io::copy(self, &mut io::sink()) {
            return Err(self.failed.take().unwrap_or_else(|| rule(error)));
        }
        match header.checksum {
            Some(wanted) if wanted != self.sum => Err(Rule::Checksum { wanted, found: self.sum }),
            Some(_) | None => Ok(()),
        }
    }
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(room) = buffer.get_mut(..wanted).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        match self.input.read(room) {
            Ok(0) => {
                self.failed = Some(Rule::Truncated);
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.left -= count as u64;
                let read = room.get(..count).unwrap_or_default().to_vec();
                self.add(&read);
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(rule(error));
                Err(kind.into())
            }
        }
    }
}

/// Converts an error of the stream: an unexpected end means a truncated archive; all other errors come from the
/// decompressor or the disk.
fn rule(error: io::Error) -> Rule {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return Rule::Truncated;
    }
    match error.downcast::<OversizedChunk>() {
        Ok(oversized) => Rule::Lz4Chunk(oversized),
        Err(error) => Rule::Unpack(error),
    }
}

/// Adds the location to a violated rule.
fn broken(segment: Segment, offset: u64, rule: Rule) -> ReadError {
    ReadError::Broken { segment, offset, rule }
}

/// Magic of LZ4's current frame format.
const LZ4_FRAME: &[u8] = b"\x04\x22\x4d\x18";

/// Returns true if a file that starts with these bytes is compressed in a format that cannot be read here, as an initrd or
/// as anything else.
pub fn is_unsupported(magic: &[u8]) -> bool {
    match Compression::detect(magic) {
        Compression::None => magic.starts_with(LZ4_FRAME),
        compression => !compression.is_readable(),
    }
}

/// Describes the first bytes of a segment that cannot be read.
fn named(magic: &[u8]) -> String {
    if magic.starts_with(LZ4_FRAME) {
        return "an LZ4 frame, which the kernel does not unpack either: compress with lz4 -l".to_owned();
    }
    let Properties { name, config, unpack, .. } = Compression::detect(magic).properties();
    match (config, unpack) {
        (Some(config), Some(unpack)) => {
            format!("{name}, which only the kernel unpacks (CONFIG_{config}): decompress it with {unpack}")
        }
        (None, _) | (_, None) => magic.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests;

//! Reading initrds of any origin: newc archives one after another, plain or compressed, as the kernel unpacks them.
//!
//! Everything is streamed and bounded: a name or a link's target takes 4 KiB, an LZ4 chunk 8 MiB, the dictionaries of
//! zstd and xz 128 MiB. Refuses what the kernel refuses or would skip, and says where (`init/initramfs.c`,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).

pub mod header;
pub mod unpack;

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::ops::ControlFlow;

pub use self::header::Header;
use self::unpack::{Metered, Stream};

use super::archive_path::PATH_MAX;
use crate::initrd::archive::TRAILER;

/// How a segment of an initrd is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz.
    Xz,
    /// LZ4, legacy frame.
    Lz4,
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "not compressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        })
    }
}

/// One of the parts an initrd consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its number, from 1.
    pub number: usize,
    /// Where it starts in the file.
    pub offset: u64,
    /// How it is packed.
    pub packing: Packing,
}

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The segment it is in.
    pub segment: Segment,
    /// Where its header starts, in the segment's unpacked bytes; in the file, where the segment is not compressed.
    pub offset: u64,
    /// Its header.
    pub header: Header,
    /// Its name, without the NUL.
    pub name: Vec<u8>,
    /// Where it points, if it is a link.
    pub target: Option<Vec<u8>>,
}

/// Why an initrd could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Something in the file breaks a rule.
    #[error("reading segment {} ({}, from byte {}), at its {}byte {offset}: {rule}", .segment.number, .segment.packing,
        .segment.offset, if .segment.packing == Packing::None { "" } else { "unpacked " })]
    Broken {
        /// The segment.
        segment: Segment,
        /// Where in it, counted from the segment's own start.
        offset: u64,
        /// The rule.
        rule: Rule,
    },
    /// There is nothing in it.
    #[error("reading an initrd: {0}")]
    Empty(&'static str),
    /// Whoever was shown the members had enough.
    #[error("passing on a member")]
    Visitor(#[source] io::Error),
}

/// What an initrd must be.
#[derive(Debug, thiserror::Error)]
pub enum Rule {
    /// Segments are newc archives or compressed streams.
    #[error("neither a newc archive nor a compression that can be read here: it starts with {0}")]
    Magic(String),
    /// In an archive only headers follow.
    #[error("a member's header starts with {0}, not with 070701 or 070702")]
    HeaderMagic(String),
    /// Archives start at multiples of four.
    #[error("an archive starts here, but the kernel takes one at multiples of four only")]
    Unaligned,
    /// Header fields are eight hex digits.
    #[error("header field {0} is not eight hex digits")]
    Hex(&'static str),
    /// Names have room for at least a NUL and at most `PATH_MAX`.
    #[error("name of {0} bytes, but the kernel skips empty ones and those of more than 4096")]
    NameSize(u32),
    /// Names end with a NUL.
    #[error("name without a NUL at its end")]
    NameEnd,
    /// Link targets have at most `PATH_MAX`.
    #[error("link target of {0} bytes, but the kernel takes 1 to 4096")]
    TargetSize(u32),
    /// With 070702 the sum of the data's bytes is known.
    #[error("the data's bytes add up to {found:#x}, not to {wanted:#x}")]
    Checksum {
        /// The sum in the header.
        wanted: u32,
        /// The sum of the data.
        found: u32,
    },
    /// Archives end with a trailer.
    #[error("the file ends before the archive does")]
    Truncated,
    /// LZ4 chunks are bounded by what the kernel unpacks them into.
    #[error("LZ4 chunk of {0} bytes, but 8 MiB never take more than {max}", max = unpack::LZ4_BOUND)]
    Lz4Chunk(u32),
    /// Compressed streams are sound.
    #[error("unpacking: {0}")]
    Unpack(io::Error),
    /// Compressed streams hold archives.
    #[error("a compressed segment with no archive inside")]
    Hollow,
}

/// Called with each member and its data; what it does not read is skipped. `Break` ends the walk.
pub type Visit<'a> = dyn FnMut(&Member, &mut dyn Read) -> io::Result<ControlFlow<()>> + 'a;

/// Reads an initrd from its start, showing `visit` its members in order.
pub fn walk(input: impl Read, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    walk_within(input, &Cell::new(u64::MAX), visit)
}

/// As [`walk`], but only `left` bytes are read and unpacked, zeros and all between archives included; it says what is
/// left of them. Where nothing is, the walk ended with an error, for want of them.
pub fn walk_within(input: impl Read, left: &Cell<u64>, visit: &mut Visit<'_>) -> Result<(), ReadError> {
    let mut input = Stream::new(Metered::new(input, left));
    let mut number = 0;
    loop {
        // Zeros may stand between segments.
        let start = Segment { number: number + 1, offset: input.offset(), packing: Packing::None };
        input.skip_zeros().map_err(|error| broken(start, 0, rule(error)))?;
        let offset = input.offset();
        let magic = input.peek(6).map_err(|error| broken(start, 0, rule(error)))?;
        if magic.is_empty() {
            return if number == 0 { Err(ReadError::Empty("there is nothing but zeros, if anything")) } else { Ok(()) };
        }
        let Some(packing) = unpack::sniff(magic) else {
            return Err(broken(Segment { offset, ..start }, 0, Rule::Magic(magic.escape_ascii().to_string())));
        };
        number += 1;
        let segment = Segment { number, offset, packing };
        let flow = match packing {
            Packing::None => one_archive(&mut input, segment, offset, visit)?,
            Packing::Gzip | Packing::Zstd | Packing::Xz | Packing::Lz4 => {
                let unpacked = unpack::unpack(packing, &mut input).map_err(|error| broken(segment, 0, rule(error)))?;
                unpacked_archives(&mut Stream::new(Metered::new(unpacked, left)), segment, visit)?
            }
        };
        if flow.is_break() {
            return Ok(());
        }
    }
}

/// All archives inside a compressed segment.
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
        // At the end of the stream its checksum has been verified.
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

/// One archive, up to its trailer. Offsets are told from `base` on.
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
            // The visitor passes on what reading the data told it; the data's own error is the better one.
            Err(error) => return Err(body.failed.take().map_or(ReadError::Visitor(error), fail)),
        };
        if flow.is_break() {
            return Ok(flow);
        }
        body.finish(&member.header).map_err(fail)?;
        input.pad().map_err(|error| fail(rule(error)))?;
    }
}

/// A name of the length the header gives.
fn read_name(input: &mut Stream<impl Read>, size: u32) -> Result<Vec<u8>, Rule> {
    if size == 0 || size as usize > PATH_MAX {
        return Err(Rule::NameSize(size));
    }
    let mut name = vec![0; size as usize];
    input.read_exact(&mut name).map_err(rule)?;
    if name.last() != Some(&0) {
        return Err(Rule::NameEnd);
    }
    // Names may be padded with NULs, to align the data.
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    Ok(name)
}

/// A link's target.
fn read_target(input: &mut Stream<impl Read>, size: u32) -> Result<Vec<u8>, Rule> {
    if size == 0 || size as usize > PATH_MAX {
        return Err(Rule::TargetSize(size));
    }
    let mut target = vec![0; size as usize];
    input.read_exact(&mut target).map_err(rule)?;
    Ok(target)
}

/// Reads over `len` bytes and the padding behind them.
fn skip(input: &mut Stream<impl Read>, len: u32) -> Result<(), Rule> {
    let skipped = io::copy(&mut input.by_ref().take(u64::from(len)), &mut io::sink()).map_err(rule)?;
    if skipped < u64::from(len) {
        return Err(Rule::Truncated);
    }
    input.pad().map_err(rule)
}

/// A member's data, as far as it was not read yet.
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

    /// Skips what is left and compares the sum, where there is one.
    fn finish(&mut self, header: &Header) -> Result<(), Rule> {
        // As the kernel does (`do_copy`): GNU cpio gives links a sum of zero.
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

/// What an error of the stream means: an end is an archive cut short, everything else comes from unpacking or the disk.
fn rule(error: io::Error) -> Rule {
    if error.kind() == io::ErrorKind::UnexpectedEof && error.get_ref().is_none() {
        return Rule::Truncated;
    }
    match error.downcast::<unpack::Oversized>() {
        Ok(oversized) => Rule::Lz4Chunk(oversized.0),
        Err(error) => Rule::Unpack(error),
    }
}

/// An error with its place.
fn broken(segment: Segment, offset: u64, rule: Rule) -> ReadError {
    ReadError::Broken { segment, offset, rule }
}

#[cfg(test)]
mod tests;

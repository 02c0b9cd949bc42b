//! Input streams of an initrd: buffering, byte counting and decompression.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;

use super::Packing;
use crate::format::compression::{LZ4_CHUNK, LZ4_MAGIC};

/// Maximum padding between archives in bytes.
const MOST_ZEROS: usize = 256 << 20;

/// Buffer size in bytes.
const BUFFER: usize = 64 * 1024;
/// Maximum window size of zstd, as a power of two: the limit of the kernel (`lib/decompress_unzstd.c`).
const ZSTD_WINDOW_LOG: u32 = 27;
/// Memory limit for xz, in KiB.
const XZ_MEMORY_KIB: u32 = 128 * 1024;
/// Maximum size of a compressed LZ4 chunk in bytes: `LZ4_compressBound` of 8 MiB.
pub const LZ4_BOUND: usize = LZ4_CHUNK + LZ4_CHUNK / 255 + 16;

/// Returns the format of a segment by its first bytes.
pub(super) fn sniff(magic: &[u8]) -> Option<Packing> {
    // `lib/decompress.c` and `init/initramfs.c`. The kernel also supports bzip2, lzma and lzo; bootling does not.
    let known: [(&[u8], Packing); 7] = [
        (b"070701", Packing::None),
        (b"070702", Packing::None),
        (&[0x1f, 0x8b], Packing::Gzip),
        (&[0x1f, 0x9e], Packing::Gzip),
        (&[0x28, 0xb5, 0x2f, 0xfd], Packing::Zstd),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], Packing::Xz),
        (&LZ4_MAGIC, Packing::Lz4),
    ];
    known.iter().find(|(start, _)| magic.starts_with(start)).map(|(_, packing)| *packing)
}

/// Returns a decompressor for the segment that starts at the position of `input`. At the end of the decompressed data,
/// `input` is at the end of the segment.
pub(super) fn unpack<'a, R: Read>(packing: Packing, input: &'a mut Stream<R>) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::None => Box::new(input),
        Packing::Gzip => Box::new(GzDecoder::new(input)),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Packing::Xz => Box::new(XzReader::new_mem_limit(input, false, XZ_MEMORY_KIB)),
        Packing::Lz4 => {
            input.read_exact(&mut [0; 4])?;
            Box::new(Lz4Reader { input, packed: Vec::new(), chunk: Vec::new(), at: 0, ended: false })
        }
    })
}

/// Stream that subtracts its bytes from a shared limit, because a few compressed bytes can expand to gigabytes.
pub(super) struct Metered<'a, R> {
    input: R,
    left: &'a Cell<u64>,
}

impl<'a, R: Read> Metered<'a, R> {
    pub(super) fn new(input: R, left: &'a Cell<u64>) -> Self {
        Self { input, left }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("limit for unpacked data exceeded"));
        }
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.input.read(buffer.get_mut(..count).unwrap_or_default())?;
        self.left.set(left.saturating_sub(read as u64));
        Ok(read)
    }
}

/// Buffered stream that counts consumed bytes.
pub(super) struct Stream<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, offset: 0 }
    }

    /// Returns the number of bytes consumed so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next `count` bytes, or fewer at the end, without consuming them. `count` must be less than the
    /// buffer size.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.end - self.start < count {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            while self.end < count {
                match self.input.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(read) => self.end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let there = (self.end - self.start).min(count);
        Ok(&self.buffer[self.start..self.start + there])
    }

    /// Consumes zeros, up to a limit, because a device may contain an unlimited number of them.
    pub(super) fn skip_zeros(&mut self) -> io::Result<()> {
        let mut skipped = 0;
        while skipped < MOST_ZEROS {
            let bytes = self.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let more = zeros > 0 && zeros == bytes.len();
            self.consume(zeros);
            skipped += zeros;
            if !more {
                return Ok(());
            }
        }
        Err(io::Error::other(format!("more than {} MiB of zeros", MOST_ZEROS >> 20)))
    }

    /// Consumes exactly `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let there = self.fill_buf()?.len();
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let skipped = there.min(usize::try_from(count).unwrap_or(usize::MAX));
            self.consume(skipped);
            count -= skipped as u64;
        }
        Ok(())
    }

    /// Consumes the padding up to a multiple of four.
    pub(super) fn pad(&mut self) -> io::Result<()> {
        self.skip(self.offset.next_multiple_of(4) - self.offset)
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill_buf()?;
        let count = there.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Stream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }
}

/// Error for an LZ4 chunk that is too large for the kernel's buffer.
#[derive(Debug)]
pub(super) struct Oversized(pub(super) u32);

impl fmt::Display for Oversized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk of {} bytes", self.0)
    }
}

impl std::error::Error for Oversized {}

/// Decoder of the chunks of a legacy LZ4 frame (`lib/decompress_unlz4.c`). The frame ends at the end of the file or at
/// a chunk length of 0.
struct Lz4Reader<'a, R> {
    input: &'a mut Stream<R>,
    packed: Vec<u8>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Lz4Reader<'_, R> {
    fn next_chunk(&mut self) -> io::Result<()> {
        self.at = 0;
        self.chunk.clear();
        loop {
            if self.input.peek(1)?.is_empty() {
                self.ended = true;
                return Ok(());
            }
            let mut len = [0; 4];
            self.input.read_exact(&mut len)?;
            if len == LZ4_MAGIC {
                continue;
            }
            let size = u32::from_le_bytes(len);
            if size == 0 {
                self.ended = true;
                return Ok(());
            }
            if size as usize > LZ4_BOUND {
                return Err(io::Error::new(io::ErrorKind::InvalidData, Oversized(size)));
            }
            self.packed.resize(size as usize, 0);
            self.input.read_exact(&mut self.packed)?;
            self.chunk.resize(LZ4_CHUNK, 0);
            let unpacked = lz4_flex::block::decompress_into(&self.packed, &mut self.chunk).map_err(io::Error::other)?;
            self.chunk.truncate(unpacked);
            return Ok(());
        }
    }
}

impl<R: Read> Read for Lz4Reader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.chunk.len() && !self.ended {
            self.next_chunk()?;
        }
        let mut rest = self.chunk.get(self.at..).unwrap_or_default();
        let count = rest.read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

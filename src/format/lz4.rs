//! Legacy LZ4 frames (`lz4 -l`), the only ones that the kernel reads (`lib/decompress_unlz4.c`).
//!
//! A frame is a magic number and chunks, each preceded by its compressed length. It ends at the end of the file or at a
//! length of 0. There are no checksums. `lz4_flex` supports only the blocks inside. Refuses chunks that are too large for
//! the kernel's buffer.

use std::io::{self, BufRead, Read, Write};

/// Magic number.
pub(crate) const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Uncompressed size of a chunk in bytes: the size of the kernel's buffer (`LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE`).
pub(crate) const CHUNK: usize = 8 << 20;
/// Maximum size of a compressed chunk in bytes: `LZ4_compressBound` of [`CHUNK`].
pub(crate) const BOUND: usize = CHUNK + CHUNK / 255 + 16;

/// Error for a chunk that is too large for the kernel's buffer.
#[derive(Debug, thiserror::Error)]
#[error("LZ4 chunk of {0} bytes is too large: 8 MiB of data compress to at most {BOUND} bytes")]
pub struct OversizedChunk(u32);

/// Decoder of a frame.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    input: R,
    packed: Vec<u8>,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the magic number.
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        input.read_exact(&mut [0; 4])?;
        Ok(Self { input, packed: Vec::new(), chunk: Vec::new(), at: 0, ended: false })
    }

    /// Decodes the next chunk. Another magic number starts another frame.
    fn next_chunk(&mut self) -> io::Result<()> {
        self.at = 0;
        self.chunk.clear();
        let mut len = MAGIC;
        while len == MAGIC {
            if self.input.fill_buf()?.is_empty() {
                self.ended = true;
                return Ok(());
            }
            self.input.read_exact(&mut len)?;
        }
        let size = u32::from_le_bytes(len);
        if size == 0 {
            self.ended = true;
            return Ok(());
        }
        if size as usize > BOUND {
            return Err(io::Error::new(io::ErrorKind::InvalidData, OversizedChunk(size)));
        }
        self.packed.resize(size as usize, 0);
        self.input.read_exact(&mut self.packed)?;
        self.chunk.resize(CHUNK, 0);
        let unpacked = lz4_flex::block::decompress_into(&self.packed, &mut self.chunk).map_err(io::Error::other)?;
        self.chunk.truncate(unpacked);
        Ok(())
    }
}

impl<R: BufRead> Read for Reader<R> {
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

/// Encoder of a frame.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    out: W,
    chunk: Vec<u8>,
    started: bool,
}

impl<W: Write> Writer<W> {
    /// Writes nothing yet.
    pub(crate) fn new(out: W) -> Self {
        Self { out, chunk: Vec::new(), started: false }
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        if !self.started {
            self.out.write_all(&MAGIC)?;
            self.started = true;
        }
        if self.chunk.is_empty() {
            return Ok(());
        }
        let block = lz4_flex::block::compress(&self.chunk);
        let len = u32::try_from(block.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&block)?;
        self.chunk.clear();
        Ok(())
    }

    /// Writes the last chunk and returns the output.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_chunk()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..taken).unwrap_or(bytes));
        if self.chunk.len() == CHUNK {
            self.write_chunk()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

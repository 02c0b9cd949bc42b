//! Reproducible, streaming compression in formats that the kernel can decompress (`lib/decompress*.c`).
//!
//! xz streams have CRC32 checks, the only ones that the kernel supports (`Documentation/staging/xz.rst`). LZ4 uses the
//! legacy frame format, the only one that the kernel reads (`lib/decompress_unlz4.c`). `lz4_flex` does not write it, so
//! this module does.

use std::fs::File;
use std::io::{self, Write};

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use lzma_rust2::{CheckType, XzOptions, XzWriter};

use crate::output::Sink;

/// Magic number of a legacy LZ4 frame.
pub const LZ4_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// Uncompressed size of an LZ4 chunk in bytes: the size of the kernel's buffer
/// (`LZ4_DEFAULT_UNCOMPRESSED_CHUNK_SIZE`).
pub const LZ4_CHUNK: usize = 8 << 20;
/// The level with the best ratio of size to time, measured on initrds.
const ZSTD_LEVEL: i32 = 3;
/// Default of xz.
const XZ_PRESET: u32 = 6;
/// Default of gzip.
const GZIP_LEVEL: u32 = 6;

/// Compression format of an output (`--compress`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// No compression: no decompression at boot.
    #[default]
    None,
    /// gzip (Deflate).
    Gzip,
    /// Zstandard.
    Zstd,
    /// xz (LZMA2).
    Xz,
    /// LZ4 with legacy frames.
    Lz4,
}

impl Compression {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Zstd, Self::Xz, Self::Lz4];

    /// Returns the name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        }
    }

    /// Returns the kernel option that an initrd in this format requires, without `CONFIG_`.
    pub const fn config(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("RD_GZIP"),
            Self::Zstd => Some("RD_ZSTD"),
            Self::Xz => Some("RD_XZ"),
            Self::Lz4 => Some("RD_LZ4"),
        }
    }

    /// Returns a stream that compresses into `out`. The caller must call [`Compressor::finish`] at the end.
    pub fn writer<W: Sink>(self, out: W) -> io::Result<Compressor<W>> {
        let out = Counting { out, count: 0 };
        Ok(Compressor(match self {
            Self::None => Kind::None(out),
            Self::Gzip => {
                // A fixed operating system (255: unknown) and no time.
                let builder = GzBuilder::new().mtime(0).operating_system(255);
                Kind::Gzip(builder.write(out, flate2::Compression::new(GZIP_LEVEL)))
            }
            Self::Zstd => Kind::Zstd(zstd_writer(out)?),
            Self::Xz => {
                let mut options = XzOptions::with_preset(XZ_PRESET);
                options.set_check_sum_type(CheckType::Crc32);
                Kind::Xz(Box::new(XzWriter::new(out, options)?))
            }
            Self::Lz4 => Kind::Lz4(Lz4Writer { out, chunk: Vec::new(), started: false }),
        }))
    }
}

/// Returns a Zstandard encoder with checksums. The output is the same for any number of workers, except zero, so there
/// is always at least one.
fn zstd_writer<W: Write>(out: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    encoder.multithread(u32::try_from(workers).unwrap_or(1))?;
    Ok(encoder)
}

/// Compressing output stream.
#[derive(Debug)]
pub struct Compressor<W: Sink>(Kind<W>);

enum Kind<W: Sink> {
    None(Counting<W>),
    Gzip(GzEncoder<Counting<W>>),
    Zstd(zstd::Encoder<'static, Counting<W>>),
    Xz(Box<XzWriter<Counting<W>>>),
    Lz4(Lz4Writer<Counting<W>>),
}

impl<W: Sink> std::fmt::Debug for Kind<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None(_) => "none",
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
            Self::Xz(_) => "xz",
            Self::Lz4(_) => "lz4",
        })
    }
}

impl<W: Sink> Compressor<W> {
    /// Writes all buffered data. Returns the total number of compressed bytes.
    pub fn finish(self) -> io::Result<u64> {
        let mut out = match self.0 {
            Kind::None(out) => out,
            Kind::Gzip(encoder) => encoder.finish()?,
            Kind::Zstd(encoder) => encoder.finish()?,
            Kind::Xz(encoder) => encoder.finish()?,
            Kind::Lz4(encoder) => encoder.finish()?,
        };
        out.flush()?;
        Ok(out.count)
    }
}

impl<W: Sink> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::None(out) => out.write(bytes),
            Kind::Gzip(encoder) => encoder.write(bytes),
            Kind::Zstd(encoder) => encoder.write(bytes),
            Kind::Xz(encoder) => encoder.write(bytes),
            Kind::Lz4(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing, because a flush in the middle would change the output. [`Compressor::finish`] writes all data.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Sink> Sink for Compressor<W> {
    fn copy_from(&mut self, source: &File, len: u64) -> io::Result<u64> {
        match &mut self.0 {
            Kind::None(out) => {
                let copied = out.out.copy_from(source, len)?;
                out.count += copied;
                Ok(copied)
            }
            Kind::Gzip(_) | Kind::Zstd(_) | Kind::Xz(_) | Kind::Lz4(_) => Ok(0),
        }
    }
}

/// Output stream that counts bytes.
#[derive(Debug)]
struct Counting<W> {
    out: W,
    count: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writer of the legacy LZ4 frame: a magic number, then chunks, each preceded by its compressed length.
struct Lz4Writer<W> {
    out: W,
    chunk: Vec<u8>,
    started: bool,
}

impl<W: Write> Lz4Writer<W> {
    fn write_chunk(&mut self) -> io::Result<()> {
        if !self.started {
            self.out.write_all(&LZ4_MAGIC)?;
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

    fn finish(mut self) -> io::Result<W> {
        self.write_chunk()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Lz4Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(LZ4_CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..taken).unwrap_or(bytes));
        if self.chunk.len() == LZ4_CHUNK {
            self.write_chunk()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, LZ4_CHUNK};
    use std::io::Write;

    /// Returns pseudorandom bytes, which are not compressible.
    pub(crate) fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.flatten().take(len).collect()
    }

    fn compress(compression: Compression, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = compression.writer(&mut out).expect("a writer");
        for piece in bytes.chunks(piece) {
            writer.write_all(piece).expect("written");
        }
        let count = writer.finish().expect("finished");
        assert_eq!(count, out.len() as u64);
        out
    }

    #[test]
    fn the_output_does_not_depend_on_the_size_of_the_writes() {
        let bytes = [noise(300_000), vec![0; 300_000]].concat();
        for compression in Compression::ALL {
            let once = compress(compression, &bytes, bytes.len());
            assert!(once == compress(compression, &bytes, 4093), "{}", compression.name());
        }
    }

    #[test]
    fn an_incompressible_lz4_chunk_fits_in_the_kernels_buffer() {
        let out = compress(Compression::Lz4, &noise(LZ4_CHUNK + 1), 1 << 20);
        let first = u32::from_le_bytes([out[4], out[5], out[6], out[7]]) as usize;
        // `LZ4_compressBound` of the kernel's lib/lz4.
        assert!(first <= LZ4_CHUNK + LZ4_CHUNK / 255 + 16, "{first}");
    }
}

//! Compression formats: detection, decompression and reproducible compression, one table row per format.
//!
//! A new format needs a variant, an entry in `ALL`, a row, a decoder and an encoder, all in this file. Compressed initrds are limited
//! to what the kernel decompresses (`lib/decompress.c`): xz streams have CRC32 checks
//! (`Documentation/staging/xz.rst`), zstd windows are at most 128 MiB (`lib/decompress_unzstd.c`), and LZ4 uses the
//! legacy frame format. The decoders bound their memory.

mod counting;

use std::fmt;
use std::io::{self, BufRead, Cursor, Read, Write};

use flate2::GzBuilder;
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::write::GzEncoder;
use lzma_rust2::{CheckType, LzmaReader, XzOptions, XzReader, XzWriter};

use self::counting::Counting;
use super::lz4;
pub(crate) use super::stream::SizeLimited;

/// Default level of gzip.
const GZIP_LEVEL: u32 = 6;
/// The level with the best ratio of size to time, measured on initrds.
const ZSTD_LEVEL: i32 = 3;
/// Maximum window size of zstd, as a power of two: the limit of the kernel and of the `--ultra` levels.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Default level of xz.
const XZ_PRESET: u32 = 6;
/// Memory limit of the xz and lzma decoders, in KiB. Kernels use dictionaries of up to 128 MiB
/// (`xz --lzma2=dict=128MiB`).
const LZMA_MEMORY: u32 = 512 << 10;
/// Number of bytes that identify a format.
const MAGIC: u64 = 6;

/// Compression format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// No compression: no decompression at boot.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// The xz container format.
    Xz,
    /// LZ4 with legacy frames.
    Lz4,
    /// The format of lzma-utils (`.lzma`). Read only.
    Lzma,
    /// bzip2. Only detected.
    Bzip2,
    /// LZO, as written by lzop. Only detected.
    Lzo,
}

/// Part of its input that a decoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// One stream. Other data may follow it.
    First,
    /// All streams, up to the end of the input.
    All,
}

/// Properties of a format.
pub struct Properties {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// A file in this format, in a sentence: `a gzip file`.
    pub(crate) file: &'static str,
    /// Description for help texts.
    pub summary: &'static str,
    /// File name extension, without the dot.
    pub extension: &'static str,
    /// Kernel option that an initrd in this format requires, without `CONFIG_`.
    pub config: Option<&'static str>,
    /// True if checksums reveal damaged data, as compressed disk images require.
    pub(crate) has_checksum: bool,
    /// Command that decompresses a file in a format without a decoder here.
    pub(crate) unpack: Option<&'static str>,
    /// First bytes of a file.
    magic: &'static [u8],
    /// True if the decoder stops at the end of a stream, so that the next segment of an initrd can follow.
    stops_at_end: bool,
    /// True if the kernel reads an archive in this format up to the end of the initrd, so that only data in the same format
    /// can follow (`lib/decompress_unlz4.c`).
    pub(crate) extends_to_end: bool,
    decoder: Option<Decoder>,
    encoder: Option<Encoder>,
}

/// A format that is only detected: the defaults of the rows.
const DETECTED: Properties = Properties {
    name: "none",
    file: "a file that is not compressed",
    summary: "No compression",
    extension: "",
    config: None,
    has_checksum: true,
    unpack: None,
    magic: &[],
    stops_at_end: true,
    extends_to_end: false,
    decoder: None,
    encoder: None,
};

type Decoder = for<'a> fn(Box<dyn BufRead + 'a>, Streams) -> io::Result<Box<dyn Read + 'a>>;
type Encoder = for<'a> fn(Counted<'a>) -> io::Result<Box<dyn Encode<'a> + 'a>>;
type Counted<'a> = Counting<Box<dyn Write + 'a>>;

impl Compression {
    /// All formats. LZ4 is the last one that can be written: the kernel reads it to the end of an initrd, so nothing can
    /// follow it there.
    pub const ALL: [Self; 8] =
        [Self::None, Self::Gzip, Self::Zstd, Self::Xz, Self::Lz4, Self::Lzma, Self::Bzip2, Self::Lzo];

    /// Returns the table row of the format.
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub const fn properties(self) -> Properties {
        match self {
            Self::None => Properties { decoder: Some(|input, _| Ok(Box::new(input))), ..DETECTED },
            Self::Gzip => Properties {
                name: "gzip",
                file: "a gzip file",
                summary: "Most widely supported",
                extension: "gz",
                config: Some("RD_GZIP"),
                magic: &[0x1f, 0x8b],
                decoder: Some(gzip_decoder),
                encoder: Some(gzip_encoder),
                ..DETECTED
            },
            Self::Zstd => Properties {
                name: "zstd",
                file: "a zstd file",
                summary: "Fast",
                extension: "zst",
                config: Some("RD_ZSTD"),
                magic: &[0x28, 0xb5, 0x2f, 0xfd],
                decoder: Some(zstd_decoder),
                encoder: Some(zstd_encoder),
                ..DETECTED
            },
            Self::Xz => Properties {
                name: "xz",
                file: "an xz file",
                summary: "Small but slow",
                extension: "xz",
                config: Some("RD_XZ"),
                magic: b"\xfd7zXZ\0",
                decoder: Some(xz_decoder),
                encoder: Some(xz_encoder),
                ..DETECTED
            },
            Self::Lz4 => Properties {
                name: "lz4",
                file: "an lz4 file",
                summary: "Fastest but large",
                extension: "lz4",
                config: Some("RD_LZ4"),
                has_checksum: false,
                magic: &lz4::MAGIC,
                extends_to_end: true,
                decoder: Some(|input, _| Ok(Box::new(lz4::Reader::new(input)?))),
                encoder: Some(|out| Ok(Box::new(lz4::Writer::new(out)))),
                ..DETECTED
            },
            Self::Lzma => Properties {
                name: "lzma",
                file: "an lzma file",
                extension: "lzma",
                config: Some("RD_LZMA"),
                has_checksum: false,
                magic: &[0x5d, 0, 0],
                stops_at_end: false,
                decoder: Some(|input, _| Ok(Box::new(LzmaReader::new_mem_limit(input, LZMA_MEMORY, None)?))),
                ..DETECTED
            },
            Self::Bzip2 => Properties {
                name: "bzip2",
                file: "a bzip2 file",
                extension: "bz2",
                config: Some("RD_BZIP2"),
                magic: b"BZh",
                unpack: Some("bunzip2"),
                ..DETECTED
            },
            Self::Lzo => Properties {
                name: "LZO",
                file: "an lzop file",
                extension: "lzo",
                config: Some("RD_LZO"),
                magic: b"\x89LZO",
                unpack: Some("lzop -d"),
                ..DETECTED
            },
        }
    }

    /// Returns the formats that can be written.
    pub fn writable() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|this| *this == Self::None || this.properties().encoder.is_some())
    }

    /// Returns the formats of disk images that can be written.
    pub fn for_disks() -> impl Iterator<Item = Self> {
        Self::writable().filter(|this| this.properties().has_checksum)
    }

    /// Returns the format of a file by its first bytes.
    pub fn detect(start: &[u8]) -> Self {
        let matches = |this: &Self| *this != Self::None && start.starts_with(this.properties().magic);
        Self::ALL.into_iter().find(matches).unwrap_or_default()
    }

    /// Returns the format for a file name extension, without the dot.
    pub fn from_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|this| *this != Self::None && this.properties().extension == extension)
    }

    /// Returns the name on the command line.
    pub const fn name(self) -> &'static str {
        self.properties().name
    }

    /// Returns true if the format can be decompressed.
    pub(crate) const fn is_readable(self) -> bool {
        self.properties().decoder.is_some()
    }

    /// Returns true if segments of an initrd in this format can be read.
    pub fn reads_segments(self) -> bool {
        self != Self::None && self.is_readable() && self.properties().stops_at_end
    }

    /// Returns a reader of the decompressed data. Fails for formats that are only detected.
    pub(crate) fn reader<'a>(self, input: impl BufRead + 'a, streams: Streams) -> io::Result<Box<dyn Read + 'a>> {
        let unsupported = || io::Error::new(io::ErrorKind::Unsupported, format!("unsupported compression {self}"));
        self.properties().decoder.ok_or_else(unsupported)?(Box::new(input), streams)
    }

    /// Returns a stream that compresses into `out`. The caller must call [`Compressor::finish`] at the end. Fails for
    /// formats that are not [`writable`](Self::writable).
    pub fn writer<'a, W: Write + 'a>(self, out: W) -> io::Result<Compressor<'a, W>> {
        if self == Self::None {
            return Ok(Compressor(Output::Plain(Counting { inner: out, count: 0 })));
        }
        let unsupported = || io::Error::new(io::ErrorKind::Unsupported, format!("unsupported compression {self}"));
        let out = Counting { inner: Box::new(out) as Box<dyn Write + 'a>, count: 0 };
        Ok(Compressor(Output::Packed(self.properties().encoder.ok_or_else(unsupported)?(out)?)))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::None { "not compressed" } else { self.name() })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "all rows of the table have one signature")]
fn gzip_decoder<'a>(input: Box<dyn BufRead + 'a>, streams: Streams) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match streams {
        Streams::First => Box::new(GzDecoder::new(input)),
        Streams::All => Box::new(MultiGzDecoder::new(input)),
    })
}

#[expect(clippy::unnecessary_wraps, reason = "all rows of the table have one signature")]
fn gzip_encoder<'a>(out: Counted<'a>) -> io::Result<Box<dyn Encode<'a> + 'a>> {
    // A fixed operating system (255: unknown) and no time.
    let builder = GzBuilder::new().mtime(0).operating_system(255);
    Ok(Box::new(builder.write(out, flate2::Compression::new(GZIP_LEVEL))))
}

fn zstd_decoder<'a>(input: Box<dyn BufRead + 'a>, streams: Streams) -> io::Result<Box<dyn Read + 'a>> {
    let mut decoder = zstd::Decoder::with_buffer(input)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(Box::new(match streams {
        Streams::First => decoder.single_frame(),
        Streams::All => decoder,
    }))
}

/// The output is the same for any number of workers, except zero, so there is always at least one.
fn zstd_encoder<'a>(out: Counted<'a>) -> io::Result<Box<dyn Encode<'a> + 'a>> {
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    encoder.multithread(u32::try_from(workers).unwrap_or(1))?;
    Ok(Box::new(encoder))
}

#[expect(clippy::unnecessary_wraps, reason = "all rows of the table have one signature")]
fn xz_decoder<'a>(input: Box<dyn BufRead + 'a>, streams: Streams) -> io::Result<Box<dyn Read + 'a>> {
    Ok(Box::new(XzReader::new_mem_limit(input, streams == Streams::All, LZMA_MEMORY)))
}

fn xz_encoder<'a>(out: Counted<'a>) -> io::Result<Box<dyn Encode<'a> + 'a>> {
    let mut options = XzOptions::with_preset(XZ_PRESET);
    options.set_check_sum_type(CheckType::Crc32);
    Ok(Box::new(XzWriter::new(out, options)?))
}

/// Reader that detects the compression of its input and decompresses all streams in it, up to a size limit.
pub(crate) struct DecompressReader<'a> {
    compression: Compression,
    inner: SizeLimited<Box<dyn Read + 'a>>,
}

impl<'a> DecompressReader<'a> {
    /// Reads the first bytes of `input`. Limit of the decompressed size: `limit` bytes.
    pub(crate) fn new(mut input: impl BufRead + 'a, limit: u64) -> io::Result<Self> {
        let mut start = Vec::new();
        input.by_ref().take(MAGIC).read_to_end(&mut start)?;
        let compression = Compression::detect(&start);
        let inner = compression.reader(Cursor::new(start).chain(input), Streams::All)?;
        Ok(Self { compression, inner: SizeLimited::new(inner, limit) })
    }

    /// Returns the detected format.
    pub(crate) const fn compression(&self) -> Compression {
        self.compression
    }
}

impl Read for DecompressReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

/// Compressing output stream.
pub struct Compressor<'a, W: Write>(Output<'a, W>);

enum Output<'a, W: Write> {
    Plain(Counting<W>),
    Packed(Box<dyn Encode<'a> + 'a>),
}

impl<W: Write> Compressor<'_, W> {
    /// Returns the output if it is not compressed; others may then write to it directly.
    pub(crate) fn uncompressed(&mut self) -> Option<&mut Counting<W>> {
        match &mut self.0 {
            Output::Plain(out) => Some(out),
            Output::Packed(_) => None,
        }
    }

    /// Writes all buffered data. Returns the total number of compressed bytes.
    pub fn finish(self) -> io::Result<u64> {
        match self.0 {
            Output::Plain(mut out) => out.flush().map(|()| out.count),
            Output::Packed(encoder) => {
                let mut out = encoder.finish()?;
                out.flush().map(|()| out.count)
            }
        }
    }
}

impl<W: Write> Write for Compressor<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Output::Plain(out) => out.write(bytes),
            Output::Packed(encoder) => encoder.write(bytes),
        }
    }

    /// Does nothing, because a flush in the middle would change the output. [`Compressor::finish`] writes all data.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An encoder of any format.
trait Encode<'a>: Write {
    /// Writes all buffered data and returns the output.
    fn finish(self: Box<Self>) -> io::Result<Counted<'a>>;
}

macro_rules! impl_encode {
    ($($encoder:ty),+) => {$(
        impl<'a> Encode<'a> for $encoder {
            fn finish(self: Box<Self>) -> io::Result<Counted<'a>> {
                (*self).finish()
            }
        }
    )+};
}
impl_encode!(
    GzEncoder<Counted<'a>>,
    zstd::Encoder<'static, Counted<'a>>,
    XzWriter<Counted<'a>>,
    lz4::Writer<Counted<'a>>
);

#[cfg(test)]
mod tests {
    use super::{Compression, DecompressReader};
    use crate::format::lz4::CHUNK;
    use std::io::{Read, Write};

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
        for compression in Compression::writable() {
            let once = compress(compression, &bytes, bytes.len());
            assert!(once == compress(compression, &bytes, 4093), "{}", compression.name());
        }
    }

    #[test]
    fn an_incompressible_lz4_chunk_fits_in_the_kernels_buffer() {
        let out = compress(Compression::Lz4, &noise(CHUNK + 1), 1 << 20);
        let first = u32::from_le_bytes([out[4], out[5], out[6], out[7]]) as usize;
        // `LZ4_compressBound` of the kernel's lib/lz4.
        assert!(first <= CHUNK + CHUNK / 255 + 16, "{first}");
    }

    const LIMIT: u64 = 1 << 20;

    fn unpack(bytes: &[u8], limit: u64) -> std::io::Result<Vec<u8>> {
        let mut unpacked = Vec::new();
        DecompressReader::new(bytes, limit)?.read_to_end(&mut unpacked)?;
        Ok(unpacked)
    }

    /// Compresses with all formats of files that are kept.
    fn packed(bytes: &[u8]) -> [(&'static str, Vec<u8>); 3] {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(bytes).expect("compressed");
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).expect("a writer");
        xz.write_all(bytes).expect("compressed");
        let mut zst = zstd::Encoder::new(Vec::new(), 1).expect("a writer");
        zst.include_checksum(true).expect("set");
        zst.write_all(bytes).expect("compressed");
        [
            ("gz", gz.finish().expect("finished")),
            ("xz", xz.finish().expect("finished")),
            ("zst", zst.finish().expect("finished")),
        ]
    }

    #[test]
    fn each_format_is_decompressed_and_plain_data_is_unchanged() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (name, packed) in packed(&bytes) {
            assert_eq!(unpack(&packed, LIMIT).expect(name), bytes, "{name}");
        }
        assert_eq!(unpack(&bytes, LIMIT).expect("plain"), bytes);
    }

    #[test]
    fn oversized_damaged_and_truncated_data_is_refused() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (name, packed) in packed(&bytes) {
            assert!(unpack(&packed, 399_999).is_err(), "{name}: too large");
            assert!(unpack(&packed[..packed.len() / 2], LIMIT).is_err(), "{name}: truncated");
            let mut damaged = packed;
            let middle = damaged.len() / 2;
            damaged[middle] ^= 0x55;
            assert!(unpack(&damaged, LIMIT).is_err(), "{name}: damaged");
        }
    }
}

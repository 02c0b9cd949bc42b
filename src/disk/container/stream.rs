//! Compressed raw images, looked at and rewritten as streams: gzip, xz, zstd.
//!
//! The first 2 MiB of the disk are held, where its boot record and partition tables are; everything behind goes from one
//! stream into the other, so a few MiB of memory do for any size, and for whatever claims to become any size. Refuses
//! what is not a raw disk inside, dictionaries of more than 128 MiB (zstd) or 512 MiB (xz), and streams that are cut short or followed by
//! something else.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::{
    Access, agree,
    content::{Content, Squeeze},
    error::ImageError,
    open_file,
};
use crate::{
    format::compression::Compression,
    output::{WriteError, file::Output},
};

/// Bytes of the disk that are held: more than any partition table needs.
const BEGIN: u64 = 2 << 20;
/// Bytes read and written at once.
const PIECE: usize = 256 * 1024;
/// Largest dictionary of zstd, as a power of two: that of its `--ultra` levels.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Largest memory for xz, in KiB, also where an image is booted.
pub const XZ_MEMORY_KIB: u32 = 512 * 1024;

/// A compressed image, unpacked as far as its begin.
pub struct Squeezed {
    name: String,
    squeeze: Squeeze,
    begin: Vec<u8>,
    rest: Box<dyn Read>,
}

/// Why an image cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It cannot be opened.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The stream is damaged or cut short.
    #[error("unpacking {name}")]
    Unpack {
        /// The image.
        name: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// The new one cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Opens a compressed image and unpacks its begin.
pub fn open(path: &Path, squeeze: Squeeze) -> Result<Squeezed, StreamError> {
    let name = path.display().to_string();
    let file = open_file(path, Access::Read, false);
    let file = file.map_err(|source| ImageError::Open { name: name.clone(), source })?;
    agree(&file, &name, Access::Read)?;
    let unpack = |source| StreamError::Unpack { name: name.clone(), source };
    let mut rest = decoder(file, squeeze).map_err(unpack)?;
    let mut begin = Vec::new();
    rest.by_ref().take(BEGIN).read_to_end(&mut begin).map_err(unpack)?;
    match Content::by_head(&begin) {
        // A VHD begins with the disk's bytes, and its footer goes through as it is.
        None | Some(Content::Raw | Content::Vhd) => Ok(Squeezed { name, squeeze, begin, rest }),
        Some(content @ (Content::Qcow2 | Content::Compressed(_) | Content::Foreign(_))) => {
            Err(ImageError::Inside { name, outer: Content::Compressed(squeeze), content }.into())
        }
    }
}

fn decoder(file: File, squeeze: Squeeze) -> io::Result<Box<dyn Read>> {
    let input = BufReader::with_capacity(PIECE, file);
    Ok(match squeeze {
        Squeeze::Gzip => Box::new(MultiGzDecoder::new(input)),
        Squeeze::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        Squeeze::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

impl Squeezed {
    /// The disk's first bytes, 2 MiB or all there are.
    pub fn begin(&self) -> &[u8] {
        &self.begin
    }

    /// How it is compressed.
    pub const fn squeeze(&self) -> Squeeze {
        self.squeeze
    }

    /// Writes the image anew, with `first` as the disk's first bytes, compressed as it was; says how many bytes the disk
    /// has. The new one appears whole, synced, or not at all, so it may replace the old one.
    pub fn rewrite(mut self, first: &[u8], to: &Path) -> Result<u64, StreamError> {
        let mut output = Output::create(to)?;
        let name = output.name().to_owned();
        let writing = |source| WriteError::Output { name: name.clone(), source };
        let compression = match self.squeeze {
            Squeeze::Gzip => Compression::Gzip,
            Squeeze::Xz => Compression::Xz,
            Squeeze::Zstd => Compression::Zstd,
        };
        let mut sink = compression.writer(output.file()).map_err(writing)?;
        let kept = self.begin.get(first.len()..).unwrap_or_default();
        sink.write_all(first).and_then(|()| sink.write_all(kept)).map_err(writing)?;
        let mut size = (first.len() + kept.len()) as u64;
        let mut piece = vec![0; PIECE];
        loop {
            let count = match self.rest.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(StreamError::Unpack { name: self.name, source }),
            };
            sink.write_all(piece.get(..count).unwrap_or_default()).map_err(writing)?;
            size += count as u64;
        }
        sink.finish().map_err(writing)?;
        match output.file().sync_all() {
            // A pipe or a terminal has nothing to be synced.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced.map_err(writing)?,
        }
        output.finish()?;
        Ok(size)
    }
}

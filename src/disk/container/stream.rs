//! Reads and rewrites compressed raw images (gzip, xz, zstd) as streams.
//!
//! Keeps the first 2 MiB of the disk in memory, with its boot record and partition tables. The rest is copied from one
//! stream to the other, so a few MiB of memory suffice for a disk of any size. Refuses anything but a raw disk inside,
//! truncated streams, and streams followed by other data.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use super::{Access, content::Content, error::ImageError, open_file, take_locks};
use crate::{
    format::compression::{Compression, Streams},
    output::{WriteError, file::Output},
};

/// Bytes of the disk kept in memory: more than any partition table needs.
const BEGIN: u64 = 2 << 20;
/// Bytes per read and write.
const PIECE: usize = 256 * 1024;

/// A compressed image whose first 2 MiB are decompressed.
pub struct Squeezed {
    compression: Compression,
    name: String,
    begin: Vec<u8>,
    rest: Box<dyn Read>,
}

/// Error from rewriting an image.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The image cannot be opened.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The stream is damaged or truncated.
    #[error("failed to decompress {name}")]
    Unpack {
        /// Image file.
        name: String,
        /// Error from the decoder.
        source: io::Error,
    },
    /// The new image cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Opens a compressed image and decompresses its first 2 MiB.
pub fn open(path: &Path, compression: Compression) -> Result<Squeezed, StreamError> {
    let name = path.display().to_string();
    let file = open_file(path, Access::Read, false);
    let file = file.map_err(|source| ImageError::Open { name: name.clone(), source })?;
    take_locks(&file, &name, Access::Read)?;
    let unpack = |source| StreamError::Unpack { name: name.clone(), source };
    let input = BufReader::with_capacity(PIECE, file);
    let mut rest = compression.reader(input, Streams::All).map_err(unpack)?;
    let mut begin = Vec::new();
    rest.by_ref().take(BEGIN).read_to_end(&mut begin).map_err(unpack)?;
    match Content::by_head(&begin) {
        // A fixed VHD starts with the disk content; its footer is copied unchanged.
        None | Some(Content::Raw | Content::Vhd) => Ok(Squeezed { compression, name, begin, rest }),
        Some(content @ (Content::Qcow2 | Content::Compressed(_) | Content::Foreign(_))) => {
            Err(ImageError::Inside { name, outer: Content::Compressed(compression), content }.into())
        }
    }
}

impl Squeezed {
    /// Returns the first 2 MiB of the disk, or all of a smaller one.
    pub fn begin(&self) -> &[u8] {
        &self.begin
    }

    /// Writes the image to `to` with `first` as the first bytes of the disk, in the same compression. Returns the size
    /// of the disk in bytes. `to` appears complete and synced, or not at all, so that it may replace the old image.
    pub fn rewrite(mut self, first: &[u8], to: &Path) -> Result<u64, StreamError> {
        let mut output = Output::create(to)?;
        let name = output.name().to_owned();
        let writing = |source| WriteError::Output { name: name.clone(), source };
        let mut sink = self.compression.writer(output.file()).map_err(writing)?;
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
            // A pipe or a terminal cannot be synced.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced.map_err(writing)?,
        }
        output.finish()?;
        Ok(size)
    }
}

//! Output of an image: into a sparse file or through a compressor, with checksums.

use std::fs::File;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::{
    format::compression::Compression,
    output::{
        Sink, WriteError,
        extents::{ExtentError, Extents},
        file::Output,
    },
};

/// Error from writing an image.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// A source cannot be read.
    #[error(transparent)]
    Extent(ExtentError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] WriteError),
}

/// Size and checksums of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// File size in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, if requested.
    pub digest: Option<[u8; 32]>,
    /// SHA-256 of the uncompressed image, if requested and if the file is compressed.
    pub inner: Option<[u8; 32]>,
}

/// Writes an image. The caller must finish the output, after all other checks have passed.
pub fn emit(
    image: &Extents,
    output: &mut Output,
    compression: Compression,
    digests: bool,
) -> Result<Emitted, EmitError> {
    let name = output.name().to_owned();
    let failed = |source| EmitError::Output(WriteError::Archive(source).named(&name));
    let named = |error| match error {
        ExtentError::Output(source) => failed(source),
        ExtentError::Source { .. } | ExtentError::Changed { .. } | ExtentError::Rewritten(_) => {
            EmitError::Extent(error)
        }
    };
    let emitted = if compression == Compression::None {
        if output.is_new_file() {
            image.write_sparse(output.file()).map_err(named)?;
        } else {
            image.write_to(output.file()).map_err(named)?;
        }
        let digest = if digests { Some(digest(image).map_err(named)?) } else { None };
        Emitted { bytes: image.size(), digest, inner: None }
    } else {
        let mut outer = Hashed::new(output.file(), digests);
        let mut inner = Hashed::new(compression.writer(&mut outer).map_err(failed)?, digests);
        image.write_to(&mut inner).map_err(named)?;
        let (inner_digest, compressor) = inner.finish();
        let bytes = compressor.finish().map_err(failed)?;
        let (digest, _) = outer.finish();
        Emitted { bytes, digest, inner: inner_digest }
    };
    // GUIDs, signatures and checksums were computed from the earlier contents.
    image.unchanged().map_err(named)?;
    Ok(emitted)
}

/// Returns the SHA-256 of an image, including zeros.
fn digest(image: &Extents) -> Result<[u8; 32], ExtentError> {
    let mut hashed = Hashed::new(io::sink(), true);
    image.write_to(&mut hashed)?;
    Ok(hashed.finish().0.unwrap_or_default())
}

/// Output stream that hashes its bytes.
struct Hashed<W> {
    out: W,
    hasher: Option<Sha256>,
}

impl<W> Hashed<W> {
    fn new(out: W, wanted: bool) -> Self {
        Self { out, hasher: wanted.then(Sha256::new) }
    }

    fn finish(self) -> (Option<[u8; 32]>, W) {
        (self.hasher.map(|hasher| hasher.finalize().into()), self.out)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..written]);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Sink for Hashed<W> {
    fn copy_from(&mut self, _: &File, _: u64) -> io::Result<u64> {
        // Bytes that the kernel copies could not be hashed.
        Ok(0)
    }
}

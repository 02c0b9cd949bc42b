//! Extents: a sparse file as a list of ranges, whose bytes are in memory or in other files. Gaps are zeros.
//!
//! Disk images, EFI programs and container files are lists of extents. Placing an image in a container moves extents,
//! not bytes. Source files are read only when the result is written or hashed, possibly more than once. If a source
//! file changes in the meantime, the result is an error that names the file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::SeekFrom;

use super::Sink;
use crate::format::ReadAt;

/// Maximum number of bytes per read.
const CHUNK: u64 = 1 << 20;
/// Maximum length in bytes of files that are read into memory instead of being kept open.
const SMALL: u64 = 64 << 10;

/// Error from reading or writing extents.
#[derive(Debug, thiserror::Error)]
pub enum ExtentError {
    /// A source cannot be read.
    #[error("failed to read {}", path.display())]
    Source {
        /// File on the host.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A source has become shorter.
    #[error("failed to read {}: the file changed while the image was built: expected {planned} bytes, found {found}", path.display())]
    Changed {
        /// File on the host.
        path: PathBuf,
        /// Byte offset of the end of the requested range.
        planned: u64,
        /// Byte offset of the end of the file.
        found: u64,
    },
    /// A source was modified, so the written bytes may differ from the hashed bytes.
    #[error("failed to read {}: the file changed while the image was built", .0.display())]
    Rewritten(PathBuf),
    /// The output cannot be written.
    #[error("failed to write the image")]
    Output(#[source] io::Error),
}

/// Open source file of extents.
#[derive(Debug)]
pub struct SourceFile {
    /// File. One thread reads it, at explicit offsets or after a seek.
    pub(crate) file: File,
    /// Path, for messages.
    pub(crate) path: PathBuf,
    /// Length in bytes when the file was opened.
    pub len: u64,
    /// State when the file was opened, for detecting changes.
    state: State,
}

/// Length of a file, and its last modification and status change: seconds, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl State {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            // Programs that preserve times can reset the modification time, but not this one.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl SourceFile {
    /// Wraps an open file.
    pub fn new(file: File, path: PathBuf) -> io::Result<Arc<Self>> {
        let state = State::of(&file)?;
        Ok(Arc::new(Self { file, path, len: state.len, state }))
    }

    /// Opens a file.
    pub fn open(path: &std::path::Path) -> io::Result<Arc<Self>> {
        Self::new(File::open(path)?, path.to_owned())
    }

    /// Returns an error if the file has changed since it was opened.
    fn unchanged(&self) -> Result<(), ExtentError> {
        let now = State::of(&self.file).map_err(|source| self.failed(source))?;
        if now == self.state { Ok(()) } else { Err(ExtentError::Rewritten(self.path.clone())) }
    }

    fn failed(&self, source: io::Error) -> ExtentError {
        ExtentError::Source { path: self.path.clone(), source }
    }

    fn changed(&self, planned: u64, found: u64) -> ExtentError {
        ExtentError::Changed { path: self.path.clone(), planned, found }
    }
}

/// Source of bytes.
#[derive(Debug, Clone)]
pub enum Source {
    /// Memory.
    Bytes(Arc<[u8]>),
    /// A file.
    File(Arc<SourceFile>),
}

/// Range of bytes.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// Byte offset in the file that the extents form.
    pub(crate) at: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Source of the bytes.
    pub(crate) source: Source,
    /// Byte offset in the source.
    pub(crate) from: u64,
}

impl Extent {
    /// Returns the offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.at.saturating_add(self.len)
    }
}

/// Callback that receives offsets and bytes.
type Taker<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), ExtentError>;

/// Sparse file as a list of extents, sorted by offset and without overlap. Gaps are zeros.
#[derive(Debug, Clone, Default)]
pub struct Extents {
    size: u64,
    list: Vec<Extent>,
}

impl Extents {
    /// Creates a file of `size` zeros.
    pub fn new(size: u64) -> Self {
        Self { size, list: Vec::new() }
    }

    /// Returns the extents of a complete file. Omits holes if the file system reports them.
    pub fn of_file(file: &Arc<SourceFile>) -> Self {
        let mut extents = Self::new(file.len);
        let mut at = 0;
        while at < file.len {
            // If the file system does not report holes, or the file has just changed, use one extent up to the end.
            let start = match rustix::fs::seek(&file.file, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(rustix::io::Errno::NXIO) => break,
                Err(_) => at,
            };
            let end = rustix::fs::seek(&file.file, SeekFrom::Hole(start)).unwrap_or(file.len);
            let end = if end > start { end.min(file.len) } else { file.len };
            if start < end {
                extents.add(start, end - start, Source::File(Arc::clone(file)), start);
            }
            at = end.max(at + 1);
        }
        extents
    }

    /// Returns the extents of the file at `path`. Reads and closes small files, so that any number of them can be used.
    pub fn of_path(path: &std::path::Path) -> io::Result<Self> {
        let file = SourceFile::open(path)?;
        if file.len > SMALL {
            return Ok(Self::of_file(&file));
        }
        let mut bytes = vec![0; as_length(file.len)];
        file.file.read_exact_at(&mut bytes, 0)?;
        let mut extents = Self::new(0);
        extents.add_bytes(0, bytes);
        Ok(extents)
    }

    /// Returns the total size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the extents, sorted by offset.
    pub(crate) fn list(&self) -> &[Extent] {
        &self.list
    }

    /// Adds `len` bytes of `source`, starting at its byte `from`, at offset `at`. The range must be free.
    pub fn add(&mut self, at: u64, len: u64, source: Source, from: u64) {
        if len == 0 {
            return;
        }
        let place = self.list.partition_point(|other| other.at < at);
        let new = Extent { at, len, source, from };
        debug_assert!(place == 0 || self.list[place - 1].end() <= at, "extents overlap");
        debug_assert!(self.list.get(place).is_none_or(|next| new.end() <= next.at), "extents overlap");
        self.size = self.size.max(new.end());
        self.list.insert(place, new);
    }

    /// Adds bytes at offset `at`. Omits blocks of zeros.
    pub(crate) fn add_bytes(&mut self, at: u64, bytes: impl Into<Arc<[u8]>>) {
        /// Granularity of holes: the block size of most file systems.
        const BLOCK: usize = 4096;
        let bytes: Arc<[u8]> = bytes.into();
        self.size = self.size.max(at + bytes.len() as u64);
        let used = |block: &[u8]| block.iter().any(|byte| *byte != 0);
        let mut start = None;
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            match (start, used(block)) {
                (None, true) => start = Some(number * BLOCK),
                (Some(from), false) => {
                    self.add(
                        at + from as u64,
                        (number * BLOCK - from) as u64,
                        Source::Bytes(bytes.clone()),
                        from as u64,
                    );
                    start = None;
                }
                (None, false) | (Some(_), true) => {}
            }
        }
        if let Some(from) = start {
            self.add(at + from as u64, (bytes.len() - from) as u64, Source::Bytes(bytes.clone()), from as u64);
        }
    }

    /// Adds all extents of `other`, shifted by `at`.
    pub(crate) fn add_all(&mut self, at: u64, other: &Self) {
        self.size = self.size.max(at + other.size);
        for extent in &other.list {
            self.add(at + extent.at, extent.len, extent.source.clone(), extent.from);
        }
    }

    /// Returns the runs of blocks of `block` bytes that contain data, as pairs of start and end offset.
    pub(crate) fn runs(&self, block: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for extent in &self.list {
            let (start, end) = (extent.at / block * block, extent.end().div_ceil(block) * block);
            match runs.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => runs.push((start, end)),
            }
        }
        runs
    }

    /// Writes the complete file, including zeros, to a stream.
    pub fn write_to(&self, out: &mut impl Sink) -> Result<(), ExtentError> {
        let mut at = 0;
        for extent in &self.list {
            zeros(out, extent.at - at).map_err(ExtentError::Output)?;
            extent.write_to(out)?;
            at = extent.end();
        }
        zeros(out, self.size - at).map_err(ExtentError::Output)
    }

    /// Writes only the extents to a new, empty file. The gaps become holes.
    pub(crate) fn write_sparse(&self, file: &mut File) -> Result<(), ExtentError> {
        use std::io::Seek;
        for extent in &self.list {
            file.seek(io::SeekFrom::Start(extent.at)).map_err(ExtentError::Output)?;
            extent.write_to(file)?;
        }
        file.set_len(self.size).map_err(ExtentError::Output)
    }

    /// Returns an error if a source file has changed since it was opened. A caller that reads the sources twice, to
    /// hash and to write them, must call this at the end.
    pub fn unchanged(&self) -> Result<(), ExtentError> {
        let mut asked: Vec<*const SourceFile> = Vec::new();
        for extent in &self.list {
            if let Source::File(file) = &extent.source
                && !asked.contains(&Arc::as_ptr(file))
            {
                file.unchanged()?;
                asked.push(Arc::as_ptr(file));
            }
        }
        Ok(())
    }

    /// Calls `taker` with the offset and the bytes of all extents, in order.
    pub(crate) fn each(&self, taker: &mut dyn FnMut(u64, &[u8])) -> Result<(), ExtentError> {
        self.list.iter().try_for_each(|extent| {
            extent.each(&mut |at, bytes| {
                taker(at, bytes);
                Ok(())
            })
        })
    }
}

impl Extent {
    fn write_to(&self, out: &mut impl Sink) -> Result<(), ExtentError> {
        let mut done = 0;
        if let Source::File(file) = &self.source {
            // The kernel copies as much as it can; the code below copies the rest.
            rustix::fs::seek(&file.file, SeekFrom::Start(self.from)).map_err(|errno| file.failed(errno.into()))?;
            while done < self.len {
                match out.copy_from(&file.file, self.len - done).map_err(ExtentError::Output)? {
                    0 => break,
                    copied => done += copied,
                }
            }
        }
        let rest =
            Self { at: self.at + done, len: self.len - done, source: self.source.clone(), from: self.from + done };
        rest.each(&mut |_, bytes| out.write_all(bytes).map_err(ExtentError::Output))
    }

    /// Calls `taker` with offsets and bytes, in order.
    fn each(&self, taker: Taker<'_>) -> Result<(), ExtentError> {
        match &self.source {
            Source::Bytes(bytes) => {
                let (from, len) = (as_length(self.from), as_length(self.len));
                taker(self.at, bytes.get(from..from + len).expect("an extent is within its source"))
            }
            Source::File(file) => {
                let mut buffer = vec![0; as_length(self.len.min(CHUNK))];
                let mut done = 0;
                while done < self.len {
                    let part = &mut buffer[..as_length((self.len - done).min(CHUNK))];
                    let offset = self.from + done;
                    let read = match FileExt::read_at(&file.file, part, offset) {
                        Ok(0) => return Err(file.changed(self.from + self.len, offset)),
                        Ok(read) => read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => return Err(file.failed(error)),
                    };
                    taker(self.at + done, &part[..read])?;
                    done += read as u64;
                }
                Ok(())
            }
        }
    }
}

impl ReadAt for Extents {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.fill(0);
        let first = self.list.partition_point(|extent| extent.end() <= offset);
        for extent in self.list[first..].iter().take_while(|extent| extent.at < end) {
            let (start, stop) = (extent.at.max(offset), extent.end().min(end));
            let part = &mut buffer[as_length(start - offset)..as_length(stop - offset)];
            let from = extent.from + (start - extent.at);
            match &extent.source {
                Source::Bytes(bytes) => bytes.as_ref().read_at(part, from)?,
                Source::File(file) => file.file.read_exact_at(part, from)?,
            }
        }
        Ok(())
    }
}

/// Converts the length of data in memory.
fn as_length(len: u64) -> usize {
    usize::try_from(len).expect("a length in memory")
}

fn zeros(out: &mut impl Write, mut len: u64) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    while len > 0 {
        let part = ZEROS.get(..as_length(len.min(ZEROS.len() as u64))).unwrap_or(&ZEROS);
        out.write_all(part)?;
        len -= part.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ExtentError, Extents, Source, SourceFile};
    use crate::format::ReadAt;
    use proptest::prelude::{any, proptest};
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    fn file(bytes: &[u8]) -> std::sync::Arc<SourceFile> {
        let named = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(named.path(), bytes).expect("written");
        SourceFile::open(named.path()).expect("open")
    }

    fn sample() -> Extents {
        let mut extents = Extents::new(20_000);
        extents.add(9000, 3, Source::File(file(b"abcdef")), 2);
        extents.add_bytes(0, [vec![0; 4096], vec![1; 10], vec![0; 4086]].concat());
        extents
    }

    #[test]
    fn streams_and_sparse_files_have_the_same_contents() {
        let extents = sample();
        let mut expected = vec![0; 20_000];
        expected[4096..4106].fill(1);
        expected[9000..9003].copy_from_slice(b"cde");
        let mut stream = Vec::new();
        extents.write_to(&mut stream).expect("written");
        assert!(stream == expected);
        let mut sparse = tempfile::tempfile().expect("a file");
        extents.write_sparse(&mut sparse).expect("written");
        std::io::Seek::rewind(&mut sparse).expect("rewound");
        let mut read = Vec::new();
        sparse.read_to_end(&mut read).expect("read");
        assert!(read == expected);
        let mut at = vec![9; 6000];
        extents.read_at(&mut at, 4000).expect("read");
        assert!(at == expected[4000..10_000]);
        assert!(extents.read_at(&mut at, 14_001).is_err());
    }

    #[test]
    fn a_file_rewritten_with_the_same_length_and_modification_time_is_detected() {
        let named = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(named.path(), b"before").expect("written");
        let extents = Extents::of_file(&SourceFile::open(named.path()).expect("open"));
        extents.unchanged().expect("unchanged");
        let times = || named.as_file().metadata().map(|file| (file.modified(), (file.ctime(), file.ctime_nsec())));
        let (modified, changed) = times().expect("metadata");
        // The resolution of the kernel's file timestamps is a tick.
        while times().expect("metadata").1 == changed {
            std::fs::write(named.path(), b"after!").expect("written");
        }
        named.as_file().set_modified(modified.expect("a time")).expect("a time");
        let error = extents.unchanged().expect_err("changed");
        assert!(matches!(&error, ExtentError::Rewritten(path) if path == named.path()), "{error}");
    }

    #[test]
    fn zeros_in_memory_and_holes_in_files_are_omitted() {
        let places: Vec<_> = sample().list().iter().map(|extent| (extent.at, extent.len)).collect();
        assert_eq!(places, [(4096, 4096), (9000, 3)]);
        assert_eq!(sample().runs(4096), [(4096, 12_288)]);
        let holed = tempfile::NamedTempFile::new().expect("a file");
        holed.as_file().set_len(1 << 20).expect("a hole");
        std::os::unix::fs::FileExt::write_all_at(holed.as_file(), b"x", 1 << 19).expect("written");
        let source = SourceFile::open(holed.path()).expect("open");
        let extents = Extents::of_file(&source);
        assert_eq!(extents.size(), 1 << 20);
        let mut written = Vec::new();
        extents.write_to(&mut written).expect("written");
        assert!(written == std::fs::read(holed.path()).expect("read"));
    }

    #[test]
    fn a_source_that_became_shorter_is_an_error() {
        let source = file(b"short");
        let mut extents = Extents::new(0);
        extents.add(0, 8, Source::File(source), 0);
        let error = extents.write_to(&mut Vec::new()).expect_err("too short");
        assert!(matches!(error, ExtentError::Changed { planned: 8, found: 5, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn added_bytes_are_written_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..300), pad in 0usize..9000, at in 0u64..5000) {
            let all = [vec![0; pad], bytes].concat();
            let mut extents = Extents::new(0);
            extents.add_bytes(at, all.clone());
            let mut written = Vec::new();
            extents.write_to(&mut written).expect("written");
            assert!(written[at as usize..] == all);
        }
    }
}

//! A large thing in pieces: which bytes stand where, in memory or in files, with nothing (zeros) between them.
//!
//! Disk images, EFI programs and the containers around them are all such lists; a container is made by moving pieces,
//! not bytes. Contents stay in their files until the whole is written or hashed, and may be read more than once. A file
//! that has changed by then, or by the end of it, is an error that names it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::SeekFrom;

use super::Sink;
use crate::format::Medium;

/// How much is read at once.
const CHUNK: u64 = 1 << 20;
/// A file of so many bytes is held in memory rather than open.
const SMALL: u64 = 64 << 10;

/// Why pieces could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ExtentError {
    /// A source that cannot be read.
    #[error("reading {}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A source that has become shorter than it was.
    #[error("reading {}: it ends at byte {found}, but it had {planned} bytes: it changed while the image was made", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where it was to be read up to.
        planned: u64,
        /// Where it ends.
        found: u64,
    },
    /// A source that is not what it was: what was hashed of it may not be what was written.
    #[error("reading {}: it changed while the image was made", .0.display())]
    Rewritten(PathBuf),
    /// The output would not take the bytes.
    #[error("writing the image")]
    Output(#[source] io::Error),
}

/// An open file that pieces are taken from, and what people call it.
#[derive(Debug)]
pub struct SourceFile {
    /// The file; read at explicit offsets or after a seek, by one thread.
    pub file: File,
    /// Its name, for messages.
    pub path: PathBuf,
    /// How many bytes it had when it was opened.
    pub len: u64,
    /// What tells that it is as it was then.
    state: State,
}

/// A file's length, and when its content and the rest of it changed last: seconds, nanoseconds.
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
            // Who copies times sets the other back, but not this.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl SourceFile {
    /// Takes over an open file.
    pub fn new(file: File, path: PathBuf) -> io::Result<Arc<Self>> {
        let state = State::of(&file)?;
        Ok(Arc::new(Self { file, path, len: state.len, state }))
    }

    /// Opens a file.
    pub fn open(path: &std::path::Path) -> io::Result<Arc<Self>> {
        Self::new(File::open(path)?, path.to_owned())
    }

    /// Makes sure that it is as it was when it was opened.
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

/// Where bytes come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Memory.
    Bytes(Arc<[u8]>),
    /// A file.
    File(Arc<SourceFile>),
}

/// One piece.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Where it stands.
    pub at: u64,
    /// How many bytes it has.
    pub len: u64,
    /// Where they come from.
    pub source: Source,
    /// Offset of the first of them there.
    pub from: u64,
}

impl Extent {
    /// The offset behind its last byte.
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.len)
    }
}

/// Takes bytes with their places.
type Taker<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), ExtentError>;

/// Pieces in the order of their places, without overlap; zeros between them.
#[derive(Debug, Clone, Default)]
pub struct Extents {
    size: u64,
    list: Vec<Extent>,
}

impl Extents {
    /// `size` zeros.
    pub fn new(size: u64) -> Self {
        Self { size, list: Vec::new() }
    }

    /// All of a file, holes left out where the file system tells of them.
    pub fn of_file(file: &Arc<SourceFile>) -> Self {
        let mut extents = Self::new(file.len);
        let mut at = 0;
        while at < file.len {
            // A file system that cannot tell (or a file that has just changed) has one piece up to the end.
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

    /// All of a file: a small one is read and closed, so that any number of them can be held.
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

    /// How many bytes the whole has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Makes the whole larger (or cuts zeros off).
    pub fn resize(&mut self, size: u64) {
        debug_assert!(self.list.last().is_none_or(|last| last.end() <= size), "no piece is cut");
        self.size = size;
    }

    /// The pieces, in order.
    pub fn list(&self) -> &[Extent] {
        &self.list
    }

    /// Puts `len` bytes of a source, from its byte `from` on, at `at`, which is free.
    pub fn add(&mut self, at: u64, len: u64, source: Source, from: u64) {
        if len == 0 {
            return;
        }
        let place = self.list.partition_point(|other| other.at < at);
        let new = Extent { at, len, source, from };
        debug_assert!(place == 0 || self.list[place - 1].end() <= at, "pieces do not overlap");
        debug_assert!(self.list.get(place).is_none_or(|next| new.end() <= next.at), "pieces do not overlap");
        self.size = self.size.max(new.end());
        self.list.insert(place, new);
    }

    /// Puts bytes at `at`, blocks of zeros left out.
    pub fn add_bytes(&mut self, at: u64, bytes: impl Into<Arc<[u8]>>) {
        /// What a hole is worth: a block of most file systems.
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

    /// Puts all pieces of another whole in, the first byte of it at `at`.
    pub fn add_all(&mut self, at: u64, other: &Self) {
        self.size = self.size.max(at + other.size);
        for extent in &other.list {
            self.add(at + extent.at, extent.len, extent.source.clone(), extent.from);
        }
    }

    /// Runs of whole blocks of `block` bytes that are not all holes: their first byte, and the one behind them.
    pub fn runs(&self, block: u64) -> Vec<(u64, u64)> {
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

    /// Writes everything in order to a stream, zeros and all.
    pub fn write_to(&self, out: &mut impl Sink) -> Result<(), ExtentError> {
        let mut at = 0;
        for extent in &self.list {
            zeros(out, extent.at - at).map_err(ExtentError::Output)?;
            extent.write_to(out)?;
            at = extent.end();
        }
        zeros(out, self.size - at).map_err(ExtentError::Output)
    }

    /// Writes the pieces alone into a file that is new and empty: the rest of it stays a hole.
    pub fn write_sparse(&self, file: &mut File) -> Result<(), ExtentError> {
        use std::io::Seek;
        for extent in &self.list {
            file.seek(io::SeekFrom::Start(extent.at)).map_err(ExtentError::Output)?;
            extent.write_to(file)?;
        }
        file.set_len(self.size).map_err(ExtentError::Output)
    }

    /// Makes sure that all files that pieces come from are as they were when they were opened. Whoever has read them
    /// twice, to hash them and to write them, asks at the end.
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

    /// Gives every byte that is no hole to `taker`, with its place, in order.
    pub fn each(&self, taker: &mut dyn FnMut(u64, &[u8])) -> Result<(), ExtentError> {
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
            // Of a pipe or a memfd the kernel copies what it can; the rest goes through here.
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

    /// Gives all bytes to `taker`, with their places, in order.
    fn each(&self, taker: Taker<'_>) -> Result<(), ExtentError> {
        match &self.source {
            Source::Bytes(bytes) => {
                let (from, len) = (as_length(self.from), as_length(self.len));
                taker(self.at, bytes.get(from..from + len).expect("a piece lies within its source"))
            }
            Source::File(file) => {
                let mut buffer = vec![0; as_length(self.len.min(CHUNK))];
                let mut done = 0;
                while done < self.len {
                    let part = &mut buffer[..as_length((self.len - done).min(CHUNK))];
                    let offset = self.from + done;
                    let read = match file.file.read_at(part, offset) {
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

impl Medium for Extents {
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

/// Lengths of what is in memory fit there.
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

/// Copies the pieces that lie in runs of blocks, one run after the other from `at` on. Says where each run went.
pub(crate) fn pack(into: &mut Extents, image: &Extents, runs: &[(u64, u64)], mut at: u64) -> u64 {
    let mut pieces = image.list().iter().peekable();
    for (start, end) in runs {
        while let Some(piece) = pieces.next_if(|piece| piece.at < *end) {
            into.add(at + (piece.at - start), piece.len, piece.source.clone(), piece.from);
        }
        at += end - start;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::{ExtentError, Extents, Source, SourceFile};
    use crate::format::Medium;
    use proptest::prelude::{any, proptest};
    use std::io::Read;

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
    fn pieces_are_written_in_order_with_zeros_between_them_however_they_are_written() {
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
    fn a_file_that_is_rewritten_in_place_is_noticed_though_its_length_and_its_time_are_kept() {
        let named = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(named.path(), b"before").expect("written");
        let extents = Extents::of_file(&SourceFile::open(named.path()).expect("open"));
        extents.unchanged().expect("it is as it was");
        let time = named.as_file().metadata().and_then(|metadata| metadata.modified()).expect("a time");
        // The kernel's clock for files goes by ticks, of 10 ms at most.
        std::thread::sleep(std::time::Duration::from_millis(30));
        std::fs::write(named.path(), b"after!").expect("written");
        named.as_file().set_modified(time).expect("a time");
        let error = extents.unchanged().expect_err("it changed");
        assert!(matches!(&error, ExtentError::Rewritten(path) if path == named.path()), "{error}");
    }

    #[test]
    fn zeros_in_memory_and_holes_in_files_are_no_pieces() {
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
    fn a_source_that_became_shorter_is_an_error_that_names_it() {
        let source = file(b"short");
        let mut extents = Extents::new(0);
        extents.add(0, 8, Source::File(source), 0);
        let error = extents.write_to(&mut Vec::new()).expect_err("too short");
        assert!(matches!(error, ExtentError::Changed { planned: 8, found: 5, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..300), pad in 0usize..9000, at in 0u64..5000) {
            let all = [vec![0; pad], bytes].concat();
            let mut extents = Extents::new(0);
            extents.add_bytes(at, all.clone());
            let mut written = Vec::new();
            extents.write_to(&mut written).expect("written");
            assert!(written[at as usize..] == all);
        }
    }
}

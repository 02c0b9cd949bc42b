//! A volume: directories and files by their names.

use std::io::{self, Read};

use super::bpb::{Bpb, BpbFault, Geometry};
use super::chain::{Chain, ChainFault, Next, Table};
use super::directory::{Entry, Oddity, Owner, decode};
use crate::disk::Medium;

/// Bytes of the longest directory: 65,536 entries (Microsoft's limit; Linux's `FAT_MAX_DIR_SIZE`).
const LONGEST_DIRECTORY: u64 = 65_536 * 32;

/// Why a volume, or something in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The medium is too short, or cannot be read.
    #[error("reading byte {offset} of the volume")]
    Read {
        /// Where.
        offset: u64,
        /// What the host said.
        source: io::Error,
    },
    /// Its boot sector makes no sense.
    #[error("reading its boot sector: {0}")]
    Bpb(#[from] BpbFault),
    /// A chain of clusters makes no sense.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// A file whose chain ends before the file does.
    #[error("{size} bytes need {needs} clusters of {cluster} bytes, but its chain has {has}")]
    Short {
        /// Bytes of the file.
        size: u32,
        /// Bytes of a cluster.
        cluster: u64,
        /// Clusters it needs.
        needs: u64,
        /// Clusters it has.
        has: u64,
    },
    /// A directory that has no clusters.
    #[error("a directory without clusters")]
    Hollow,
    /// No such name.
    #[error("there is no {0:?}")]
    Missing(String),
    /// Something else than what was wanted.
    #[error("{0:?} is {1}")]
    Not(String, &'static str),
}

/// A volume whose boot sector makes sense.
#[derive(Debug, Clone)]
pub struct Volume<M> {
    medium: M,
    bpb: Bpb,
    geometry: Geometry,
}

impl<M: Medium> Volume<M> {
    /// Reads the boot sector of the volume that `medium` holds.
    pub fn open(medium: M) -> Result<Self, Fault> {
        let mut sector = [0; 512];
        medium.read_at(&mut sector, 0).map_err(|source| Fault::Read { offset: 0, source })?;
        let bpb = Bpb::decode(&sector);
        let geometry = bpb.geometry()?;
        Ok(Self { medium, bpb, geometry })
    }

    /// What the boot sector says.
    pub fn bpb(&self) -> &Bpb {
        &self.bpb
    }

    /// What follows from it.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The medium underneath.
    pub fn medium(&self) -> &M {
        &self.medium
    }

    /// The entry of the table for a cluster, as it stands: number 0 repeats the media byte, 1 has the flags.
    pub fn table_entry(&self, cluster: u32) -> Result<u32, Fault> {
        Ok(self.table().raw(cluster)?)
    }

    /// How many clusters the table says are in use, bad ones left out, and how many are free.
    pub fn usage(&self) -> Result<(u64, u64), Fault> {
        let mut table = self.table();
        let (mut used, mut free) = (0, 0);
        let numbers = 2..self.geometry.clusters.min(self.geometry.table_room()) + 2;
        for cluster in numbers.filter_map(|number| u32::try_from(number).ok()) {
            match table.next(cluster)? {
                Next::Free => free += 1,
                Next::Bad => {}
                Next::End | Next::Cluster(_) => used += 1,
            }
        }
        Ok((used, free))
    }

    pub(super) fn table(&self) -> Table<'_, M> {
        Table::new(&self.medium, &self.geometry)
    }

    /// The entries of the root directory.
    pub fn root(&self) -> Result<Vec<Entry>, Fault> {
        Ok(self.directory(None, 0, &mut |_| true)?.0)
    }

    /// The entries of a directory.
    pub fn list(&self, directory: &Entry) -> Result<Vec<Entry>, Fault> {
        Ok(self.directory(Some(directory.cluster), 0, &mut |_| true)?.0)
    }

    /// The directory that begins at `first`, or the root. `visit` sees each cluster and ends the chain by `false`.
    pub(super) fn directory(
        &self,
        first: Option<u32>,
        parent: u32,
        visit: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(Vec<Entry>, Vec<Oddity>), Fault> {
        let wide = self.bpb.wide;
        let (start, owner) = match first {
            None if !wide => {
                let bytes = self.bytes(self.geometry.root, u64::from(self.geometry.root_entries) * 32)?;
                return Ok(decode(&bytes, wide, Owner::Root));
            }
            None => (self.geometry.root_cluster, Owner::Root),
            Some(0) => return Err(Fault::Hollow),
            Some(first) => (first, Owner::Sub { own: first, parent }),
        };
        let most = LONGEST_DIRECTORY.div_ceil(self.geometry.cluster);
        let chain = self.table().chain(start, most, visit)?;
        let mut bytes = Vec::new();
        for (cluster, count) in &chain.runs {
            let (offset, len) = self.run(*cluster, *count);
            bytes.extend(self.bytes(offset, len)?);
        }
        Ok(decode(&bytes, wide, owner))
    }

    /// A run of clusters in bytes. The chain has seen to it that they are in range.
    fn run(&self, cluster: u32, count: u32) -> (u64, u64) {
        let offset = self.geometry.offset(cluster).unwrap_or(u64::MAX);
        (offset, u64::from(count) * self.geometry.cluster)
    }

    /// At most a directory's worth of bytes.
    fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; usize::try_from(len.min(LONGEST_DIRECTORY)).unwrap_or_default()];
        self.medium.read_at(&mut bytes, offset).map_err(|source| Fault::Read { offset, source })?;
        Ok(bytes)
    }

    /// The entry at a path such as `EFI/BOOT/BOOTX64.EFI`, letter case aside, as firmware looks for it. `\` and `/`
    /// both separate names; `None` is the root directory itself.
    pub fn find(&self, path: &str) -> Result<Option<Entry>, Fault> {
        let mut here: Option<Entry> = None;
        for name in path.split(['/', '\\']).filter(|name| !name.is_empty() && *name != ".") {
            let entries = match &here {
                None => self.root()?,
                Some(entry) if entry.directory => self.list(entry)?,
                Some(entry) => return Err(Fault::Not(entry.name.clone(), "a file, not a directory")),
            };
            let wanted = name.to_lowercase();
            let same = |entry: &Entry| entry.name.to_lowercase() == wanted || entry.short.eq_ignore_ascii_case(name);
            let found = entries.into_iter().find(same);
            here = Some(found.ok_or_else(|| Fault::Missing(name.to_owned()))?);
        }
        Ok(here)
    }

    /// A file's content, once its chain is known to hold it all.
    pub fn content(&self, file: &Entry) -> Result<Content<&M>, Fault> {
        if file.directory {
            return Err(Fault::Not(file.name.clone(), "a directory, not a file"));
        }
        let chain = self.chain(file, &mut |_| true)?;
        self.content_of(file, &chain)
    }

    /// The chain of an entry; none for an empty file.
    pub(super) fn chain(&self, entry: &Entry, visit: &mut dyn FnMut(u32) -> bool) -> Result<Chain, Fault> {
        if entry.cluster == 0 && entry.size == 0 {
            return Ok(Chain::default());
        }
        Ok(self.table().chain(entry.cluster, u64::MAX, visit)?)
    }

    pub(super) fn content_of(&self, file: &Entry, chain: &Chain) -> Result<Content<&M>, Fault> {
        let (size, cluster) = (file.size, self.geometry.cluster);
        let needs = u64::from(size).div_ceil(cluster);
        if chain.clusters < needs {
            return Err(Fault::Short { size, cluster, needs, has: chain.clusters });
        }
        let mut runs = Vec::with_capacity(chain.runs.len());
        let mut at = 0;
        for (cluster, count) in &chain.runs {
            let (offset, len) = self.run(*cluster, *count);
            runs.push((at, offset));
            at += len;
        }
        Ok(Content { medium: &self.medium, runs, size: u64::from(size), position: 0 })
    }
}

/// A file's bytes: in order as a reader, or anywhere as a medium.
#[derive(Debug, Clone)]
pub struct Content<M> {
    medium: M,
    /// Offset in the file, and in the volume, at which each run begins.
    runs: Vec<(u64, u64)>,
    size: u64,
    position: u64,
}

impl<M: Medium> Content<M> {
    /// Where its first byte stands, in bytes of the volume; `None` for an empty file.
    pub fn start(&self) -> Option<u64> {
        self.runs.first().map(|(_, offset)| *offset)
    }

    /// In how many pieces it lies.
    pub fn pieces(&self) -> usize {
        self.runs.len()
    }

    /// Fills as much of `buffer` as one run holds.
    fn piece(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let index = self.runs.partition_point(|(start, _)| *start <= at);
        let Some((start, offset)) = index.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let end = self.runs.get(index).map_or(self.size, |(next, _)| (*next).min(self.size));
        let count = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        let (piece, _) = buffer.split_at_mut(count);
        self.medium.read_at(piece, offset + (at - start))?;
        Ok(count)
    }
}

impl<M: Medium> Medium for Content<M> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            let count = self.piece(rest, at)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = &mut rest[count..];
            at += count as u64;
        }
        Ok(())
    }
}

impl<M: Medium> Read for Content<M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size {
            return Ok(0);
        }
        let count = self.piece(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

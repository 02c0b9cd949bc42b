//! FAT volume: access to directories and files by path.

use std::io;

use super::bpb::{Bpb, BpbFault, Geometry};
use super::chain::{Chain, ChainFault, Next, Table};
use super::directory::{Entry, Irregularity, Owner, decode};
use crate::format::{Content, Medium};

/// Maximum length of a directory in bytes: 65,536 entries (Microsoft's limit; `FAT_MAX_DIR_SIZE` in Linux).
const LONGEST_DIRECTORY: u64 = 65_536 * 32;

/// Error from reading a volume, or a file or directory in it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The medium is too short or cannot be read.
    #[error("failed to read byte {offset} of the volume")]
    Read {
        /// Byte offset in the volume.
        offset: u64,
        /// Error from the medium.
        source: io::Error,
    },
    /// The boot sector is invalid.
    #[error("invalid FAT boot sector: {0}")]
    Bpb(#[from] BpbFault),
    /// A cluster chain is invalid.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// The cluster chain of a file is too short for its size.
    #[error("{size} bytes require {needs} clusters of {cluster} bytes, chain has {has}")]
    Short {
        /// File size in bytes.
        size: u32,
        /// Cluster size in bytes.
        cluster: u64,
        /// Required clusters.
        needs: u64,
        /// Clusters in the chain.
        has: u64,
    },
    /// A directory has no clusters.
    #[error("directory without clusters")]
    EmptyDirectory,
    /// No entry with this name exists.
    #[error("no such file or directory: {0:?}")]
    Missing(String),
    /// The entry is a directory instead of a file, or the reverse.
    #[error("{0:?} is {1}")]
    WrongType(String, &'static str),
}

/// Volume with a valid boot sector.
#[derive(Debug, Clone)]
pub struct Volume<M> {
    medium: M,
    bpb: Bpb,
    geometry: Geometry,
}

impl<M: Medium> Volume<M> {
    /// Reads the boot sector of the volume in `medium`.
    pub fn open(medium: M) -> Result<Self, Fault> {
        let mut sector = [0; 512];
        medium.read_at(&mut sector, 0).map_err(|source| Fault::Read { offset: 0, source })?;
        let bpb = Bpb::decode(&sector);
        let geometry = bpb.geometry()?;
        Ok(Self { medium, bpb, geometry })
    }

    /// Returns the boot sector fields.
    pub(crate) fn bpb(&self) -> &Bpb {
        &self.bpb
    }

    /// Returns the layout of the volume.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns the underlying medium.
    pub(crate) fn medium(&self) -> &M {
        &self.medium
    }

    /// Returns the raw allocation table entry of a cluster. Entry 0 repeats the media byte, entry 1 contains flags.
    pub(crate) fn table_entry(&self, cluster: u32) -> Result<u32, Fault> {
        Ok(self.table().raw(cluster)?)
    }

    /// Counts the clusters in use (without bad ones) and the free clusters in the allocation table.
    pub(crate) fn usage(&self) -> Result<(u64, u64), Fault> {
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

    /// Returns the entries of the root directory.
    pub(crate) fn root(&self) -> Result<Vec<Entry>, Fault> {
        Ok(self.directory(None, 0, &mut |_| true)?.0)
    }

    /// Returns the entries of a directory.
    pub(crate) fn list(&self, directory: &Entry) -> Result<Vec<Entry>, Fault> {
        Ok(self.directory(Some(directory.cluster), 0, &mut |_| true)?.0)
    }

    /// Reads the directory at cluster `first`, or the root. Calls `visit` for each cluster; stops if it returns false.
    pub(super) fn directory(
        &self,
        first: Option<u32>,
        parent: u32,
        visit: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(Vec<Entry>, Vec<Irregularity>), Fault> {
        let wide = self.bpb.fat32_layout;
        let (start, owner) = match first {
            None if !wide => {
                let bytes = self.bytes(self.geometry.root, u64::from(self.geometry.root_entries) * 32)?;
                return Ok(decode(&bytes, wide, Owner::Root));
            }
            None => (self.geometry.root_cluster, Owner::Root),
            Some(0) => return Err(Fault::EmptyDirectory),
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

    /// Returns byte offset and length of a run of clusters, which the chain has verified to be in range.
    fn run(&self, cluster: u32, count: u32) -> (u64, u64) {
        let offset = self.geometry.offset(cluster).unwrap_or(u64::MAX);
        (offset, u64::from(count) * self.geometry.cluster)
    }

    /// Reads `len` bytes, at most the maximum length of a directory.
    fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; usize::try_from(len.min(LONGEST_DIRECTORY)).unwrap_or_default()];
        self.medium.read_at(&mut bytes, offset).map_err(|source| Fault::Read { offset, source })?;
        Ok(bytes)
    }

    /// Returns the entry at a path such as `EFI/BOOT/BOOTX64.EFI`, ignoring case, as firmware does. Both `\` and `/`
    /// separate names; `None` is the root directory.
    pub fn find(&self, path: &str) -> Result<Option<Entry>, Fault> {
        let mut here: Option<Entry> = None;
        for name in path.split(['/', '\\']).filter(|name| !name.is_empty() && *name != ".") {
            let entries = match &here {
                None => self.root()?,
                Some(entry) if entry.directory => self.list(entry)?,
                Some(entry) => return Err(Fault::WrongType(entry.name.clone(), "a file, not a directory")),
            };
            let wanted = name.to_lowercase();
            let same = |entry: &Entry| entry.name.to_lowercase() == wanted || entry.short.eq_ignore_ascii_case(name);
            let found = entries.into_iter().find(same);
            here = Some(found.ok_or_else(|| Fault::Missing(name.to_owned()))?);
        }
        Ok(here)
    }

    /// Returns the content of a file, after a check that its chain is long enough.
    pub fn content(&self, file: &Entry) -> Result<Content<&M>, Fault> {
        if file.directory {
            return Err(Fault::WrongType(file.name.clone(), "a directory, not a file"));
        }
        let chain = self.chain(file, &mut |_| true)?;
        self.content_of(file, &chain)
    }

    /// Returns the cluster chain of an entry; empty for an empty file.
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
        let runs = chain.runs.iter().map(|(cluster, count)| self.run(*cluster, *count));
        Ok(Content::new(&self.medium, size.into(), runs))
    }
}

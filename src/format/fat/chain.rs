//! Follows cluster chains through the allocation table.

use std::io;

use super::{FatType, Geometry};
use crate::format::Medium;

/// Bytes of the table per read. A multiple of 12, so that no FAT12 entry straddles two reads.
const BLOCK: u64 = 3 << 12;

/// Cluster chain; adjacent clusters form one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// First cluster and number of clusters of each run.
    pub(crate) runs: Vec<(u32, u32)>,
    /// Total number of clusters.
    pub(crate) clusters: u64,
}

impl Chain {
    /// Appends a cluster.
    fn push(&mut self, cluster: u32) {
        self.clusters += 1;
        match self.runs.last_mut() {
            Some((first, count)) if first.checked_add(*count) == Some(cluster) => *count += 1,
            Some(_) | None => self.runs.push((cluster, 1)),
        }
    }
}

/// Fault of a cluster chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainFault {
    /// The allocation table cannot be read.
    #[error("failed to read the allocation table at byte {offset}")]
    Read {
        /// Byte offset in the volume.
        offset: u64,
        /// Error from the medium.
        source: io::Error,
    },
    /// A cluster number is out of range.
    #[error("cluster {from} is followed by {next}, out of range (2 to {last})")]
    OutOfRange {
        /// Previous cluster; 0 if the number is from the directory entry.
        from: u32,
        /// Invalid cluster number.
        next: u32,
        /// Highest valid cluster number.
        last: u64,
    },
    /// A cluster of the chain is marked as free or bad.
    #[error("cluster {cluster} is in use, but marked {what} in the allocation table")]
    Unallocated {
        /// Cluster number.
        cluster: u32,
        /// `free` or `bad`.
        what: &'static str,
    },
    /// The chain is a loop.
    #[error("the chain from cluster {first} is a loop")]
    Loop {
        /// First cluster of the chain.
        first: u32,
    },
    /// The chain is too long.
    #[error("the chain from cluster {first} is longer than {most} clusters")]
    Long {
        /// First cluster of the chain.
        first: u32,
        /// Maximum length in clusters.
        most: u64,
    },
}

/// Meaning of an allocation table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Free,
    Bad,
    End,
    Cluster(u32),
}

/// The allocation table, read a block at a time.
pub(super) struct Table<'a, M> {
    medium: &'a M,
    geometry: &'a Geometry,
    block: Vec<u8>,
    start: u64,
}

impl<'a, M: Medium> Table<'a, M> {
    pub(super) fn new(medium: &'a M, geometry: &'a Geometry) -> Self {
        Self { medium, geometry, block: Vec::new(), start: 0 }
    }

    /// Returns the raw entry of a cluster; 28 bits for FAT32.
    pub(super) fn raw(&mut self, cluster: u32) -> Result<u32, ChainFault> {
        let bit = u64::from(cluster) * self.geometry.fat_type.bits();
        let at = bit / 8;
        let width = if self.geometry.fat_type == FatType::Fat32 { 4 } else { 2 };
        if at + width > self.geometry.table_len {
            let offset = self.geometry.table + at;
            return Err(ChainFault::Read { offset, source: io::ErrorKind::UnexpectedEof.into() });
        }
        if self.block.is_empty() || at < self.start || at + width > self.start + self.block.len() as u64 {
            self.load(at)?;
        }
        let bytes = usize::try_from(at - self.start).ok().and_then(|index| self.block.get(index..)).unwrap_or_default();
        let low = |index: usize| u32::from(bytes.get(index).copied().unwrap_or_default());
        let half = low(0) | low(1) << 8;
        Ok(match self.geometry.fat_type {
            FatType::Fat12 if bit.is_multiple_of(8) => half & 0xFFF,
            FatType::Fat12 => half >> 4,
            FatType::Fat16 => half,
            FatType::Fat32 => (half | low(2) << 16 | low(3) << 24) & 0x0FFF_FFFF,
        })
    }

    fn load(&mut self, at: u64) -> Result<(), ChainFault> {
        self.start = at / BLOCK * BLOCK;
        let len = BLOCK.min(self.geometry.table_len - self.start);
        self.block.resize(usize::try_from(len).unwrap_or_default(), 0);
        let offset = self.geometry.table + self.start;
        self.medium.read_at(&mut self.block, offset).map_err(|source| {
            // The block no longer contains valid table data.
            self.start = u64::MAX;
            ChainFault::Read { offset, source }
        })
    }

    /// Returns the meaning of the entry of a cluster.
    pub(super) fn next(&mut self, cluster: u32) -> Result<Next, ChainFault> {
        let raw = self.raw(cluster)?;
        let bad = match self.geometry.fat_type {
            FatType::Fat12 => 0xFF7,
            FatType::Fat16 => 0xFFF7,
            FatType::Fat32 => 0x0FFF_FFF7,
        };
        Ok(match raw {
            0 => Next::Free,
            end if end > bad => Next::End,
            raw if raw == bad => Next::Bad,
            raw => Next::Cluster(raw),
        })
    }

    /// Follows a chain from `first` to its end, up to `most` clusters. Stops early if `visit` returns false.
    pub(super) fn chain(
        &mut self,
        first: u32,
        most: u64,
        visit: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Chain, ChainFault> {
        let mut chain = Chain::default();
        let (mut from, mut cluster) = (0, first);
        // Brent's cycle detection: the mark moves after 1, 2, 4, ... steps.
        let (mut mark, mut steps, mut power) = (first, 0_u64, 1_u64);
        loop {
            if self.geometry.offset(cluster).is_none() {
                return Err(ChainFault::OutOfRange { from, next: cluster, last: self.geometry.clusters + 1 });
            }
            let next = self.next(cluster)?;
            let unallocated = |what| Err(ChainFault::Unallocated { cluster, what });
            match next {
                Next::Free => return unallocated("free"),
                Next::Bad => return unallocated("bad"),
                Next::End | Next::Cluster(_) => {}
            }
            if !visit(cluster) {
                return Ok(chain);
            }
            chain.push(cluster);
            let Next::Cluster(next) = next else { return Ok(chain) };
            (from, cluster) = (cluster, next);
            if cluster == mark || chain.clusters > self.geometry.clusters {
                return Err(ChainFault::Loop { first });
            }
            if chain.clusters >= most {
                return Err(ChainFault::Long { first, most });
            }
            steps += 1;
            if steps == power {
                (mark, steps, power) = (cluster, 0, power * 2);
            }
        }
    }
}

//! Chains of clusters, followed through the allocation table.

use std::io;

use super::{Geometry, Kind};
use crate::format::Medium;

/// Bytes of the table that are read at once. A multiple of 12, so that no entry of FAT12 straddles two reads.
const BLOCK: u64 = 3 << 12;

/// A chain: neighbouring clusters are told as one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// First cluster and number of clusters of each run.
    pub runs: Vec<(u32, u32)>,
    /// Clusters in all.
    pub clusters: u64,
}

impl Chain {
    /// Adds a cluster at the end.
    fn push(&mut self, cluster: u32) {
        self.clusters += 1;
        match self.runs.last_mut() {
            Some((first, count)) if first.checked_add(*count) == Some(cluster) => *count += 1,
            Some(_) | None => self.runs.push((cluster, 1)),
        }
    }
}

/// Why a chain does not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ChainFault {
    /// The table cannot be read there.
    #[error("reading the allocation table at byte {offset}")]
    Read {
        /// Where, in bytes of the volume.
        offset: u64,
        /// What the host said.
        source: io::Error,
    },
    /// A number that no cluster has.
    #[error("cluster {from} is followed by {next}, but clusters are numbered 2 to {last}")]
    OutOfRange {
        /// The last good one; 0 where the directory entry itself names it.
        from: u32,
        /// What follows.
        next: u32,
        /// The highest there is.
        last: u64,
    },
    /// It runs into a cluster that the table says is free, or bad.
    #[error("cluster {cluster} is in use, but the allocation table calls it {what}")]
    Unallocated {
        /// The cluster.
        cluster: u32,
        /// `free` or `bad`.
        what: &'static str,
    },
    /// It never ends.
    #[error("the chain that begins at cluster {first} runs in a circle")]
    Loop {
        /// Where it began.
        first: u32,
    },
    /// It has more than it may have.
    #[error("the chain that begins at cluster {first} goes on after {most} clusters")]
    Long {
        /// Where it began.
        first: u32,
        /// How many it may have.
        most: u64,
    },
}

/// What an entry of the table says.
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

    /// The raw entry of a cluster, 28 bits of it with FAT32.
    pub(super) fn raw(&mut self, cluster: u32) -> Result<u32, ChainFault> {
        let bit = u64::from(cluster) * self.geometry.kind.bits();
        let at = bit / 8;
        let width = if self.geometry.kind == Kind::Fat32 { 4 } else { 2 };
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
        Ok(match self.geometry.kind {
            Kind::Fat12 if bit.is_multiple_of(8) => half & 0xFFF,
            Kind::Fat12 => half >> 4,
            Kind::Fat16 => half,
            Kind::Fat32 => (half | low(2) << 16 | low(3) << 24) & 0x0FFF_FFFF,
        })
    }

    fn load(&mut self, at: u64) -> Result<(), ChainFault> {
        self.start = at / BLOCK * BLOCK;
        let len = BLOCK.min(self.geometry.table_len - self.start);
        self.block.resize(usize::try_from(len).unwrap_or_default(), 0);
        let offset = self.geometry.table + self.start;
        self.medium.read_at(&mut self.block, offset).map_err(|source| {
            // What is in the block now is not the table.
            self.start = u64::MAX;
            ChainFault::Read { offset, source }
        })
    }

    /// What follows a cluster.
    pub(super) fn next(&mut self, cluster: u32) -> Result<Next, ChainFault> {
        let raw = self.raw(cluster)?;
        let bad = match self.geometry.kind {
            Kind::Fat12 => 0xFF7,
            Kind::Fat16 => 0xFFF7,
            Kind::Fat32 => 0x0FFF_FFF7,
        };
        Ok(match raw {
            0 => Next::Free,
            end if end > bad => Next::End,
            raw if raw == bad => Next::Bad,
            raw => Next::Cluster(raw),
        })
    }

    /// Follows a chain from `first` to its end, through at most `most` clusters. `visit` may end it early, by `false`.
    pub(super) fn chain(
        &mut self,
        first: u32,
        most: u64,
        visit: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Chain, ChainFault> {
        let mut chain = Chain::default();
        let (mut from, mut cluster) = (0, first);
        // Brent's way to find a circle: a mark that is set anew after 1, 2, 4, ... steps.
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

//! Fixes for volumes written by fatfs 0.3.6.
//!
//! - Directories start with long-name entries for "." and "..", which `fsck.fat` reports as errors
//!   (rafalh/rust-fatfs#117). The fix moves "." and ".." to the front and marks the other entries as free.
//! - The ".." entry of a directory in a FAT32 root directory contains the root's cluster. The specification requires 0.
//! - The label's entry has no date, and the free cluster count of FAT32 is missing.
//! - The boot sector's number of hidden sectors is 0, and its backup is outdated.
//!
//! The input is trusted: it is a volume that bootling created.

use super::memory::Canvas;
use crate::disk::layout::Geometry;
use crate::format::fat::FatType;

/// Size of a directory entry in bytes.
const ENTRY: u64 = 32;
/// Offsets in a directory entry: attributes; high and low half of the first cluster.
const ATTRIBUTES: usize = 11;
const CLUSTER_HIGH: usize = 20;
const CLUSTER_LOW: usize = 26;
/// Attributes: directory, volume label, part of a long name.
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0F;
/// First byte of a free entry, and of the entry after the last one.
const FREE: u8 = 0xE5;
const END: u8 = 0;

type Entry = [u8; ENTRY as usize];

struct Volume<'a> {
    canvas: &'a Canvas,
    geometry: &'a Geometry,
}

/// Applies all fixes.
pub(crate) fn repair(canvas: &Canvas, geometry: &Geometry, hidden_sectors: u32) {
    let volume = Volume { canvas, geometry };
    let root = match geometry.kind {
        FatType::Fat12 | FatType::Fat16 => {
            (0..geometry.root_entries).map(|number| geometry.root_offset() + number * ENTRY).collect()
        }
        FatType::Fat32 => volume.entries_of(2),
    };
    // The label gets the time of the first file or directory in the root, which is never empty.
    let time: Option<Entry> = root.iter().map(|at| canvas.get(*at)).find(is_short);
    let mut left = volume.directory(&root, time);
    while let Some(cluster) = left.pop() {
        let entries = volume.entries_of(cluster);
        volume.dots(&entries);
        left.extend(volume.directory(&entries, None));
    }
    canvas.put(28, &hidden_sectors.to_le_bytes());
    if geometry.kind == FatType::Fat32 {
        volume.counts();
        let boot: [u8; 512] = canvas.get(0);
        canvas.put(6 * geometry.sector, &boot);
    }
}

/// Returns true for the entry of a file or directory.
fn is_short(entry: &Entry) -> bool {
    !matches!(entry[0], FREE | END) && entry[ATTRIBUTES] & LABEL == 0
}

fn first_cluster(entry: &Entry) -> u64 {
    let half = |at: usize| u64::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
    half(CLUSTER_HIGH) << 16 | half(CLUSTER_LOW)
}

impl Volume<'_> {
    /// Returns the first clusters of the directories in these entries. Copies the date of `time` to the label.
    fn directory(&self, entries: &[u64], time: Option<Entry>) -> Vec<u64> {
        let mut found = Vec::new();
        for at in entries {
            let mut entry: Entry = self.canvas.get(*at);
            if entry[0] == END {
                break;
            }
            if is_short(&entry) && entry[ATTRIBUTES] & DIRECTORY != 0 && entry[0] != b'.' {
                found.push(first_cluster(&entry));
            }
            if entry[ATTRIBUTES] & LONG_NAME == LABEL
                && let Some(time) = time
            {
                entry[22..26].copy_from_slice(&time[22..26]);
                self.canvas.put(*at, &entry);
            }
        }
        found
    }

    /// Fixes the first four entries of a directory: a long-name entry, ".", a long-name entry, "..".
    fn dots(&self, entries: &[u64]) {
        let [first, second, third, fourth, ..] = entries else { return };
        let dot: Entry = self.canvas.get(*second);
        let mut above: Entry = self.canvas.get(*fourth);
        if (dot[0], above[0]) != (b'.', b'.') {
            return;
        }
        if self.geometry.kind == FatType::Fat32 && first_cluster(&above) == 2 {
            above[CLUSTER_LOW] = 0;
        }
        let mut free = [0; ENTRY as usize];
        free[0] = FREE;
        for (at, entry) in [(first, dot), (second, above), (third, free), (fourth, free)] {
            self.canvas.put(*at, &entry);
        }
    }

    /// Returns the offsets of all entries of the directory that starts at `cluster`.
    fn entries_of(&self, mut cluster: u64) -> Vec<u64> {
        let mut entries = Vec::new();
        // A chain cannot be longer than the number of clusters.
        for _ in 0..self.geometry.clusters {
            if !(2..self.geometry.clusters + 2).contains(&cluster) {
                break;
            }
            let start = self.geometry.cluster_offset(cluster);
            entries.extend((0..self.geometry.cluster / ENTRY).map(|number| start + number * ENTRY));
            cluster = self.next(cluster);
        }
        entries
    }

    /// Returns the FAT entry of a cluster: the next cluster, 0 if the cluster is free, or an end mark.
    fn next(&self, cluster: u64) -> u64 {
        let fat = self.geometry.fat_offset(0);
        match self.geometry.kind {
            FatType::Fat12 => {
                let pair = u64::from(u16::from_le_bytes(self.canvas.get(fat + cluster + cluster / 2)));
                if cluster.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }
            }
            FatType::Fat16 => u64::from(u16::from_le_bytes(self.canvas.get(fat + cluster * 2))),
            FatType::Fat32 => u64::from(u32::from_le_bytes(self.canvas.get(fat + cluster * 4))) & 0x0FFF_FFFF,
        }
    }

    /// Writes the free cluster count and the next free cluster of FAT32. The used clusters are contiguous from the
    /// start.
    fn counts(&self) {
        let last = self.geometry.clusters + 2;
        // Used clusters come first, so a binary search finds their end.
        let (mut low, mut high) = (2, last);
        while low < high {
            let middle = low.midpoint(high);
            if self.next(middle) == 0 { high = middle } else { low = middle + 1 }
        }
        let next = if low < last { low as u32 } else { u32::MAX };
        let info = self.geometry.sector;
        self.canvas.put(info + 488, &((last - low) as u32).to_le_bytes());
        self.canvas.put(info + 492, &next.to_le_bytes());
    }
}

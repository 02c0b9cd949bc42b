//! What fatfs 0.3.6 leaves wrong on a volume, put right.
//!
//! - directories begin with long-name records for "." and "..", which `fsck.fat` takes for rubbish
//!   (rafalh/rust-fatfs#117): both entries move to the front, and what stood there is free;
//! - ".." of a directory in a FAT32's root names the root's cluster, where the specification wants 0;
//! - the label's entry has no date, and the free clusters of a FAT32 are not counted;
//! - the boot sector knows of no sectors before the volume, and its copy is older than it.
//!
//! All of it is read from a volume of our own making.

use super::canvas::Canvas;
use crate::disk::plan::{FatKind, Geometry};

/// Bytes of an entry.
const ENTRY: u64 = 32;
/// Where in an entry: attributes; the high and the low half of its first cluster.
const ATTRIBUTES: usize = 11;
const CLUSTER_HIGH: usize = 20;
const CLUSTER_LOW: usize = 26;
/// Attributes: a directory, a label, a part of a long name.
const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0F;
/// First byte of an entry that was given up, and of one behind the last.
const FREE: u8 = 0xE5;
const END: u8 = 0;

type Entry = [u8; ENTRY as usize];

struct Volume<'a> {
    canvas: &'a Canvas,
    geometry: &'a Geometry,
}

/// Puts all of it right.
pub fn repair(canvas: &Canvas, geometry: &Geometry, hidden_sectors: u32) {
    let volume = Volume { canvas, geometry };
    let root = match geometry.kind {
        FatKind::Fat12 | FatKind::Fat16 => {
            (0..geometry.root_entries).map(|number| geometry.root_offset() + number * ENTRY).collect()
        }
        FatKind::Fat32 => volume.entries_of(2),
    };
    // The label has the time of the first thing beside it; there always is one.
    let time: Option<Entry> = root.iter().map(|at| canvas.get(*at)).find(is_short);
    let mut left = volume.directory(&root, time);
    while let Some(cluster) = left.pop() {
        let entries = volume.entries_of(cluster);
        volume.dots(&entries);
        left.extend(volume.directory(&entries, None));
    }
    canvas.put(28, &hidden_sectors.to_le_bytes());
    if geometry.kind == FatKind::Fat32 {
        volume.counts();
        let boot: [u8; 512] = canvas.get(0);
        canvas.put(6 * geometry.sector, &boot);
    }
}

/// Whether an entry is a file's or a directory's.
fn is_short(entry: &Entry) -> bool {
    !matches!(entry[0], FREE | END) && entry[ATTRIBUTES] & LABEL == 0
}

fn first_cluster(entry: &Entry) -> u64 {
    let half = |at: usize| u64::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
    half(CLUSTER_HIGH) << 16 | half(CLUSTER_LOW)
}

impl Volume<'_> {
    /// The directories that stand in these entries; gives the label the dates of `time`.
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

    /// The first four entries of a directory: a part of a long name, ".", another part, "..".
    fn dots(&self, entries: &[u64]) {
        let [first, second, third, fourth, ..] = entries else { return };
        let dot: Entry = self.canvas.get(*second);
        let mut above: Entry = self.canvas.get(*fourth);
        if (dot[0], above[0]) != (b'.', b'.') {
            return;
        }
        if self.geometry.kind == FatKind::Fat32 && first_cluster(&above) == 2 {
            above[CLUSTER_LOW] = 0;
        }
        let mut free = [0; ENTRY as usize];
        free[0] = FREE;
        for (at, entry) in [(first, dot), (second, above), (third, free), (fourth, free)] {
            self.canvas.put(*at, &entry);
        }
    }

    /// Places of all entries of the directory that begins in a cluster.
    fn entries_of(&self, mut cluster: u64) -> Vec<u64> {
        let mut entries = Vec::new();
        // No chain is longer than there are clusters.
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

    /// What the FAT says of a cluster: the next one, 0 for a free one, or the end.
    fn next(&self, cluster: u64) -> u64 {
        let fat = self.geometry.fat_offset(0);
        match self.geometry.kind {
            FatKind::Fat12 => {
                let pair = u64::from(u16::from_le_bytes(self.canvas.get(fat + cluster + cluster / 2)));
                if cluster.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }
            }
            FatKind::Fat16 => u64::from(u16::from_le_bytes(self.canvas.get(fat + cluster * 2))),
            FatKind::Fat32 => u64::from(u32::from_le_bytes(self.canvas.get(fat + cluster * 4))) & 0x0FFF_FFFF,
        }
    }

    /// The free clusters of a FAT32, and where the next one is; it was filled from its begin without a gap.
    fn counts(&self) {
        let last = self.geometry.clusters + 2;
        // Used clusters come first, so halving finds their end.
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

//! qcow2, version 3 (QEMU, `docs/interop/qcow2.txt`): clusters of 64 KiB, refcount 1, no compression.
//!
//! ```text
//! header | refcount table | refcount blocks | L1 table | L2 tables | data, in the order of the disk
//! ```

use super::runs::pack;
use crate::output::extents::Extents;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// 8-byte table entries per cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Refcounts have 16 bits: 2 to the power of 4.
const REFCOUNT_ORDER: u32 = 4;
/// Refcounts per cluster.
const REFCOUNTS: u64 = CLUSTER / 2;
/// Flag for table entries whose cluster has refcount 1: a writer need not read the refcount.
const COPIED: u64 = 1 << 63;
const HEADER: u32 = 104;

/// Sizes of the parts, in clusters.
struct Parts {
    table: u64,
    blocks: u64,
    l1: u64,
    l2: u64,
    data: u64,
}

impl Parts {
    fn new(l1: u64, l2: u64, data: u64) -> Self {
        let mut parts = Self { table: 1, blocks: 1, l1, l2, data };
        // Refcount clusters have refcounts, too: repeat until the sizes are stable.
        loop {
            let blocks = parts.total().div_ceil(REFCOUNTS);
            let table = blocks.div_ceil(ENTRIES);
            if (table, blocks) == (parts.table, parts.blocks) {
                return parts;
            }
            (parts.table, parts.blocks) = (table, blocks);
        }
    }

    fn total(&self) -> u64 {
        1 + self.table + self.blocks + self.l1 + self.l2 + self.data
    }
}

/// Converts an image to qcow2.
pub(crate) fn contain(image: &Extents) -> Extents {
    let runs = image.runs(CLUSTER);
    let size = image.size();
    let l1_entries = size.div_ceil(CLUSTER * ENTRIES).max(1);
    let clusters: Vec<u64> = runs.iter().flat_map(|(start, end)| start / CLUSTER..end / CLUSTER).collect();
    let mut tables: Vec<u64> = clusters.iter().map(|cluster| cluster / ENTRIES).collect();
    tables.dedup();
    let parts = Parts::new(l1_entries.div_ceil(ENTRIES), tables.len() as u64, clusters.len() as u64);
    let table_at = 1;
    let blocks_at = table_at + parts.table;
    let l1_at = blocks_at + parts.blocks;
    let l2_at = l1_at + parts.l1;
    let data_at = l2_at + parts.l2;

    let mut out = Extents::new(parts.total() * CLUSTER);
    out.add_bytes(0, header(size, l1_entries, l1_at * CLUSTER, table_at * CLUSTER, parts.table));
    out.add_bytes(table_at * CLUSTER, entries((0..parts.blocks).map(|block| (blocks_at + block) * CLUSTER)));
    let counts = vec![1u16.to_be_bytes(); usize::try_from(parts.total()).unwrap_or_default()].concat();
    out.add_bytes(blocks_at * CLUSTER, counts);
    let mut l1 = vec![0; usize::try_from(l1_entries).unwrap_or_default()];
    for (number, table) in tables.iter().enumerate() {
        l1[*table as usize] = ((l2_at + number as u64) * CLUSTER) | COPIED;
    }
    out.add_bytes(l1_at * CLUSTER, entries(l1.into_iter()));
    let mut l2 = vec![0; tables.len() * ENTRIES as usize];
    let mut at = 0;
    for (number, cluster) in clusters.iter().enumerate() {
        while tables.get(at).is_some_and(|table| *table < cluster / ENTRIES) {
            at += 1;
        }
        l2[at * ENTRIES as usize + (cluster % ENTRIES) as usize] = ((data_at + number as u64) * CLUSTER) | COPIED;
    }
    out.add_bytes(l2_at * CLUSTER, entries(l2.into_iter()));
    pack(&mut out, image, &runs, data_at * CLUSTER);
    out
}

fn entries(entries: impl Iterator<Item = u64>) -> Vec<u8> {
    entries.flat_map(u64::to_be_bytes).collect()
}

fn header(size: u64, l1_entries: u64, l1: u64, refcounts: u64, refcount_clusters: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER as usize + 8);
    let mut put = |field: &[u8]| bytes.extend_from_slice(field);
    put(b"QFI\xfb");
    put(&3u32.to_be_bytes());
    // No backing file: offset and length of its name.
    put(&0u64.to_be_bytes());
    put(&0u32.to_be_bytes());
    put(&CLUSTER_BITS.to_be_bytes());
    put(&size.to_be_bytes());
    // No encryption.
    put(&0u32.to_be_bytes());
    put(&(l1_entries as u32).to_be_bytes());
    put(&l1.to_be_bytes());
    put(&refcounts.to_be_bytes());
    put(&(refcount_clusters as u32).to_be_bytes());
    // No snapshots: number and offset.
    put(&0u32.to_be_bytes());
    put(&0u64.to_be_bytes());
    // No features: incompatible, compatible, autoclear.
    put(&[0; 24]);
    put(&REFCOUNT_ORDER.to_be_bytes());
    put(&HEADER.to_be_bytes());
    // End of the header extensions.
    put(&[0; 8]);
    bytes
}

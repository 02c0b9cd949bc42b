//! Checks FAT volumes, by the rules of firmware and of fsck.fat.

use super::rules::fat::{
    FAT_BACKUP, FAT_BPB, FAT_CHAIN, FAT_CLUSTERS, FAT_COPIES, FAT_CROSS, FAT_CUT, FAT_DIRTY, FAT_ENTRY, FAT_HIDDEN,
    FAT_INFO, FAT_KIND, FAT_LONG, FAT_LOST, FAT_MARGIN, FAT_MEDIA, FAT_NONE, FAT_SECTOR, FAT_SIGNATURE, FAT_SIZE,
    FAT_TABLE,
};
use super::{Place, Report, Rule, Subject};
use crate::format::fat::{Bpb, FatType, Geometry, Tree, Volume};
use crate::format::{Medium, SectorSize};

/// Longest allocation table that is read completely, in bytes: 16 million clusters. No system partition is larger.
const MOST_TABLE: u64 = 64 << 20;
/// Clusters that a FAT16 volume has at most.
const MOST_FAT16: u64 = 65_525;
/// Bytes per read.
const CHUNK: usize = 64 << 10;

/// Checks the volume in a partition that starts at byte `start` of the disk. Returns the volume and its tree, if the
/// boot sector is valid.
pub(super) fn check<M: Medium>(
    window: M,
    place: &Place,
    start: u64,
    logical: SectorSize,
    report: &mut Report,
) -> Option<(Volume<M>, Tree)> {
    let len = window.size();
    let mut first = [0; 512];
    if window.read_at(&mut first, 0).is_err() || !Bpb::looks_like_fat(&first) {
        report.add(FAT_NONE, place.clone(), "no FAT boot sector");
        return None;
    }
    let bpb = Bpb::decode(&first);
    let geometry = match bpb.geometry() {
        Ok(geometry) => geometry,
        Err(fault) => {
            report.add(FAT_BPB, place.clone(), fault.to_string());
            return None;
        }
    };
    report.subjects.push(Subject::new(place.part.clone().unwrap_or_default(), facts(&geometry)));
    boot_sector(&bpb, &geometry, place, start, report);
    if geometry.has_too_few_clusters() {
        let what = format!("FAT32 with {} clusters", geometry.clusters);
        report.add_mended(FAT_CLUSTERS, place.clone(), what, more_clusters(&geometry, len, logical));
    }
    if geometry.sector < logical.bytes() {
        let what = format!("FAT sector size is {} bytes, disk sector size {logical}", geometry.sector);
        report.add(FAT_SECTOR, place.clone(), what);
    }
    if geometry.size > len {
        let what = format!("file system size is {} bytes, partition size {len}", geometry.size);
        report.add(FAT_SIZE, place.clone(), what);
    }
    let volume = Volume::open(window).ok()?;
    let tree = volume.tree();
    tables(&volume, &tree, place, report);
    if bpb.fat32_layout {
        copies_of_fat32(&volume, &first, place, report);
    }
    files(&tree, place, report);
    if [FAT_CHAIN, FAT_CROSS, FAT_TABLE].iter().any(|rule| report.has(rule)) {
        // fsck.fat would cut off files.
        report.replace_mends("fsck.fat", |_| FAT_CHAIN.mend.into());
    }
    Some((volume, tree))
}

/// Returns the remedy for a FAT32 volume of `len` bytes with too few clusters.
fn more_clusters(geometry: &Geometry, len: u64, logical: SectorSize) -> &'static str {
    // Reserved sectors and two tables of four bytes per cluster take a bit more than a hundredth.
    let enough = |cluster: u64| len / cluster * 98 / 100 >= MOST_FAT16 + 16;
    if geometry.cluster > geometry.sector && enough(geometry.sector) {
        "format the partition with mkfs.fat -F 32 -s 1"
    } else if geometry.sector > logical.bytes() && logical == SectorSize::S512 && enough(512) {
        "format the partition with mkfs.fat -F 32 -S 512 -s 1"
    } else {
        "format the partition with mkfs.fat -F 16, or enlarge it"
    }
}

fn facts(geometry: &Geometry) -> String {
    let Geometry { fat_type, sector, cluster, clusters, .. } = geometry;
    format!("{fat_type}, {clusters} clusters of {cluster} bytes, {sector}-byte sectors")
}

fn boot_sector(bpb: &Bpb, geometry: &Geometry, place: &Place, start: u64, report: &mut Report) {
    if !geometry.has_too_few_clusters() && geometry.margin() < 16 {
        let what = format!("{} clusters, {} away from a limit", geometry.clusters, geometry.margin());
        report.add(FAT_MARGIN, place.clone(), what);
    }
    if geometry.fat_type != FatType::Fat32 {
        report.add(FAT_KIND, place.clone(), format!("file system is {}", geometry.fat_type));
    }
    if !bpb.signed {
        report.add(FAT_SIGNATURE, place.clone(), "boot signature 55 AA missing");
    }
    let hidden = u64::from(bpb.hidden).saturating_mul(geometry.sector);
    if hidden != start {
        let what = format!("{} hidden sectors of {} bytes, partition at byte {start}", bpb.hidden, geometry.sector);
        report.add(FAT_HIDDEN, place.clone(), what);
    }
    if geometry.table_room() < geometry.clusters {
        let what = format!("allocation table for {} clusters, volume has {}", geometry.table_room(), geometry.clusters);
        report.add(FAT_TABLE, place.clone(), what);
    }
}

/// Checks the allocation tables.
fn tables<M: Medium>(volume: &Volume<M>, tree: &Tree, place: &Place, report: &mut Report) {
    let (bpb, geometry) = (volume.bpb(), volume.geometry());
    let (Ok(first), Ok(second)) = (volume.table_entry(0), volume.table_entry(1)) else {
        report.add(FAT_CHAIN, place.clone(), "the allocation table cannot be read");
        return;
    };
    if first & 0xFF != u32::from(bpb.media) {
        let what = format!("entry 0 is {:02x}, boot sector has {:02x}", first & 0xFF, bpb.media);
        report.add(FAT_MEDIA, place.clone(), what);
    }
    let clean = match geometry.fat_type {
        FatType::Fat12 => true,
        FatType::Fat16 => second & 1 << 15 != 0,
        FatType::Fat32 => second & 1 << 27 != 0,
    };
    if !clean || bpb.state & 1 != 0 {
        report.add(FAT_DIRTY, place.clone(), "the dirty bit is set");
    }
    if geometry.table_len > MOST_TABLE {
        return;
    }
    for copy in 1..geometry.tables {
        let other = geometry.table + u64::from(copy) * geometry.table_len;
        if let Some(at) = difference(volume.medium(), geometry.table, other, geometry.table_len) {
            let what = format!("copy {} differs from copy 1 at byte {at}", copy + 1);
            report.add(FAT_COPIES, place.clone(), what);
        }
    }
    let whole = tree.faults.is_empty() && tree.shared.is_empty() && !tree.truncated;
    let Ok((used, free)) = volume.usage() else { return };
    if whole && used > tree.used {
        report.add(FAT_LOST, place.clone(), format!("{} clusters in use belong to no file", used - tree.used));
    }
    if bpb.fat32_layout {
        info(volume, free, place, report);
    }
}

/// Returns the offset of the first difference between two ranges; an unreadable block counts as different.
fn difference(medium: &impl Medium, one: u64, other: u64, len: u64) -> Option<u64> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    while at < len {
        let count = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        let (left, right) = (&mut left[..count], &mut right[..count]);
        if medium.read_at(left, one + at).is_err() || medium.read_at(right, other + at).is_err() {
            return Some(at);
        }
        if let Some(index) = left.iter().zip(right).position(|(one, other)| one != other) {
            return Some(at + index as u64);
        }
        at += count as u64;
    }
    None
}

/// Checks the `FSInfo` sector of FAT32.
fn info<M: Medium>(volume: &Volume<M>, free: u64, place: &Place, report: &mut Report) {
    let (bpb, geometry) = (volume.bpb(), volume.geometry());
    if matches!(bpb.info_sector, 0 | 0xFFFF) {
        return;
    }
    let mut sector = [0; 512];
    let offset = u64::from(bpb.info_sector) * geometry.sector;
    let read = volume.medium().read_at(&mut sector, offset);
    let word = |at: usize| u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]);
    if read.is_err() || word(0) != 0x4161_5252 || word(484) != 0x6141_7272 {
        report.add(FAT_INFO, place.clone(), format!("sector {} is not an FSInfo sector", bpb.info_sector));
        return;
    }
    // FFFFFFFF means "unknown", which is valid.
    let recorded = word(488);
    if recorded != u32::MAX && u64::from(recorded) != free {
        report.add(FAT_INFO, place.clone(), format!("FSInfo has {recorded} free clusters, allocation table {free}"));
    }
}

/// Checks the backup of the FAT32 boot sector.
fn copies_of_fat32<M: Medium>(volume: &Volume<M>, first: &[u8; 512], place: &Place, report: &mut Report) {
    let backup = volume.bpb().backup_sector;
    if matches!(backup, 0 | 0xFFFF) {
        return;
    }
    let mut copy = [0; 512];
    let read = volume.medium().read_at(&mut copy, u64::from(backup) * volume.geometry().sector);
    // A mount changes the state byte, but not in the backup.
    copy[65] = first[65];
    // SYSLINUX and its relatives install their name and code in sector 0 only (`libinstaller/syslxint.h`). The
    // parameters of the file system are at bytes 11 to 89.
    if first[3..11] == *b"SYSLINUX" {
        copy[..11].copy_from_slice(&first[..11]);
        copy[90..].copy_from_slice(&first[90..]);
    }
    if read.is_err() || copy != *first {
        let size = volume.geometry().sector;
        let mend = format!("dd if=PARTITION of=PARTITION bs={size} seek={backup} count=1 conv=notrunc");
        report.add_mended(FAT_BACKUP, place.clone(), format!("sector {backup} differs from sector 0"), mend);
    }
}

/// Checks files and directories.
fn files(tree: &Tree, place: &Place, report: &mut Report) {
    let mut add = |rule: Rule, node: Option<usize>, what: String| {
        let esp = place.part.as_deref().unwrap_or_default();
        report.add(rule, Place::part(format!("{esp}, {}", tree.path(node))), what);
    };
    for (node, fault) in &tree.faults {
        add(FAT_CHAIN, *node, fault.to_string());
    }
    for (node, cluster) in &tree.shared {
        add(FAT_CROSS, *node, format!("cluster {cluster} also belongs to an earlier entry"));
    }
    for node in &tree.oversized {
        let clusters = tree.nodes.get(*node).map_or(0, |node| node.clusters);
        add(FAT_LONG, Some(*node), format!("{clusters} clusters, more than the file size needs"));
    }
    for (node, oddity) in &tree.irregular {
        add(FAT_ENTRY, *node, oddity.to_string());
    }
    if tree.truncated {
        report.add(FAT_CUT, place.clone(), format!("checked {} files and directories", tree.nodes.len()));
    }
}

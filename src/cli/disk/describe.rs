//! A disk in words and as JSON: where everything stands, what is on the EFI system partition.

use std::io::{self, Write};

use serde::Serialize;

use super::size::for_people;
use bootling::disk::plan::{EspNode, EspTree, Layout, Span};
use bootling::disk::writer::image::Image;
use bootling::format::{Guid, SectorSize};

/// A disk, as `--json` writes it. Fields are only ever added.
#[derive(Debug, Serialize)]
pub struct Disk {
    /// Bytes of the disk; its container may have more or fewer.
    pub size: u64,
    /// Sizes of logical sectors that it is for.
    pub sector_sizes: Vec<u64>,
    /// The disk's GUID.
    pub guid: String,
    /// Its partitions.
    pub partitions: Vec<PartitionReport>,
    /// The volume on the EFI system partition.
    pub volume: VolumeReport,
    /// What is on it.
    pub files: Vec<FileReport>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct PartitionReport {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// Its type's GUID.
    pub kind: String,
    /// Its own.
    pub guid: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many it has.
    pub size: u64,
}

/// A FAT volume.
#[derive(Debug, Serialize)]
pub struct VolumeReport {
    /// `FAT12`, `FAT16` or `FAT32`.
    pub kind: &'static str,
    /// Bytes of it; the partition may have some more.
    pub size: u64,
    /// Bytes of a sector.
    pub sector_size: u64,
    /// Bytes of a cluster.
    pub cluster_size: u64,
    /// Clusters for files.
    pub clusters: u64,
    /// `XXXX-XXXX`, as `/etc/fstab` wants it.
    pub serial: String,
}

/// A file or directory on the volume.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Its path.
    pub path: String,
    /// Its length; `null` for a directory.
    pub size: Option<u64>,
    /// Where it comes from.
    pub source: String,
}

impl Disk {
    /// Puts everything together.
    pub fn new(layout: &Layout, image: &Image, tree: &EspTree) -> Self {
        let report = |number, name, kind: Guid, guid: Guid, span: Span| PartitionReport {
            number,
            name,
            kind: kind.to_string(),
            guid: guid.to_string(),
            offset: span.offset,
            size: span.len,
        };
        let names = &image.names;
        let mut partitions = vec![report(1, "esp", Guid::ESP, names.esp, layout.esp)];
        partitions.extend(layout.root.map(|span| report(2, "root", names.root_kind, names.root, span)));
        let sizes = layout.sectors.one().map_or(SectorSize::ALL.to_vec(), |one| vec![one]);
        let files = tree.items().map(|item| FileReport {
            path: item.path.join("/"),
            size: match item.what {
                EspNode::Dir => None,
                EspNode::File { len, .. } => Some(len),
            },
            source: item.why.to_owned(),
        });
        let fat = &layout.fat;
        Self {
            size: layout.size,
            sector_sizes: sizes.into_iter().map(SectorSize::bytes).collect(),
            guid: names.disk.to_string(),
            partitions,
            volume: VolumeReport {
                kind: fat.kind.name(),
                size: fat.bytes(),
                sector_size: fat.sector,
                cluster_size: fat.cluster,
                clusters: fat.clusters,
                serial: format!("{:04X}-{:04X}", image.serial >> 16, image.serial & 0xffff),
            },
            files: files.collect(),
        }
    }

    /// For people.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let sizes: Vec<String> = self.sector_sizes.iter().map(u64::to_string).collect();
        writeln!(
            out,
            "disk  {}, sectors of {} bytes, GPT {}",
            for_people(self.size),
            sizes.join(" and of "),
            self.guid
        )?;
        for part in &self.partitions {
            let (number, name, guid) = (part.number, part.name, &part.guid);
            writeln!(out, "  {number}  {name:<5} {:>13} bytes at {:>11}  {guid}", part.size, part.offset)?;
        }
        let volume = &self.volume;
        let (kind, serial) = (volume.kind, &volume.serial);
        writeln!(out, "esp   {kind}, {} clusters of {} bytes, {serial}", volume.clusters, volume.cluster_size)?;
        for file in &self.files {
            let size = file.size.map_or_else(|| "dir".to_owned(), |size| size.to_string());
            writeln!(out, "  {size:>13}  {}  ({})", file.path, file.source)?;
        }
        Ok(())
    }
}

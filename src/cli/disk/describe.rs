//! Description of a disk, as text and as JSON: the layout and the files in the EFI system partition.

use std::io::{self, Write};

use serde::Serialize;

use super::size::format_size;
use bootling::disk::image::assemble::Image;
use bootling::disk::layout::{ByteRange, EspNode, EspTree, Layout};
use bootling::format::{Guid, SectorSize};

/// Disk as written by `--json`. New versions only add fields.
#[derive(Debug, Serialize)]
pub(crate) struct Disk {
    /// Size of the disk in bytes; the container file may be larger or smaller.
    pub size: u64,
    /// Supported logical sector sizes.
    pub sector_sizes: Vec<u64>,
    /// Disk GUID.
    pub guid: String,
    /// Partitions.
    pub partitions: Vec<PartitionReport>,
    /// File system of the EFI system partition.
    pub volume: VolumeReport,
    /// Its files and directories.
    pub files: Vec<FileReport>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionReport {
    /// Partition number.
    pub number: u32,
    /// Name.
    pub name: &'static str,
    /// Type GUID.
    pub kind: String,
    /// Unique GUID.
    pub guid: String,
    /// Offset in bytes.
    pub offset: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A FAT volume.
#[derive(Debug, Serialize)]
pub(crate) struct VolumeReport {
    /// `FAT12`, `FAT16` or `FAT32`.
    pub kind: String,
    /// Size in bytes; the partition may be slightly larger.
    pub size: u64,
    /// Sector size in bytes.
    pub sector_size: u64,
    /// Cluster size in bytes.
    pub cluster_size: u64,
    /// Number of data clusters.
    pub clusters: u64,
    /// Serial number as `XXXX-XXXX`, as used in `/etc/fstab`.
    pub serial: String,
}

/// A file or directory on the volume.
#[derive(Debug, Serialize)]
pub(crate) struct FileReport {
    /// Path.
    pub path: String,
    /// Size in bytes; `null` for a directory.
    pub size: Option<u64>,
    /// Source.
    pub source: String,
}

impl Disk {
    /// Creates the description.
    pub(crate) fn new(layout: &Layout, image: &Image, tree: &EspTree) -> Self {
        let report = |number, name, kind: Guid, guid: Guid, span: ByteRange| PartitionReport {
            number,
            name,
            kind: kind.to_string(),
            guid: guid.to_string(),
            offset: span.offset,
            size: span.len,
        };
        let names = &image.names;
        let mut partitions = vec![report(1, "esp", Guid::ESP, names.esp, layout.esp)];
        partitions.extend(layout.root.map(|span| report(2, "root", names.root_type, names.root, span)));
        let sizes = layout.sectors.single().map_or(SectorSize::ALL.to_vec(), |one| vec![one]);
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
                kind: fat.kind.to_string(),
                size: fat.bytes(),
                sector_size: fat.sector,
                cluster_size: fat.cluster,
                clusters: fat.clusters,
                serial: format!("{:04X}-{:04X}", image.serial >> 16, image.serial & 0xffff),
            },
            files: files.collect(),
        }
    }

    /// Prints the description as text.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let sizes: Vec<String> = self.sector_sizes.iter().map(u64::to_string).collect();
        writeln!(
            out,
            "disk  {}, sectors of {} bytes, GPT {}",
            format_size(self.size),
            sizes.join(" and of "),
            self.guid
        )?;
        for part in &self.partitions {
            let (number, name, guid) = (part.number, part.name, &part.guid);
            writeln!(out, "  {number}  {name:<5} {:>13} bytes at {:>11}  {guid}", part.size, part.offset)?;
        }
        let volume = &self.volume;
        let (kind, serial) = (&volume.kind, &volume.serial);
        writeln!(out, "esp   {kind}, {} clusters of {} bytes, {serial}", volume.clusters, volume.cluster_size)?;
        for file in &self.files {
            let size = file.size.map_or_else(|| "dir".to_owned(), |size| size.to_string());
            writeln!(out, "  {size:>13}  {}  ({})", file.path, file.source)?;
        }
        Ok(())
    }
}

//! `ls` and `cat` for disks (partitions, file systems that firmware reads), CDs and EFI programs (sections).

mod cat;
mod disk;

use std::io::{self, Write};

use serde::Serialize;

pub(crate) use self::cat::cat;
pub(crate) use self::disk::disk;
use bootling::disk::container::Image;
use bootling::format::Lba;
use bootling::format::pe::{Pe, Section};
use bootling::initrd::explain::Printable;

/// A listed item.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Row {
    /// A partition.
    Partition {
        /// Partition number.
        number: u32,
        /// First LBA.
        first: u64,
        /// Last LBA.
        last: u64,
        /// Sector size in bytes.
        sector: u64,
        /// Size in bytes.
        size: u64,
        /// Name or GUID of its type.
        kind: String,
        /// Unique GUID; absent in an MBR partition table.
        #[serde(skip_serializing_if = "String::is_empty")]
        guid: String,
        /// Name.
        name: String,
        /// Partition table: `gpt` or `mbr`.
        table: &'static str,
    },
    /// The ISO 9660 file system of a CD. Its files follow.
    Cd {
        /// Volume identifier.
        label: String,
        /// Size in bytes.
        size: u64,
    },
    /// An image in the boot catalog of a CD. Its files follow, unless it is a partition, too.
    #[serde(rename = "boot image")]
    BootImage {
        /// Number in the catalog, from 1.
        number: u32,
        /// `BIOS`, `UEFI` or the number of another platform.
        platform: String,
        /// True if the entry is marked as bootable.
        bootable: bool,
        /// First sector of 2048 bytes.
        lba: u32,
        /// Size in bytes.
        size: u64,
    },
    /// A file in an EFI system partition, a boot image or on a CD.
    File {
        /// Partition number; 0 for a file that is not in a partition.
        partition: u32,
        /// Number of the boot image that contains it.
        #[serde(skip_serializing_if = "Option::is_none")]
        boot_image: Option<u32>,
        /// Path.
        path: String,
        /// Size in bytes.
        size: u64,
        /// First LBA on the disk; absent for an empty file.
        #[serde(skip_serializing_if = "Option::is_none")]
        lba: Option<u64>,
        /// Modification time.
        modified: String,
    },
    /// A directory.
    Directory {
        /// Partition number; 0 for a directory that is not in a partition.
        partition: u32,
        /// Number of the boot image that contains it.
        #[serde(skip_serializing_if = "Option::is_none")]
        boot_image: Option<u32>,
        /// Path.
        path: String,
        /// Modification time.
        modified: String,
    },
    /// A symbolic link on a CD.
    Link {
        /// Path.
        path: String,
        /// Target.
        target: String,
        /// Modification time.
        modified: String,
    },
    /// A section of an EFI program.
    Section {
        /// Name.
        name: String,
        /// Number among the sections of this name, from 1.
        occurrence: usize,
        /// Size of its content in bytes.
        size: u64,
        /// Offset in the file.
        offset: u64,
        /// Address relative to the image base.
        address: u64,
        /// Size in memory, in bytes.
        #[serde(rename = "virtual")]
        held: u64,
    },
}

/// Lists the sections of an EFI program.
pub(crate) fn program(image: &Image) -> anyhow::Result<Vec<Row>> {
    let pe = Pe::read(image)?;
    let rows = pe.sections.iter().enumerate().map(|(index, section)| {
        let (offset, size) = section.contents();
        let (address, held) = (section.address.into(), section.virtual_size.into());
        Row::Section { name: section.name(), occurrence: occurrence(&pe, index), size, offset, address, held }
    });
    Ok(rows.collect())
}

/// Returns the number of a section among those of its name, from 1. A UKI with several profiles has several sections of
/// the same name.
fn occurrence(pe: &Pe, index: usize) -> usize {
    let name = pe.sections.get(index).map(Section::name);
    pe.sections.iter().take(index + 1).filter(|section| Some(section.name()) == name).count()
}

/// Returns the name that selects a section: `.cmdline`, or `.cmdline#2` for the second of that name.
fn section_name(name: &str, occurrence: usize) -> String {
    if occurrence == 1 { name.to_owned() } else { format!("{name}#{occurrence}") }
}

/// Prints items as text.
pub(crate) fn text(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        match row {
            Row::Partition { number, first, last, size, kind, name, .. } => {
                let (first, last) = (Lba(*first), Lba(*last));
                write!(out, "partition {number}  LBA {first} to {last}  {size:>12}  {kind}")?;
                if name.is_empty() { writeln!(out)? } else { writeln!(out, "  \"{}\"", Printable(name.as_bytes()))? }
            }
            Row::Cd { label, size } => {
                writeln!(out, "ISO 9660  {size} bytes  \"{}\"", Printable(label.as_bytes()))?;
            }
            Row::BootImage { number, platform, bootable, lba, size } => {
                let idle = if *bootable { "" } else { "  not bootable" };
                writeln!(out, "boot image {number}  {platform}  LBA {lba}  {size:>12}{idle}")?;
            }
            Row::Link { path, target, modified } => {
                let (path, target) = (Printable(path.as_bytes()), Printable(target.as_bytes()));
                writeln!(out, "{modified} {:>10}  {:<12} {path} -> {target}", "-", "-")?;
            }
            Row::File { path, size, lba, modified, .. } => {
                let lba = lba.map_or_else(|| "-".to_owned(), |lba| format!("LBA {lba}"));
                writeln!(out, "{modified} {size:>10}  {lba:<12} {}", Printable(path.as_bytes()))?;
            }
            Row::Directory { path, modified, .. } => {
                writeln!(out, "{modified} {:>10}  {:<12} {}/", "-", "-", Printable(path.as_bytes()))?;
            }
            Row::Section { name, occurrence, size, offset, address, .. } => {
                let name = section_name(name, *occurrence);
                writeln!(out, "{name:<9} {size:>10}  offset {offset:#010x}  address {address:#010x}")?;
            }
        }
    }
    Ok(())
}

/// Prints items as one JSON array, one item per line.
pub(crate) fn json(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut separator = "[\n";
    for row in rows {
        out.write_all(separator.as_bytes())?;
        separator = ",\n";
        serde_json::to_writer(&mut *out, row)?;
    }
    writeln!(out, "{}", if separator == ",\n" { "\n]" } else { "[]" })
}

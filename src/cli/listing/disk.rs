//! Lists a disk: its partitions, its ISO 9660 file system and boot images, and the files that firmware reads.

use anyhow::bail;

use super::Row;
use crate::cli::output;
use bootling::disk::container::Image;
use bootling::disk::mbr::{self, MbrFault, MbrPartition};
use bootling::disk::volumes::{Origin, Place, places};
use bootling::format::gpt::{self, Gpt};
use bootling::format::iso9660::{self, EntryKind, Platform};
use bootling::format::mbr::Mbr;
use bootling::format::{Guid, Medium, SectorSize};

/// Lists a disk. Returns `None` for an unknown format.
pub(crate) fn disk(image: &Image) -> anyhow::Result<Option<Vec<Row>>> {
    let tables = gpt::probe(image);
    let places = places(image, image.sector());
    let whole = places.iter().any(|place| place.origin == Origin::Whole);
    let mut rows: Vec<Row> = tables.iter().flat_map(gpt_partitions).collect();
    let cd = iso9660::is_iso(image);
    if !whole && mbr_counts(image, &tables) {
        rows.extend(mbr_partitions(image, !tables.is_empty() || cd)?);
    }
    for place in places.iter().filter(|place| !matches!(place.origin, Origin::BootImage(_))) {
        fat_files(image, *place, &mut rows)?;
    }
    if cd {
        cd_files(image, &places, &mut rows)?;
    }
    let known = whole || cd || !tables.is_empty() || !rows.is_empty();
    Ok(known.then_some(rows))
}

/// Returns true if firmware reads the records of the MBR as partitions, and they do not only protect a GPT.
fn mbr_counts(image: &Image, tables: &[Gpt]) -> bool {
    let mut first = [0; 512];
    image.read_at(&mut first, 0).is_ok() && (tables.is_empty() || !Mbr::decode(&first).is_protective())
}

/// Returns the partitions of an MBR partition table. `lenient`: a fault is a note, because there is more to list.
fn mbr_partitions(image: &Image, lenient: bool) -> anyhow::Result<Vec<Row>> {
    let sector = image.sector().unwrap_or(SectorSize::S512);
    let partitions = match mbr::read(image, sector) {
        Ok(partitions) => partitions,
        Err(MbrFault::Signature | MbrFault::Read(..)) => Vec::new(),
        Err(fault) if lenient => {
            output::note(&format!("MBR partition table: {fault}"));
            Vec::new()
        }
        Err(fault) => return Err(fault.into()),
    };
    let row = |part: &MbrPartition| Row::Partition {
        number: part.number,
        first: part.starting_lba.0,
        last: part.starting_lba.0 + part.sectors.saturating_sub(1),
        sector: sector.bytes(),
        size: part.sectors * sector.bytes(),
        kind: part.type_name(),
        guid: String::new(),
        name: String::new(),
        table: "mbr",
    };
    Ok(partitions.iter().map(row).collect())
}

fn gpt_partitions(gpt: &Gpt) -> impl Iterator<Item = Row> {
    gpt.partitions.iter().map(|part| Row::Partition {
        number: part.number,
        first: part.starting_lba.0,
        last: part.ending_lba.0,
        sector: gpt.sector.bytes(),
        size: part.span(gpt.sector).map_or(0, |(_, len)| len),
        kind: kind(part.type_guid),
        guid: part.unique_guid.to_string(),
        name: part.name.clone(),
        table: "gpt",
    })
}

fn kind(guid: Guid) -> String {
    let names = [
        (Guid::ESP, "EFI system partition"),
        (Guid::BIOS_BOOT, "BIOS boot partition"),
        (Guid::ROOT_X86_64, "Linux root (x86-64)"),
        (Guid::LINUX_DATA, "Linux file system"),
    ];
    names.iter().find(|(known, _)| *known == guid).map_or_else(|| guid.to_string(), |(_, name)| (*name).to_owned())
}

/// Adds the files of a FAT file system.
fn fat_files(image: &Image, place: Place, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (name, partition, boot_image) = match place.origin {
        Origin::Whole => ("volume".to_owned(), 0, None),
        Origin::Partition(number) => (format!("partition {number}"), number, None),
        Origin::BootImage(number) => (format!("boot image {number}"), 0, Some(number)),
    };
    let volume = match place.open(image) {
        Ok(volume) => volume,
        Err(fault) if place.origin == Origin::Whole => return Err(fault.into()),
        // Print the partitions even if one of them is damaged; `check` reports the details.
        Err(fault) => {
            output::note(&format!("{name}: {fault}"));
            return Ok(());
        }
    };
    let tree = volume.tree();
    if let Some((node, fault)) = tree.faults.iter().find(|(node, _)| node.is_none()) {
        bail!("{name}: {}: {fault}", tree.path(*node));
    }
    for (index, node) in tree.nodes.iter().enumerate() {
        let path = tree.path(Some(index));
        let modified = node.entry.modified.to_string();
        rows.push(if node.entry.directory {
            Row::Directory { partition, boot_image, path, modified }
        } else {
            let offset = volume.geometry().offset(node.entry.cluster);
            let lba = offset.map(|offset| place.start.saturating_add(offset) / place.sector.bytes());
            Row::File { partition, boot_image, path, size: node.entry.size.into(), lba, modified }
        });
    }
    if tree.truncated {
        output::note(&format!("{name}: list truncated"));
    }
    Ok(())
}

/// Adds the files of a CD, its boot images, and the files in those for UEFI that are not partitions, too.
fn cd_files(image: &Image, places: &[Place], rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let volume = iso9660::Volume::open(image)?;
    let descriptors = volume.descriptors();
    rows.push(Row::Cd { label: descriptors.label.clone(), size: descriptors.size });
    let tree = volume.tree();
    for (path, fault) in &tree.faults {
        output::note(&format!("ISO 9660 directory /{path}: {fault}"));
    }
    for node in tree.nodes {
        let (path, modified) = (node.path, node.entry.modified.to_string());
        let lba = volume.offset(&node.entry).map(|offset| offset / SectorSize::S512.bytes());
        rows.push(match node.entry.kind {
            EntryKind::Directory => Row::Directory { partition: 0, boot_image: None, path, modified },
            EntryKind::Link(target) => Row::Link { path, target, modified },
            EntryKind::File => Row::File { partition: 0, boot_image: None, path, size: node.entry.size, lba, modified },
        });
    }
    if tree.truncated {
        output::note("ISO 9660: list truncated");
    }
    let entries = match volume.boot_entries() {
        Ok(entries) => entries,
        Err(fault) => {
            output::note(&fault.to_string());
            return Ok(());
        }
    };
    for (number, entry) in (1..).zip(entries) {
        let platform = match entry.platform {
            Platform::Bios => "BIOS".to_owned(),
            Platform::Uefi => "UEFI".to_owned(),
            Platform::Other(id) => format!("platform {id:02x}"),
        };
        let (_, size) = entry.span(image.size());
        rows.push(Row::BootImage { number, platform, bootable: entry.bootable, lba: entry.lba, size });
        if let Some(place) = places.iter().find(|place| place.origin == Origin::BootImage(number)) {
            fat_files(image, *place, rows)?;
        }
    }
    Ok(())
}

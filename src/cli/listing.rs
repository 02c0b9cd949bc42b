//! `ls` and `cat` for disks (partitions, files in the EFI system partition) and EFI programs (sections).

use std::io::{self, Read, Write};

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use super::opened::Opened;
use bootling::disk::container::Image;
use bootling::disk::mbr::{self, MbrFault, MbrPartition};
use bootling::format::fat::{Bpb, Fault, Volume};
use bootling::format::gpt::{self, Gpt, Partition};
use bootling::format::pe::Pe;
use bootling::format::{Guid, Lba, Medium, SectorSize, Stream, Window};
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
    },
    /// A file in an EFI system partition.
    File {
        /// Partition number; 0 on a disk without partitions.
        partition: u32,
        /// Path.
        path: String,
        /// Size in bytes.
        size: u32,
        /// First LBA on the disk; absent for an empty file.
        #[serde(skip_serializing_if = "Option::is_none")]
        lba: Option<u64>,
        /// Modification time.
        modified: String,
    },
    /// A directory in an EFI system partition.
    Directory {
        /// Partition number; 0 on a disk without partitions.
        partition: u32,
        /// Path.
        path: String,
        /// Modification time.
        modified: String,
    },
    /// A section of an EFI program.
    Section {
        /// Name.
        name: String,
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

/// An EFI system partition, or a disk that contains a file system without partitions.
pub(crate) struct Esp<'a> {
    number: u32,
    start: u64,
    sector: u64,
    /// File system.
    pub volume: Volume<Window<&'a Image>>,
}

/// Opens the file systems of a disk that firmware can boot from.
pub(crate) fn volumes<'a>(image: &'a Image, table: Option<&Gpt>) -> Vec<Result<Esp<'a>, (u32, Fault)>> {
    let open = |number, start, len, sector: SectorSize| {
        let volume = Volume::open(Window::new(image, start, len)).map_err(|fault| (number, fault))?;
        Ok(Esp { number, start, sector: sector.bytes(), volume })
    };
    match table {
        None => vec![open(0, 0, image.size(), SectorSize::S512)],
        Some(gpt) => esps(gpt).map(|(part, start, len)| open(part.number, start, len, gpt.sector)).collect(),
    }
}

fn esps(gpt: &Gpt) -> impl Iterator<Item = (&Partition, u64, u64)> {
    let places = gpt.partitions.iter().filter(|part| part.type_guid == Guid::ESP);
    places.filter_map(|part| part.span(gpt.sector).map(|(start, len)| (part, start, len)))
}

/// Returns true if the disk contains a FAT file system without partitions.
fn is_volume(image: &Image) -> bool {
    let mut first = [0; 512];
    image.read_at(&mut first, 0).is_ok() && Bpb::looks_like_fat(&first)
}

/// Lists a disk. Returns `None` for an unknown format.
pub(crate) fn disk(image: &Image) -> anyhow::Result<Option<Vec<Row>>> {
    let tables = gpt::probe(image);
    if tables.is_empty() && !is_volume(image) {
        return mbr_disk(image);
    }
    let mut rows: Vec<Row> = tables.iter().flat_map(partitions).collect();
    for esp in volumes(image, tables.first()) {
        match esp {
            Ok(esp) => files(&esp, &mut rows)?,
            Err((0, fault)) => return Err(fault.into()),
            // Print the partitions even if one of them is damaged; `check` reports the details.
            Err((number, fault)) => super::output::note(&format!("partition {number}: {fault}")),
        }
    }
    Ok(Some(rows))
}

/// Lists the partitions of an MBR partition table. Returns `None` if the disk has none.
fn mbr_disk(image: &Image) -> anyhow::Result<Option<Vec<Row>>> {
    let sector = image.sector().unwrap_or(SectorSize::S512);
    let partitions = match mbr::read(image, sector) {
        Ok(partitions) => partitions,
        Err(MbrFault::Signature | MbrFault::Read(..)) => return Ok(None),
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
    };
    let rows: Vec<Row> = partitions.iter().map(row).collect();
    Ok((!rows.is_empty()).then_some(rows))
}

fn partitions(gpt: &Gpt) -> impl Iterator<Item = Row> {
    gpt.partitions.iter().map(|part| Row::Partition {
        number: part.number,
        first: part.starting_lba.0,
        last: part.ending_lba.0,
        sector: gpt.sector.bytes(),
        size: part.span(gpt.sector).map_or(0, |(_, len)| len),
        kind: kind(part.type_guid),
        guid: part.unique_guid.to_string(),
        name: part.name.clone(),
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

fn files(esp: &Esp<'_>, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let tree = esp.volume.tree();
    if let Some((node, fault)) = tree.faults.iter().find(|(node, _)| node.is_none()) {
        bail!("partition {}: {}: {fault}", esp.number, tree.path(*node));
    }
    for (index, node) in tree.nodes.iter().enumerate() {
        let (partition, path) = (esp.number, tree.path(Some(index)));
        let modified = node.entry.modified.to_string();
        rows.push(if node.entry.directory {
            Row::Directory { partition, path, modified }
        } else {
            let offset = esp.volume.geometry().offset(node.entry.cluster);
            let lba = offset.map(|offset| (esp.start.saturating_add(offset)) / esp.sector);
            Row::File { partition, path, size: node.entry.size, lba, modified }
        });
    }
    if tree.truncated {
        super::output::note(&format!("partition {}: list truncated", esp.number));
    }
    Ok(())
}

/// Lists the sections of an EFI program.
pub(crate) fn program(image: &Image) -> anyhow::Result<Option<Vec<Row>>> {
    let pe = Pe::read(image)?;
    let rows = pe.sections.iter().map(|section| {
        let (offset, size) = section.contents();
        let (address, held) = (section.address.into(), section.virtual_size.into());
        Row::Section { name: section.name(), size, offset, address, held }
    });
    Ok(Some(rows.collect()))
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
            Row::File { path, size, lba, modified, .. } => {
                let lba = lba.map_or_else(|| "-".to_owned(), |lba| format!("LBA {lba}"));
                writeln!(out, "{modified} {size:>10}  {lba:<12} {}", Printable(path.as_bytes()))?;
            }
            Row::Directory { path, modified, .. } => {
                writeln!(out, "{modified} {:>10}  {:<12} {}/", "-", "-", Printable(path.as_bytes()))?;
            }
            Row::Section { name, size, offset, address, .. } => {
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

/// Prints the file at `path` on a disk, or the section with that name.
pub(crate) fn cat(opened: Opened, path: &str, out: &mut impl Write) -> anyhow::Result<()> {
    match opened {
        Opened::Disk(image) => cat_disk(&image, path, out),
        Opened::Program(image) => {
            let pe = Pe::read(&image)?;
            let section = pe.section(path).ok_or_else(|| {
                let names: Vec<String> = pe.sections.iter().map(bootling::format::pe::Section::name).collect();
                anyhow!("no such section; available: {}", names.join(" "))
            })?;
            let (offset, len) = section.contents();
            copy(Stream::new(Window::new(&image, offset, len)), out)
        }
        Opened::Initrd(_) => bail!("an initrd must be a regular file, because it is read twice"),
    }
}

fn cat_disk(image: &Image, path: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let tables = gpt::probe(image);
    if tables.is_empty() && !is_volume(image) {
        bail!("not an initrd, disk image or EFI program");
    }
    let mut failed = None;
    for esp in volumes(image, tables.first()) {
        let read = esp.map_err(|(_, fault)| fault).and_then(|esp| {
            let entry =
                esp.volume.find(path)?.ok_or_else(|| Fault::WrongType(path.to_owned(), "the root directory"))?;
            esp.volume.content(&entry).map(|content| copy(content, out))
        });
        match read {
            Ok(copied) => return copied,
            Err(fault) => failed = failed.or(Some(fault)),
        }
    }
    Err(failed.map_or_else(|| anyhow!("no EFI system partition"), anyhow::Error::from))
}

fn copy(mut content: impl Read, out: &mut impl Write) -> anyhow::Result<()> {
    io::copy(&mut content, out).context("failed to copy")?;
    Ok(())
}

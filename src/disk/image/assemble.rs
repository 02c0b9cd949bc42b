//! Assembly of a disk image: MBR, partition tables, EFI system partition and root partition.
//!
//! GUIDs and the volume serial number are derived from the contents. The same contents result in the same bytes, and
//! different contents result in different GUIDs.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::memory::Canvas;
use super::volume::{DosTime, VolumeError, VolumeSpec, volume};
use crate::disk::layout::{DiskGuids, EspNode, EspTree, Layout};
use crate::format::mbr::{BOOT_CODE, Mbr};
use crate::format::{Guid, SectorSize};
use crate::output::extents::{ExtentError, Extents};

/// Parts of an image.
#[derive(Debug, Clone, Copy)]
pub struct ImageSpec<'a> {
    /// Disk layout.
    pub layout: &'a Layout,
    /// Directory tree of the EFI system partition.
    pub tree: &'a EspTree,
    /// File contents, by the source indexes of the tree.
    pub files: &'a [Arc<Extents>],
    /// Content and type GUID of the root partition.
    pub root: Option<(&'a Extents, Guid)>,
    /// Boot code for a legacy BIOS.
    pub boot_code: [u8; BOOT_CODE],
    /// Time of all files, in seconds since 1970.
    pub time: u64,
}

/// Error from building an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The FAT volume cannot be created.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// The partition tables cannot be written.
    #[error("failed to create the partition tables")]
    Tables(#[source] std::io::Error),
    /// A source cannot be read.
    #[error(transparent)]
    Extent(#[from] ExtentError),
}

/// Disk image and its identifiers.
#[derive(Debug)]
pub struct Image {
    /// Bytes of the image.
    pub extents: Extents,
    /// GUIDs.
    pub names: DiskGuids,
    /// Volume serial number, which `blkid` shows as the UUID.
    pub serial: u32,
}

/// Builds an image.
pub fn image(spec: &ImageSpec<'_>) -> Result<Image, ImageError> {
    let layout = spec.layout;
    let seed = seed(spec)?;
    let guid = |purpose| Guid::derived(&seed, purpose);
    let root_type = spec.root.map_or(Guid::LINUX_DATA, |(_, kind)| kind);
    let names = DiskGuids { disk: guid("disk"), esp: guid("esp"), root: guid("root"), root_type };
    let [a, b, c, d, ..] = names.esp.0;
    // Derive the volume serial number from the partition GUID, as systemd-repart does.
    let serial = u32::from_le_bytes([a, b, c, d]);
    let volume = volume(
        &VolumeSpec {
            geometry: layout.fat,
            serial,
            hidden_sectors: u32::try_from(layout.esp.offset / layout.fat.sector).unwrap_or(0),
            time: DosTime::from_unix(spec.time),
        },
        spec.tree,
        spec.files,
    )?;
    let mut extents = Extents::new(layout.size);
    let mut tables = Canvas::new(layout.size);
    tables.put(0, &Mbr::protective(spec.boot_code, layout.size, layout.sectors.single()).encode());
    layout.tables(&names).iter().try_for_each(|table| table.write(&mut tables)).map_err(ImageError::Tables)?;
    for (offset, page) in tables.into_pages() {
        extents.add_bytes(offset, page);
    }
    extents.add_all(layout.esp.offset, &volume);
    if let (Some(span), Some((root, _))) = (layout.root, spec.root) {
        extents.add_all(span.offset, root);
    }
    Ok(Image { extents, names, serial })
}

/// Returns the seed of the GUIDs: a digest of all paths, all contents and the layout. The boot code is not part of it,
/// so a disk with another message keeps its GUIDs.
fn seed(spec: &ImageSpec<'_>) -> Result<[u8; 32], ImageError> {
    let mut hasher = Sha256::new();
    hasher.update(b"bootling disk 1\0");
    let layout = spec.layout;
    let sectors = layout.sectors.single().map_or(0, SectorSize::bytes);
    let root = layout.root.map_or(0, |root| root.offset);
    for number in [layout.size, sectors, layout.esp.len, layout.fat.cluster, root] {
        hasher.update(number.to_le_bytes());
    }
    for item in spec.tree.items() {
        hasher.update(item.path.join("/"));
        match item.what {
            EspNode::Dir => hasher.update(b"\0d"),
            EspNode::File { len, source } => {
                hasher.update(b"\0f");
                hasher.update(len.to_le_bytes());
                if let Some(content) = spec.files.get(source) {
                    digest(content, &mut hasher)?;
                }
            }
        }
    }
    if let Some((root, _)) = spec.root {
        hasher.update(b"root\0");
        digest(root, &mut hasher)?;
    }
    Ok(hasher.finalize().into())
}

/// Hashes a file's content. The result does not depend on whether zeros are holes.
fn digest(content: &Extents, hasher: &mut Sha256) -> Result<(), ExtentError> {
    const BLOCK: usize = 4096;
    let mut block = [0; BLOCK];
    let mut number = 0;
    let mut flush = |number: u64, block: &mut [u8; BLOCK]| {
        if block.iter().any(|byte| *byte != 0) {
            hasher.update(number.to_le_bytes());
            hasher.update(&block);
            block.fill(0);
        }
    };
    content.each(&mut |mut at, mut bytes| {
        while !bytes.is_empty() {
            let here = at / BLOCK as u64;
            if here != number {
                flush(number, &mut block);
                number = here;
            }
            let within = (at % BLOCK as u64) as usize;
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - within));
            block[within..within + part.len()].copy_from_slice(part);
            at += part.len() as u64;
            bytes = rest;
        }
    })?;
    flush(number, &mut block);
    Ok(())
}

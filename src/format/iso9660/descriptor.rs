//! Volume descriptors (ECMA-119, section 8): sectors of 2048 bytes from sector 16 on, up to a terminator.

use std::io;

use crate::format::Medium;
use crate::format::bytes::le32;

/// Sector size of a CD, and of descriptors and boot catalogs on any medium.
pub const SECTOR: u64 = 2048;
/// Sector of the first descriptor.
const FIRST: u64 = 16;
/// Maximum number of descriptors read. Real images have up to five.
const MOST: u64 = 32;
/// Application use area of the primary descriptor.
const APPLICATION: usize = 883;
/// Text that implantisomd5 writes to the application use area.
const IMPLANTED: &[u8] = b"ISO MD5SUM";

/// Location of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// First logical block.
    pub block: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Fields of the volume descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptors {
    /// Volume identifier, without trailing spaces.
    pub label: String,
    /// Size of the volume in bytes.
    pub size: u64,
    /// Logical block size in bytes: 512, 1024 or 2048.
    pub block: u64,
    /// Root directory.
    pub root: Root,
    /// Root directory with Unicode names (Joliet).
    pub joliet: Option<Root>,
    /// Sector of the boot catalog (El Torito).
    pub boot_catalog: Option<u32>,
    /// True if a checksum of the whole image is in the descriptor (isomd5sum): a change of the image invalidates it.
    pub has_checksum: bool,
}

/// Returns true if a medium contains an ISO 9660 file system.
pub fn is_iso(medium: &(impl Medium + ?Sized)) -> bool {
    let mut magic = [0; 6];
    medium.read_at(&mut magic, FIRST * SECTOR).is_ok() && &magic[1..] == b"CD001"
}

/// Reads all descriptors; `None` if there is no primary one.
pub(super) fn read(medium: &impl Medium) -> io::Result<Option<Descriptors>> {
    let mut primary: Option<Descriptors> = None;
    let (mut joliet, mut boot_catalog) = (None, None);
    for number in FIRST..FIRST + MOST {
        let mut sector = [0; SECTOR as usize];
        match medium.read_at(&mut sector, number * SECTOR) {
            Ok(()) => {}
            // The terminator may be missing in a truncated image.
            Err(_) if primary.is_some() => break,
            Err(error) => return Err(error),
        }
        if &sector[1..6] != b"CD001" {
            break;
        }
        match sector[0] {
            0 if sector[7..].starts_with(b"EL TORITO SPECIFICATION") => {
                boot_catalog = boot_catalog.or(Some(le32(&sector, 71)));
            }
            1 => primary = primary.or_else(|| decode(&sector)),
            // Levels 1 to 3 of UCS-2.
            2 if matches!(&sector[88..91], b"%/@" | b"%/C" | b"%/E") => joliet = Some(root(&sector)),
            255 => break,
            _ => {}
        }
    }
    Ok(primary.map(|primary| Descriptors { joliet, boot_catalog, ..primary }))
}

/// Parses the primary descriptor. `None` if the block size is invalid.
fn decode(sector: &[u8; SECTOR as usize]) -> Option<Descriptors> {
    let block = u64::from(u16::from_le_bytes([sector[128], sector[129]]));
    if !matches!(block, 512 | 1024 | 2048) {
        return None;
    }
    Some(Descriptors {
        label: String::from_utf8_lossy(&sector[40..72]).trim_end_matches([' ', '\0']).to_owned(),
        size: u64::from(le32(sector, 80)) * block,
        block,
        root: root(sector),
        joliet: None,
        boot_catalog: None,
        has_checksum: sector[APPLICATION..].starts_with(IMPLANTED),
    })
}

/// Returns the root directory from its record in a descriptor.
fn root(sector: &[u8; SECTOR as usize]) -> Root {
    // The data follows the extended attribute record, whose length in blocks is in byte 1.
    let block = le32(sector, 156 + 2).saturating_add(sector[157].into());
    Root { block, len: le32(sector, 156 + 10) }
}

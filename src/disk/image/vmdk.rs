//! VMDK as a single sparse file ("monolithicSparse"; `VMware`, Virtual Disk Format 5.0, "Hosted Sparse Extents"):
//! grains of 64 KiB, two copies of the tables.
//!
//! ```text
//! header | descriptor | directory, tables | directory, tables (again) | grains, in the order of the disk
//! ```

use super::runs::pack;
use crate::format::Guid;
use crate::output::extents::Extents;

/// Maximum disk size in bytes: sector numbers have 32 bits.
pub(crate) const LARGEST: u64 = (2 << 40) - (64 << 20);

const SECTOR: u64 = 512;
/// Sectors per grain.
const GRAIN: u64 = 128;
/// 4-byte entries per grain table.
const ENTRIES: u64 = 512;
/// Sectors per grain table.
const TABLE: u64 = ENTRIES * 4 / SECTOR;
/// Sectors for the descriptor: the number that all tools reserve.
const DESCRIPTOR: u64 = 20;
/// Flags: the newline test bytes are valid; a redundant set of tables exists.
const FLAGS: u32 = 3;

/// Converts an image to VMDK.
pub(crate) fn contain(image: &Extents, id: Guid) -> Extents {
    let sectors = image.size().div_ceil(SECTOR);
    let runs = image.runs(GRAIN * SECTOR);
    let tables = sectors.div_ceil(GRAIN * ENTRIES);
    let directory = (tables * 4).div_ceil(SECTOR);
    let set = directory + tables * TABLE;
    let (first, second) = (1 + DESCRIPTOR, 1 + DESCRIPTOR + set);
    let overhead = (second + set).next_multiple_of(GRAIN);

    let mut grains = vec![0u32; (tables * ENTRIES) as usize];
    let mut at = overhead;
    for grain in runs.iter().flat_map(|(start, end)| start / SECTOR / GRAIN..end / SECTOR / GRAIN) {
        grains[grain as usize] = at as u32;
        at += GRAIN;
    }
    let mut out = Extents::new(at * SECTOR);
    out.add_bytes(0, header(sectors, first, second, overhead));
    out.add_bytes(SECTOR, descriptor(sectors, id));
    for start in [first, second] {
        let tables = (0..tables).map(|table| (start + directory + table * TABLE) as u32);
        out.add_bytes(start * SECTOR, entries(tables));
        out.add_bytes((start + directory) * SECTOR, entries(grains.iter().copied()));
    }
    pack(&mut out, image, &runs, overhead * SECTOR);
    out
}

fn entries(entries: impl Iterator<Item = u32>) -> Vec<u8> {
    entries.flat_map(u32::to_le_bytes).collect()
}

fn header(sectors: u64, first: u64, second: u64, overhead: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SECTOR as usize);
    bytes.extend(b"KDMV");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(FLAGS.to_le_bytes());
    for field in [sectors, GRAIN, 1, DESCRIPTOR] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend((ENTRIES as u32).to_le_bytes());
    for field in [first, second, overhead] {
        bytes.extend(field.to_le_bytes());
    }
    // No unclean shutdown; then the newline test bytes, which a transfer in text mode would change.
    bytes.extend([0, b'\n', b' ', b'\r', b'\n']);
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// Returns the descriptor. Its file name is constant, so that the output does not depend on the name of the image.
/// Readers of a single-file VMDK ignore it.
fn descriptor(sectors: u64, id: Guid) -> Vec<u8> {
    let [a, b, c, d, ..] = id.0;
    // 0xffffffff means "no parent".
    let cid = u32::from_le_bytes([a, b, c, d]) & 0x7fff_ffff;
    let cylinders = (sectors / (16 * 63)).clamp(1, 65_535);
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n\
         # Extent description\nRW {sectors} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"lsilogic\"\n"
    );
    let mut bytes = text.into_bytes();
    bytes.resize((DESCRIPTOR * SECTOR) as usize, 0);
    bytes
}

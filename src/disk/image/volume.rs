//! FAT volume of an EFI system partition, written by the fatfs crate and fixed by [`super::fatfs_fixes`].
//!
//! The crate (0.3.6) formats the volume, allocates clusters and creates directories. File contents do not pass through
//! it: only their offsets are recorded (see [`super::memory`]). The resulting geometry must equal the planned one.
//! Directories with thousands of files are slow, because the crate compares each new name with all existing names.

use std::io::{self, Write};
use std::sync::Arc;

use fatfs::{DateTime, FileSystem, FormatVolumeOptions, FsOptions};

use super::fatfs_fixes::repair;
use super::memory::Canvas;
use crate::disk::layout::{EspNode, EspTree, Geometry};
use crate::format::fat::FatType;
use crate::output::extents::Extents;

/// Volume label, in the boot sector and in an entry of the root directory.
pub(crate) const LABEL: [u8; 11] = *b"ESP        ";

/// Error from creating a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The fatfs crate failed.
    #[error("failed to create the FAT volume: cannot {doing}")]
    Crate {
        /// Action, as an infinitive.
        doing: String,
        /// Cause.
        source: io::Error,
    },
    /// The crate created a volume with another geometry than planned.
    #[error("failed to create the FAT volume: expected {planned}, found {found}")]
    Geometry {
        /// Planned geometry.
        planned: String,
        /// Actual geometry.
        found: String,
    },
}

/// Parameters of a volume.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VolumeSpec {
    /// Planned geometry.
    pub(crate) geometry: Geometry,
    /// Volume serial number, which `blkid` shows as the UUID.
    pub(crate) serial: u32,
    /// Number of sectors that precede the volume on the disk, in sectors of the volume.
    pub(crate) hidden_sectors: u32,
    /// Time of all files.
    pub(crate) time: DosTime,
}

/// FAT timestamp: from 1980 to 2107, in UTC, with a resolution of two seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DosTime(DateTime);

impl DosTime {
    /// Converts seconds since 1970. Clamps times outside 1980 to 2107.
    pub(crate) fn from_unix(seconds: u64) -> Self {
        /// 1980-01-01 00:00:00 and 2107-12-31 23:59:58, in UTC.
        const RANGE: (u64, u64) = (315_532_800, 4_354_819_198);
        let seconds = seconds.clamp(RANGE.0, RANGE.1);
        let (day, second) = (seconds / 86_400, seconds % 86_400);
        // Converts days to dates by eras of 400 years that start in March (Howard Hinnant, "chrono-compatible low-level
        // date algorithms", civil_from_days).
        let shifted = day + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let small = |number: u64| number as u16;
        Self(DateTime {
            date: fatfs::Date {
                year: small(year),
                month: small(month),
                day: small(of_year - (153 * from_march + 2) / 5 + 1),
            },
            time: fatfs::Time {
                hour: small(second / 3600),
                min: small(second / 60 % 60),
                sec: small(second % 60 / 2 * 2),
                millis: 0,
            },
        })
    }
}

/// Time provider that always returns the same time.
#[derive(Debug)]
struct Stopped(DateTime);

impl fatfs::TimeProvider for Stopped {
    fn get_current_date(&self) -> fatfs::Date {
        self.0.date
    }

    fn get_current_date_time(&self) -> DateTime {
        self.0
    }
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> VolumeError {
    let doing = doing.into();
    move |source| VolumeError::Crate { doing, source }
}

/// Creates the volume. `files` are the file contents, by the source indexes of the tree.
pub(crate) fn volume(spec: &VolumeSpec, tree: &EspTree, files: &[Arc<Extents>]) -> Result<Extents, VolumeError> {
    let geometry = &spec.geometry;
    let canvas = Canvas::new(geometry.bytes());
    format(&canvas, spec)?;
    let mut whole = Extents::new(geometry.bytes());
    let mut contents = Vec::new();
    fill(&canvas, spec, tree, &mut contents)?;
    repair(&canvas, geometry, spec.hidden_sectors);
    for (source, pieces) in contents {
        let Some(file) = files.get(source) else { continue };
        place(&mut whole, file, &pieces);
    }
    for (at, page) in canvas.into_pages() {
        add_around(&mut whole, at, &page);
    }
    Ok(whole)
}

fn format(canvas: &Canvas, spec: &VolumeSpec) -> Result<(), VolumeError> {
    let geometry = &spec.geometry;
    // The casts do not truncate: sectors have at most 4096 bytes, clusters 32 KiB, and sector counts fit in 32 bits.
    let options = FormatVolumeOptions::new()
        .bytes_per_sector(geometry.sector as u16)
        .bytes_per_cluster(geometry.cluster as u32)
        .total_sectors(geometry.sectors as u32)
        .max_root_dir_entries(if geometry.root_entries == 0 { 512 } else { geometry.root_entries as u16 })
        .fats(2)
        .media(0xF8)
        .sectors_per_track(63)
        .heads(255)
        .drive_num(0x80)
        .volume_id(spec.serial)
        .volume_label(LABEL);
    fatfs::format_volume(canvas.clone(), options).map_err(failed("format it"))?;
    let found = read_geometry(canvas);
    if found != *geometry {
        return Err(VolumeError::Geometry { planned: format!("{geometry:?}"), found: format!("{found:?}") });
    }
    Ok(())
}

/// Reads the geometry from the boot sector, according to Microsoft's specification.
fn read_geometry(canvas: &Canvas) -> Geometry {
    let word = |at| u64::from(u16::from_le_bytes(canvas.get(at)));
    let long = |at| u64::from(u32::from_le_bytes(canvas.get(at)));
    let either = |short: u64, long: u64| if short == 0 { long } else { short };
    let (sector, per_cluster) = (word(11), u64::from(canvas.get::<1>(13)[0]));
    let (reserved, root_entries) = (word(14), word(17));
    let sectors = either(word(19), long(32));
    let fat_sectors = either(word(22), long(36));
    let before = reserved + u64::from(canvas.get::<1>(16)[0]) * fat_sectors + (root_entries * 32).div_ceil(sector);
    let clusters = sectors.saturating_sub(before) / per_cluster.max(1);
    let cluster = sector * per_cluster;
    Geometry {
        kind: FatType::from_cluster_count(clusters),
        sector,
        cluster,
        sectors,
        reserved,
        fat_sectors,
        root_entries,
        clusters,
    }
}

/// Location of a file's content: the source index, and offsets and lengths in the volume.
type Placed = (usize, Vec<(u64, u64)>);

fn fill(canvas: &Canvas, spec: &VolumeSpec, tree: &EspTree, placed: &mut Vec<Placed>) -> Result<(), VolumeError> {
    // The crate requires a `'static` time provider. This leaks a few bytes per image.
    let time: &'static Stopped = Box::leak(Box::new(Stopped(spec.time.0)));
    let options = FsOptions::new().time_provider(time);
    let volume = FileSystem::new(canvas.clone(), options).map_err(failed("open it"))?;
    let kind = match volume.fat_type() {
        fatfs::FatType::Fat12 => FatType::Fat12,
        fatfs::FatType::Fat16 => FatType::Fat16,
        fatfs::FatType::Fat32 => FatType::Fat32,
    };
    if kind != spec.geometry.kind {
        let (planned, found) = (spec.geometry.kind.to_string(), kind.to_string());
        return Err(VolumeError::Geometry { planned, found });
    }
    let data = spec.geometry.data_offset();
    // Open directories, from the root to the parent of the current item.
    let mut open = vec![volume.root_dir()];
    for item in tree.items() {
        open.truncate(item.path.len());
        let Some(parent) = open.last() else { continue };
        let doing = || format!("add {}", item.path.join("/"));
        match item.what {
            EspNode::Dir => {
                let dir = parent.create_dir(item.name()).map_err(failed(doing()))?;
                open.push(dir);
            }
            EspNode::File { len, source } => {
                let mut file = parent.create_file(item.name()).map_err(failed(doing()))?;
                canvas.note(data);
                let written = write_placeholder(&mut file, len);
                let pieces = canvas.noted();
                written.and_then(|()| file.flush()).map_err(failed(doing()))?;
                placed.push((source, pieces));
            }
        }
    }
    drop(open);
    volume.unmount().map_err(failed("close it"))
}

/// Writes `len` placeholder bytes, which the canvas discards.
fn write_placeholder(file: &mut impl Write, mut len: u64) -> io::Result<()> {
    static NOTHING: [u8; 32 << 10] = [0; 32 << 10];
    while len > 0 {
        let part = NOTHING.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(&NOTHING);
        file.write_all(part)?;
        len -= part.len() as u64;
    }
    Ok(())
}

/// Adds a file's content at the offsets of its clusters.
fn place(whole: &mut Extents, content: &Extents, pieces: &[(u64, u64)]) {
    let mut start = 0;
    for (at, len) in pieces {
        for extent in content.list() {
            let (from, to) = (extent.at.max(start), extent.end().min(start + len));
            if from < to {
                whole.add(at + (from - start), to - from, extent.source.clone(), extent.from + (from - extent.at));
            }
        }
        start += len;
    }
}

/// Adds a page of memory, except for the ranges that file contents occupy. The page has only zeros there.
fn add_around(whole: &mut Extents, at: u64, page: &[u8]) {
    let end = at + page.len() as u64;
    let taken: Vec<(u64, u64)> = whole
        .list()
        .iter()
        .skip(whole.list().partition_point(|extent| extent.end() <= at))
        .take_while(|extent| extent.at < end)
        .map(|extent| (extent.at.max(at), extent.end().min(end)))
        .collect();
    let mut from = at;
    for (start, stop) in taken.into_iter().chain([(end, end)]) {
        if from < start {
            whole.add_bytes(from, &page[(from - at) as usize..(start - at) as usize]);
        }
        from = from.max(stop);
    }
}

#[cfg(test)]
mod tests {
    use super::DosTime;

    #[test]
    fn times_are_utc_and_within_the_range_of_fat() {
        let text = |seconds| {
            let fatfs::DateTime { date, time } = DosTime::from_unix(seconds).0;
            format!("{}-{:02}-{:02} {:02}:{:02}:{:02}", date.year, date.month, date.day, time.hour, time.min, time.sec)
        };
        assert_eq!(text(0), "1980-01-01 00:00:00");
        assert_eq!(text(951_827_695), "2000-02-29 12:34:54");
        assert_eq!(text(1_700_000_000), "2023-11-14 22:13:20");
        assert_eq!(text(u64::MAX), "2107-12-31 23:59:58");
    }
}

//! Finds disks by their serial numbers, and links them below `/dev/disk/by-id`.

use crate::file::{any_name, number, read_start};
use crate::job::Job;
use crate::line::Line;
use crate::path::Path;
use crate::syscall::Errno;
use crate::syscall::file::{READ_ONLY, exists, make_directory, make_link, make_node, open, remove};
use crate::syscall::process::{sleep, uptime};
use crate::syscall::terminal::read_partitions;

/// Time limit for disks to appear, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;
/// Polling interval, in nanoseconds.
const NAP: u64 = 1_000_000;
const BLOCK: &[u8] = b"/sys/block/";
const LINKS: &[u8] = b"/dev/disk/by-id/";

/// Attributes with the serial number, and the number of bytes before it: virtio-blk, NVMe, and page 0x80 of SCSI and ATA.
const SERIALS: [(&[u8], usize); 3] = [(b"/serial", 0), (b"/device/serial", 0), (b"/device/vpd_pg80", 4)];

/// Waits for the disks of the job and links them. On a timeout, returns the number found.
pub fn wait(job: &Job) -> Result<(), (u64, Errno)> {
    if job.disk_count == 0 {
        return Ok(());
    }
    for directory in [c"/dev/disk", c"/dev/disk/by-id"] {
        let _ = make_directory(directory, 0o755);
    }
    let begun = uptime();
    loop {
        let mut found = 0;
        for (bus, serial, namespace) in job.disks() {
            found += u64::from(any_name(c"/sys/block", |name| {
                let is_it = has(name, serial) && namespace_of(name) == namespace;
                if is_it {
                    link(name, bus, serial, namespace, job.restored);
                }
                is_it
            }));
        }
        if found >= job.disk_count {
            return Ok(());
        }
        if uptime().saturating_sub(begun) > PATIENCE {
            return Err((found, Errno::TIMEDOUT));
        }
        sleep(NAP);
    }
}

/// Returns true if this disk has the serial number. A path of an NVMe disk that the kernel hides has no node, and no number.
fn has(name: &[u8], serial: &[u8]) -> bool {
    let is_visible = Path::join(&[BLOCK, name, b"/dev"]).is_some_and(|path| exists(path.as_c()));
    is_visible
        && SERIALS.iter().any(|(attribute, skipped)| {
            let mut buffer = [0; 64];
            Path::join(&[BLOCK, name, attribute]).is_some_and(|path| {
                read_start(path.as_c(), &mut buffer).get(*skipped..).unwrap_or_default().trim_ascii() == serial
            })
        })
}

/// Returns the number of an NVMe namespace; 0 for other disks.
fn namespace_of(name: &[u8]) -> u64 {
    let mut buffer = [0; 24];
    let path = Path::join(&[BLOCK, name, b"/nsid"]);
    path.and_then(|path| number(read_start(path.as_c(), &mut buffer))).unwrap_or(0)
}

/// Links a disk and its partitions.
fn link(name: &[u8], bus: &[u8], serial: &[u8], namespace: u64, is_restored: bool) {
    make_missing_node(name, &[BLOCK, name, b"/dev"]);
    if is_restored
        && let Some(Ok(disk)) = Path::join(&[b"/dev/", name]).map(|path| open(path.as_c(), READ_ONLY))
    {
        // Fails if the disk has no partitions, or is in use since an earlier command.
        let _ = read_partitions(&disk);
    }
    let id = Line::new(bus).text(b"-").text(serial);
    let id = if namespace > 1 { id.text(b"-ns").number(namespace) } else { id };
    put(name, id.bytes());
    let Some(directory) = Path::join(&[BLOCK, name]) else { return };
    any_name(directory.as_c(), |part| {
        let mut buffer = [0; 24];
        let path = Path::join(&[BLOCK, name, b"/", part, b"/partition"]);
        if let Some(at) = path.and_then(|path| number(read_start(path.as_c(), &mut buffer))) {
            make_missing_node(part, &[BLOCK, name, b"/", part, b"/dev"]);
            put(part, Line::new(id.bytes()).text(b"-part").number(at).bytes());
        }
        false
    });
}

/// Creates a link, or replaces one: a partition may have another name in a restored guest.
fn put(name: &[u8], id: &[u8]) {
    if let (Some(target), Some(path)) = (Path::join(&[b"../../", name]), Path::join(&[LINKS, id])) {
        let _ = remove(path.as_c());
        let _ = make_link(target.as_c(), path.as_c());
    }
}

/// Creates the node of a device in a kernel without devtmpfs.
fn make_missing_node(name: &[u8], numbers: &[&[u8]]) {
    const S_IFBLK: usize = 0o060_000;
    let mut buffer = [0; 24];
    let (Some(node), Some(numbers)) = (Path::join(&[b"/dev/", name]), Path::join(numbers)) else { return };
    let text = read_start(numbers.as_c(), &mut buffer);
    let mut parts = text.split(|&byte| byte == b':');
    if !exists(node.as_c())
        && let (Some(Some(major)), Some(Some(minor))) = (parts.next().map(number), parts.next().map(number))
    {
        let _ = make_node(node.as_c(), S_IFBLK | 0o600, major as usize, minor as usize);
    }
}

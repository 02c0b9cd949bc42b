//! Users and sector size of block devices.
//!
//! The kernel decides whether a device is in use: opening it with `O_EXCL` fails if the device has a mounted partition,
//! is used as swap, or is part of another device. `/proc` and `/sys` only serve to name the user. For a file behind a
//! loop device, they are the only source: the kernel does not deny writes to it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

use crate::format::SectorSize;

/// Device number (major, minor), as in `/proc` and `/sys`.
type Number = (u32, u32);

/// Returns the logical sector size, if the kernel reports one that bootling supports.
pub(crate) fn sector(device: &File) -> Option<SectorSize> {
    let bytes = rustix::fs::ioctl_blksszget(device).ok()?;
    SectorSize::ALL.into_iter().find(|sector| sector.bytes() == u64::from(bytes))
}

/// Describes the users of a block device: `/dev/vda1 is mounted on /boot`. Empty if none is known.
pub(crate) fn users(device: &File) -> Vec<String> {
    device.metadata().map_or_else(|_| Vec::new(), |metadata| users_of(split(metadata.rdev())))
}

/// Describes the users of loop devices whose backing file is `file`: `/dev/loop0p1 is mounted on /mnt`.
pub(crate) fn loop_users(file: &File) -> Vec<String> {
    loops(file, Path::new("/sys/block")).into_iter().flat_map(users_of).collect()
}

/// Returns the loop devices in `sysfs` whose backing file is `file` (`Documentation/ABI/testing/sysfs-block-loop`).
fn loops(file: &File, sysfs: &Path) -> Vec<Number> {
    let Ok(own) = file.metadata() else { return Vec::new() };
    let devices = fs::read_dir(sysfs).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
    let backs = |device: &Path| {
        let path = fs::read_to_string(device.join("loop/backing_file")).ok()?;
        let other = fs::metadata(path.trim_end_matches('\n')).ok()?;
        (other.dev() == own.dev() && other.ino() == own.ino()).then_some(())
    };
    let folders = devices.unwrap_or_default().into_iter().map(|device| device.path());
    folders.filter(|device| backs(device).is_some()).filter_map(|device| number_in(&device)).collect()
}

fn users_of(number: Number) -> Vec<String> {
    let mut found = Vec::new();
    let mut family = BTreeSet::new();
    collect_family(number, &mut family, &mut found);
    let mountinfo = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let swaps = fs::read("/proc/swaps").unwrap_or_default();
    found.extend(mounts(&String::from_utf8_lossy(&mountinfo), &family));
    found.extend(swapped(&String::from_utf8_lossy(&swaps), &family));
    found
}

fn split(device: u64) -> Number {
    (major(device), minor(device))
}

/// Collects a device, its partitions, and the devices built on them (`holders`: device mapper, RAID, bcache).
fn collect_family(number: Number, family: &mut BTreeSet<Number>, found: &mut Vec<String>) {
    // Each device is visited only once, so the recursion ends.
    if !family.insert(number) {
        return;
    }
    let Ok(folder) = fs::canonicalize(format!("/sys/dev/block/{}:{}", number.0, number.1)) else { return };
    let below = |folder: &Path| -> Vec<_> {
        fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect()).unwrap_or_default()
    };
    for entry in below(&folder) {
        let part = Some(entry.path()).filter(|path| path.join("partition").exists());
        if let Some(part) = part.and_then(|path| number_in(&path)) {
            collect_family(part, family, found);
        }
    }
    let own = folder.file_name().unwrap_or_default().display().to_string();
    for entry in below(&folder.join("holders")) {
        found.push(format!("/dev/{own} is part of /dev/{}", entry.file_name().display()));
        if let Some(holder) = number_in(&entry.path()) {
            collect_family(holder, family, found);
        }
    }
}

/// Returns the device number in a sysfs directory.
fn number_in(folder: &Path) -> Option<Number> {
    let text = fs::read_to_string(folder.join("dev")).ok()?;
    parse(text.trim())
}

/// Parses a device number such as `254:1`.
fn parse(text: &str) -> Option<Number> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Returns the number of the device at `path`.
fn number_of(path: &str) -> Option<Number> {
    let metadata = fs::metadata(path).ok()?;
    Some(split(metadata.rdev()))
}

/// Describes the mounts of these devices (`proc_pid_mountinfo(5)`). The number there is that of the file system, which
/// differs from the device number for btrfs; so the mount source is checked, too.
fn mounts(mountinfo: &str, family: &BTreeSet<Number>) -> Vec<String> {
    let one = |line: &str| {
        let mut words = line.split(' ');
        let (number, place) = (words.nth(2).and_then(parse)?, words.nth(1)?);
        let source = words.skip_while(|word| *word != "-").nth(2)?;
        let is_path = source.starts_with("/dev/");
        let known =
            family.contains(&number) || is_path && number_of(source).is_some_and(|number| family.contains(&number));
        known.then(|| format!("{source} is mounted on {}", plain(place)))
    };
    mountinfo.lines().filter_map(one).collect()
}

/// Decodes the octal escapes of mountinfo, such as `\040` for a space.
fn plain(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Describes the swap areas on these devices (`proc_swaps(5)`).
fn swapped(swaps: &str, family: &BTreeSet<Number>) -> Vec<String> {
    let path = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let ours = |path: &String| number_of(path).is_some_and(|number| family.contains(&number));
    swaps.lines().skip(1).filter_map(path).filter(ours).map(|path| format!("{path} is used as swap")).collect()
}

#[cfg(test)]
mod tests {
    use super::{loops, mounts, parse, swapped, users};
    use std::collections::BTreeSet;
    use std::fs;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 27 254:2 / /mnt/my\\040disk rw master:3 - vfat /dev/vda2 rw
32 27 0:40 / /data rw - btrfs /dev/nonexistent rw
short line
";

    #[test]
    fn mounts_are_found_by_number_and_reported_with_their_mount_point() {
        let family = BTreeSet::from([(254, 2)]);
        assert_eq!(mounts(MOUNTINFO, &family), ["/dev/vda2 is mounted on /mnt/my disk"]);
        assert_eq!(mounts(MOUNTINFO, &BTreeSet::from([(8, 0)])), Vec::<String>::new());
    }

    #[test]
    fn a_loop_device_is_found_by_the_identity_of_its_backing_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        for name in ["disk", "other"] {
            fs::write(path(name), "x").expect("a file");
        }
        fs::hard_link(path("disk"), path("alias")).expect("a link");
        for (device, file, number) in [("loop0", "other", "7:0\n"), ("loop1", "alias", "7:1\n"), ("sda", "", "8:0\n")] {
            let folder = path("sys").join(device);
            fs::create_dir_all(folder.join("loop")).expect("a directory");
            fs::write(folder.join("dev"), number).expect("a file");
            if !file.is_empty() {
                fs::write(folder.join("loop/backing_file"), format!("{}\n", path(file).display())).expect("a file");
            }
        }
        let disk = fs::File::open(path("disk")).expect("a file");
        assert_eq!(loops(&disk, &path("sys")), [(7, 1)]);
        assert_eq!(loops(&disk, &path("none")), []);
    }

    #[test]
    fn a_file_that_is_not_a_device_has_no_users() {
        assert_eq!(users(&std::fs::File::open("/dev/null").expect("/dev/null exists")), Vec::<String>::new());
        assert_eq!(swapped("Filename Type\n/swap file 1 2 3\n", &BTreeSet::from([(8, 0)])), Vec::<String>::new());
        assert_eq!((parse("254:1"), parse("x:1"), parse("1")), (Some((254, 1)), None, None));
    }
}

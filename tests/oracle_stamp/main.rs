//! Oracles for stamped images: qemu-img, qemu-io, sgdisk and the kernel's loop devices.

#[path = "../support/disks.rs"]
mod disks;
mod overlay;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bootling::disk::container as image;
use bootling::disk::container::Access;
use bootling::disk::container::ImageError;
use bootling::disk::stamp::Action;
use bootling::disk::stamp::Facts;
use bootling::disk::stamp::Request;
use bootling::disk::stamp::plan;
use bootling::format::SectorSize;
use bootling::format::bootsector::Message;
use bootling::format::bootsector::Then;
use bootling::format::bootsector::boot_code;
use bootling::format::mbr::BOOT_CODE;
use disks::{gpt_disk, read, tool, tools};

fn code() -> [u8; BOOT_CODE] {
    boot_code(&Message::standard(), Then::Halt).expect("fits")
}

/// Creates `x.img` without boot code and `want.img` with boot code.
fn case(dir: &Path) {
    let mut disk = gpt_disk(SectorSize::S512);
    fs::write(dir.join("x.img"), &disk).expect("a file");
    disk[..BOOT_CODE].copy_from_slice(&code());
    fs::write(dir.join("want.img"), &disk).expect("a file");
}

fn bootling(dir: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootling"));
    let output = command.args(words).current_dir(dir).output().expect("bootling was built");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Stamps an image, and checks that a second stamp changes nothing.
#[track_caller]
fn stamp(dir: &Path, image: &str) {
    let (status, said) = bootling(dir, &["stamp", image]);
    assert!(status == Some(0) && said.contains("boot sector written"), "{image}: {said}");
    let (status, said) = bootling(dir, &["stamp", image]);
    assert!(status == Some(0) && said.contains("no changes necessary"), "{image}: {said}");
}

#[test]
fn only_the_boot_sector_changes_in_every_kind_of_qcow2() {
    if !tools("qcow2", &["qemu-img", "qemu-io"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    case(dir);
    for options in [
        &[][..],
        &["-c"],
        &["-o", "compat=0.10"],
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=2M"],
        &["-o", "refcount_bits=1"],
        &["-o", "preallocation=full"],
        &["-o", "lazy_refcounts=on"],
    ] {
        tool(dir, &[&["qemu-img", "convert", "-O", "qcow2"], options, &["x.img", "x.qcow2"]].concat());
        stamp(dir, "x.qcow2");
        tool(dir, &["qemu-img", "check", "-q", "x.qcow2"]);
        tool(dir, &["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "want.img", "x.qcow2"]);
    }
    // A snapshot keeps the old contents.
    tool(dir, &["qemu-img", "convert", "-O", "qcow2", "x.img", "x.qcow2"]);
    tool(dir, &["qemu-img", "snapshot", "-c", "before", "x.qcow2"]);
    stamp(dir, "x.qcow2");
    tool(dir, &["qemu-img", "check", "-q", "x.qcow2"]);
    tool(dir, &["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "want.img", "x.qcow2"]);
    tool(dir, &["qemu-img", "snapshot", "-a", "before", "x.qcow2"]);
    tool(dir, &["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "x.img", "x.qcow2"]);
}

const LUKS: [&str; 4] =
    ["--object", "secret,id=s,data=x", "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"];

/// Creates an empty `x.qcow2`. For LUKS, qemu-img measures its hash speed, and fails on a busy host if the measured CPU
/// time is not plausible: then it is run again.
#[track_caller]
fn create(dir: &Path, options: &[&str]) {
    let words = [&["create", "-q", "-f", "qcow2"], options, &["x.qcow2", "4M"]].concat();
    let mut tries = (0..50).map(|_| {
        let output = Command::new("qemu-img").args(&words).current_dir(dir).output().expect("the tool runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    });
    let last = tries.find(|(_, said)| !said.contains("Unable to get accurate CPU usage"));
    assert!(matches!(last, Some((true, _))), "{words:?}: {last:?}");
}

#[test]
fn images_that_cannot_be_written_safely_are_refused_with_the_reason() {
    if !tools("refusals", &["qemu-img"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    case(dir);
    for (options, reason) in [
        (&["-o", "compression_type=zstd"][..], "unsupported feature: zstd compression"),
        (&["-o", "extended_l2=on"], "unsupported feature: extended L2 entries (subclusters)"),
        (&["-o", "data_file=data,data_file_raw=on"], "unsupported feature: external data file"),
        (&LUKS, "unsupported feature: encryption (LUKS)"),
    ] {
        create(dir, options);
        let before = read(dir, "x.qcow2");
        let (status, said) = bootling(dir, &["stamp", "--force", "x.qcow2"]);
        assert!(status == Some(125) && said.contains(&format!("failed to open x.qcow2 (qcow2): {reason}\n")), "{said}");
        assert!(said.contains("advice: convert it: qemu-img convert"), "{said}");
        assert!(read(dir, "x.qcow2") == before);
    }
    tool(dir, &["qemu-img", "convert", "-O", "qcow2", "x.img", "x.qcow2"]);
    for (bit, reason) in [(1, "in use, or not closed properly"), (2, "corrupt")] {
        let image = OpenOptions::new().write(true).open(dir.join("x.qcow2")).expect("an image");
        image.write_all_at(&[bit], 79).expect("written");
        let (status, said) = bootling(dir, &["stamp", "x.qcow2"]);
        assert!(status == Some(125) && said.contains(&format!("marked as {reason}\n")), "{said}");
    }
    // Bitmaps are lost only with --force.
    tool(dir, &["qemu-img", "convert", "-O", "qcow2", "x.img", "x.qcow2"]);
    tool(dir, &["qemu-img", "bitmap", "--add", "x.qcow2", "backup"]);
    let (status, said) = bootling(dir, &["stamp", "x.qcow2"]);
    assert!(status == Some(125) && said.contains("image has dirty bitmaps"), "{said}");
    let (status, said) = bootling(dir, &["stamp", "--force", "x.qcow2"]);
    assert_eq!(status, Some(0), "{said}");
    tool(dir, &["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "want.img", "x.qcow2"]);
}

#[test]
fn a_fixed_vhd_of_qemu_img_stays_valid() {
    if !tools("vhd", &["qemu-img"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    case(dir);
    let fixed = ["qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed,force_size=on", "x.img", "x.vhd"];
    tool(dir, &fixed);
    let footer = read(dir, "x.vhd").split_off(4 << 20);
    stamp(dir, "x.vhd");
    tool(dir, &["qemu-img", "compare", "-f", "raw", "-F", "vpc", "want.img", "x.vhd"]);
    assert!(read(dir, "x.vhd").split_off(4 << 20) == footer);
    tool(dir, &["qemu-img", "convert", "-O", "vpc", "x.img", "x.vhd"]);
    let (status, said) = bootling(dir, &["stamp", "x.vhd"]);
    assert!(status == Some(125) && said.contains("it is a dynamic VHD"), "{said}");
}

#[test]
fn sgdisk_finds_no_problem_after_a_stamp() {
    if !tools("sgdisk", &["sgdisk"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    fs::write(dir.join("x.img"), vec![0; 16 << 20]).expect("a file");
    tool(dir, &["sgdisk", "-n", "1:2048:+4M", "-t", "1:ef00", "-n", "5:0:0", "x.img"]);
    let before = read(dir, "x.img");
    for options in [&[][..], &["--fix-mbr", "--bios-active"]] {
        let (status, said) = bootling(dir, &[&["stamp"], options, &["x.img"]].concat());
        assert_eq!(status, Some(0), "{said}");
        let said = String::from_utf8_lossy(&tool(dir, &["sgdisk", "-v", "x.img"]).stdout).into_owned();
        assert!(said.contains("No problems found."), "{said}");
    }
    assert!(read(dir, "x.img")[478..] == before[478..]);
}

/// A qemu-io process that keeps an image open until it is dropped.
struct Holder {
    child: Child,
}

impl Holder {
    fn new(dir: &Path, words: &[&str]) -> Self {
        let mut command = Command::new("qemu-io");
        command.args(words).current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("qemu-io runs");
        // qemu-io responds once the image is open.
        writeln!(child.stdin.as_mut().expect("piped"), "length").expect("written");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("an answer");
        assert!(line.contains("4 MiB"), "{line}");
        Self { child }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // qemu-io exits at end of file.
        drop(self.child.stdin.take());
        self.child.wait().expect("child process");
    }
}

#[test]
fn images_are_locked_between_qemu_and_bootling() {
    if !tools("locks", &["qemu-img", "qemu-io"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    case(dir);
    tool(dir, &["qemu-img", "convert", "-O", "qcow2", "x.img", "x.qcow2"]);
    for (image, format) in [("x.img", "raw"), ("x.qcow2", "qcow2")] {
        let writing = Holder::new(dir, &["-f", format, image]);
        for words in [&["stamp", image][..], &["stamp", "--dry-run", image]] {
            let (status, said) = bootling(dir, words);
            assert!(status == Some(125) && said.contains("has it open for writing"), "{said}");
        }
        // --force is allowed for one sector of a raw file, but not for a qcow2 whose tables QEMU has open.
        let (status, said) = bootling(dir, &["stamp", "--force", image]);
        assert_eq!(status, Some(if format == "raw" { 0 } else { 125 }), "{said}");
        drop(writing);
        // For a raw file, a read-only qemu-io shares write access; for a qcow2 it does not.
        if format == "qcow2" {
            let reading = Holder::new(dir, &["-r", "-f", format, image]);
            let (status, said) = bootling(dir, &["stamp", image]);
            assert!(status == Some(125) && said.contains("has it open and denies changes"), "{said}");
            let (status, said) = bootling(dir, &["stamp", "--dry-run", image]);
            assert!(status == Some(0) && said.contains("would be written"), "{said}");
            drop(reading);
        }
        let ours = image::open(&dir.join(image), Access::Write).expect("unlocked image");
        let reader = [&["-r", "-f", format, "-c", "length", image][..]];
        let writer = [&["-f", format, "-c", "length", image][..]];
        let readers = if format == "qcow2" { &reader[..] } else { &[] };
        for words in writer.iter().chain(readers) {
            let refused = Command::new("qemu-io").args(*words).current_dir(dir).output().expect("qemu-io runs");
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains("Failed to get"), "{said}");
        }
        drop(ours);
        if format == "qcow2" {
            stamp(dir, image);
        }
    }
}

/// Opens an image, plans and writes the boot sector; may fail, but must return.
fn attempt(path: &Path) -> Result<(), String> {
    let mut image = image::open(path, Access::Write).map_err(|error: ImageError| error.to_string())?;
    let facts = Facts::read(&image, None).map_err(|error| error.to_string())?;
    let request = Request { fix_mbr: true, bios_active: true, force: true, ..Request::new(Action::Write(code())) };
    let stamp = plan(&facts, &request).map_err(|error| error.to_string())?;
    bootling::disk::stamp::apply(&mut image, &stamp).map_err(|error| error.to_string())
}

#[test]
fn damaged_qcow2_images_are_refused_or_stamped() {
    if !tools("damage", &["qemu-img"]) {
        return;
    }
    let scratch = disks::scratch();
    let dir = scratch.path();
    case(dir);
    tool(dir, &["qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=4096", "x.img", "x.qcow2"]);
    let good = read(dir, "x.qcow2");
    let path = dir.join("bad.qcow2");
    // Offsets of the header, its extensions and the first entries of each table.
    let long = |at: usize| u64::from_be_bytes(good[at..at + 8].try_into().expect("8 bytes")) as usize;
    let (l1, refcounts) = (long(40), long(48));
    let l2 = long(l1) & 0x00ff_ffff_ffff_fe00;
    let block = long(refcounts);
    let places: Vec<usize> = (0..200).chain([l1, l2, refcounts, block].iter().flat_map(|at| *at..*at + 32)).collect();
    let mut outcomes = [0, 0];
    for at in places {
        for value in [0, 1, 0x40, 0x7f, 0x80, 0xff] {
            if good[at] == value {
                continue;
            }
            let mut bad = good.clone();
            bad[at] = value;
            fs::write(&path, &bad).expect("written");
            match attempt(&path) {
                Ok(()) => outcomes[0] += 1,
                Err(_) => outcomes[1] += 1,
            }
            let grown = fs::metadata(&path).expect("an image").len();
            assert!(grown <= good.len() as u64 + (1 << 20), "byte {at} = {value:#x}: {grown} bytes now");
        }
    }
    assert!(outcomes.iter().all(|count| *count > 50), "{outcomes:?}");
    // Truncated at many lengths.
    for length in (0..good.len()).step_by(1000) {
        fs::write(&path, &good[..length]).expect("written");
        // Success and failure are both allowed.
        let _ = attempt(&path);
    }
}

#[test]
fn huge_declared_sizes_are_handled_quickly() {
    if !tools("size", &["qemu-img"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    tool(dir, &["qemu-img", "create", "-q", "-f", "qcow2", "x.qcow2", "1G"]);
    let mut bytes = read(dir, "x.qcow2");
    bytes[24] = 0x40;
    fs::write(dir.join("x.qcow2"), &bytes).expect("written");
    let (status, said) = bootling(dir, &["stamp", "x.qcow2"]);
    assert!(status == Some(125) && said.contains("L1 table is too short for a disk of"), "{said}");
    bytes[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
    fs::write(dir.join("x.qcow2"), &bytes).expect("written");
    let (status, said) = bootling(dir, &["stamp", "x.qcow2"]);
    assert!(status == Some(125) && said.contains("L1 table of 34359738360 bytes"), "{said}");
    // An empty disk of 8 TiB, with a table at each end.
    let sparse = fs::File::create(dir.join("x.img")).expect("a file");
    if sparse.set_len(8 << 40).is_ok() && tools("size", &["sgdisk"]) {
        tool(dir, &["sgdisk", "-n", "1:0:0", "-t", "1:ef00", "x.img"]);
        stamp(dir, "x.img");
    }
}

/// A loop device, if available and permitted.
struct Loop(String);

impl Loop {
    fn new(dir: &Path, options: &[&str]) -> Option<Self> {
        let mut command = Command::new("losetup");
        let output = command.args(["-f", "--show"]).args(options).arg("x.img").current_dir(dir).output().ok()?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !name.is_empty()).then_some(Self(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").args(["-d", &self.0]).status();
        assert!(detached.is_ok_and(|status| status.success()), "{} still exists", self.0);
    }
}

#[test]
fn block_devices_are_stamped_unless_in_use() {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    case(dir);
    let Some(device) = Loop::new(dir, &[]) else {
        // Containers have no loop devices.
        writeln!(std::io::stderr(), "SKIPPED loop: no loop device available").expect("standard error is open");
        return;
    };
    stamp(dir, &device.0);
    assert!(read(dir, "x.img") == read(dir, "want.img"));
    let (status, said) = bootling(dir, &["stamp", "--undo", &device.0]);
    assert!(status == Some(0) && said.contains("(block device): boot sector removed"), "{said}");
    // Open exclusively, like a mount.
    let flags = rustix::fs::OFlags::EXCL.bits().cast_signed();
    let mut options = OpenOptions::new();
    let alone = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), flags).open(&device.0);
    let (status, said) = bootling(dir, &["stamp", &device.0]);
    assert!(status == Some(125) && said.contains("another process has it open exclusively"), "{said}");
    for words in
        [&["stamp", "--force", &device.0][..], &["stamp", "--undo", "-f", &device.0], &["byebyebios", &device.0]]
    {
        let (status, said) = bootling(dir, words);
        assert_eq!(status, Some(0), "{said}");
    }
    drop(alone);
    drop(device);
    let Some(device) = Loop::new(dir, &["-b", "4096"]) else { return };
    let (status, said) = bootling(dir, &["stamp", "--preset", "ec2", &device.0]);
    assert!(status == Some(0) && said.contains("sector size is 4096 bytes"), "{said}");
    assert!(read(dir, "x.img")[BOOT_CODE..] == read(dir, "want.img")[BOOT_CODE..]);
}

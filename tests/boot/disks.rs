//! `bootling run --disk`: scratch disks and images on each bus, cold and warm.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// Runs a shell line.
#[track_caller]
fn run(test: &str, kernel: Kernel, options: &[&str], line: &str) -> Option<Done> {
    Some(Program::run(kernel, test)?.args(options).args(["--run", line]).done())
}

/// Creates an image of a megabyte that starts with this text.
fn image(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let file = File::create(&path).expect("the directory is ours");
    file.set_len(1 << 20).expect("sparse");
    file.write_all_at(text.as_bytes(), 0).expect("written");
    path
}

#[test]
fn each_bus_has_a_disk_with_a_stable_name() {
    let test = "each_bus_has_a_disk_with_a_stable_name";
    let disks =
        ["16M", "24M,bus=scsi,serial=s", "32M,bus=nvme,serial=n,sector=4096", "40M,bus=nvme,serial=n", "48M,bus=ide"];
    let options: Vec<&str> = disks.iter().flat_map(|disk| ["--disk", disk]).collect();
    let line = "cd /dev/disk/by-id; for d in *; do echo $d $(blockdev --getss $d) $(blockdev --getsize64 $d); done";
    let Some(done) = run(test, Kernel::Generic612, &options, line) else { return };
    let lines = [
        "ide-disk4 512 50331648",
        "nvme-n 4096 33554432",
        "nvme-n-ns2 512 41943040",
        "scsi-s 512 25165824",
        "virtio-disk0 512 16777216",
    ];
    assert_eq!(done.exits(0).text(), lines.join("\n") + "\n");
}

#[test]
fn file_systems_are_made_and_mounted_on_scratch_disks_cold_and_warm() {
    let test = "file_systems_are_made_and_mounted_on_scratch_disks";
    let line = "set -e; mkdir /a /b; mkfs.ext4 -q /dev/disk/by-id/virtio-disk0; mkfs.vfat /dev/disk/by-id/virtio-big >/dev/null
        mount -t ext4 /dev/disk/by-id/virtio-disk0 /a; mount -t vfat /dev/disk/by-id/virtio-big /b
        echo kept >/a/file; umount /a; mount -t ext4 /dev/disk/by-id/virtio-disk0 /a; cat /a/file; blockdev --getss /dev/vdb";
    for warm in ["--warm=no", "--warm", "--warm"] {
        let options = [
            "--disk",
            "64M",
            "--disk",
            "64M,serial=big,sector=4096",
            "--with",
            "mkfs.ext4",
            "--with",
            "mkfs.vfat",
            "--kmod",
            "vfat",
            "--kmod",
            "nls_ascii",
            "--kmod",
            "nls_cp437",
            "--kmod",
            "ext4",
            warm,
        ];
        let Some(done) = run(test, Kernel::Cloud612, &options, line) else { return };
        assert_eq!(done.exits(0).text(), "kept\n4096\n");
    }
}

#[test]
fn an_image_is_unchanged_without_rw_and_keeps_writes_with_it() {
    let test = "an_image_is_unchanged_without_rw";
    let directory = scratch();
    let path = image(directory.path(), "a,b.img", "before");
    let typed = path.to_str().expect("UTF-8").replace(',', ",,");
    let line = "head -c 6 /dev/vda; echo; echo -n after_ | dd of=/dev/vda conv=notrunc 2>/dev/null; head -c 6 /dev/vda";
    let content = || fs::read(&path).expect("there")[..6].to_vec();
    for (options, says, left) in
        [("", "before\nafter_", b"before"), (",rw", "before\nafter_", b"after_"), (",ro", "after_\nafter_", b"after_")]
    {
        let disk = format!("{typed}{options}");
        let Some(done) = run(test, Kernel::Cloud612, &["--disk", &disk], line) else { return };
        assert_eq!(done.exits(0).text(), says, "{options}");
        assert_eq!(content(), left, "{options}");
    }
}

#[test]
fn a_restored_guest_sees_the_current_contents_and_partitions_of_an_image() {
    let test = "a_restored_guest_sees_the_current_contents";
    let directory = scratch();
    let path = image(directory.path(), "disk.img", "first");
    let disk = path.to_str().expect("UTF-8");
    let line = "head -c 5 /dev/vda; echo; ls /dev/disk/by-id";
    let program = || Some(Program::run(Kernel::Cloud612, test)?.args(["--warm", "--disk", disk]));
    let Some(first) = program() else { return };
    assert_eq!(first.args(["--run", line]).done().exits(0).text(), "first\nvirtio-disk0\n");
    // A partition table with one partition of 128 sectors from sector 64 on.
    let file = File::options().write(true).open(&path).expect("there");
    let entry = [0, 0, 0, 0, 0x83, 0, 0, 0, 64, 0, 0, 0, 128, 0, 0, 0];
    for (bytes, at) in [(&b"other"[..], 0), (&entry, 446), (&[0x55, 0xaa], 510), (b"inside", 64 * 512)] {
        file.write_all_at(bytes, at).expect("written");
    }
    let line = "head -c 5 /dev/vda; echo; ls /dev/disk/by-id; head -c 6 /dev/disk/by-id/virtio-disk0-part1";
    let (done, verdict) = program().expect("as before").json(["--run", line]);
    assert_eq!(done.exits(0).text(), "other\nvirtio-disk0\nvirtio-disk0-part1\ninside");
    assert!(verdict["snapshot_age_ms"].as_f64().is_some_and(|age| age > 0.0), "{verdict}");
    assert_eq!(verdict["disks"][0]["link"], "/dev/disk/by-id/virtio-disk0", "{verdict}");
    assert_eq!(verdict["disks"][0]["bytes"], 1 << 20, "{verdict}");
}

#[test]
fn nvme_disks_boot_cold_with_a_note() {
    let test = "nvme_disks_boot_cold_with_a_note";
    let Some(done) = run(test, Kernel::Cloud612, &["--warm", "--disk", "1M,bus=nvme"], "ls /dev/disk/by-id") else {
        return;
    };
    let done = done.exits(0);
    assert_eq!(done.text(), "nvme-disk0\n");
    done.says("booting cold: QEMU cannot save NVMe disks");
}

#[test]
fn disks_that_cannot_be_attached_are_refused_with_one_reason() {
    let test = "disks_that_cannot_be_attached_are_refused";
    let directory = scratch();
    let at = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    image(directory.path(), "raw.img", "");
    image(directory.path(), "backed.qcow2", "QFI\u{0}");
    fs::write(at("empty"), "").expect("written");
    fs::write(at("odd"), "x").expect("written");
    fs::write(at("packed.gz"), b"\x1f\x8b\x08\0\0\0\0\0").expect("written");
    let (raw, directory_name) = (at("raw.img"), at(""));
    for (options, reason) in [
        (vec!["--disk", "64M,bus=usb"], "no bus \"usb\": expected virtio, nvme, scsi or ide"),
        (vec!["--disk", "0"], "invalid size 0"),
        (vec!["--disk", "64M,serial=x", "--disk", "64M,serial=x"], "another disk has serial number x"),
        (vec!["--disk", &at("missing")], "failed to open"),
        (vec!["--disk", &directory_name], "neither a file nor a block device"),
        (vec!["--disk", &at("empty")], "has 0 bytes, expected a multiple of 512"),
        (vec!["--disk", &at("odd")], "has 1 bytes"),
        (vec!["--disk", &at("packed.gz")], "compressed (gzip)"),
        (vec!["--disk", &format!("{raw},format=qcow2")], "expected format qcow2, found raw"),
        (vec!["--disk", &format!("{raw},rw"), "--disk", &raw], "in use by another disk of this guest"),
        (vec!["-M", "isapc", "--disk", "64M"], "machine type isapc has no bus for virtio disks"),
        (vec!["--print-command", "--disk", "64M"], "does not support scratch disks"),
    ] {
        let Some(done) = run(test, Kernel::Cloud612, &options, "true") else { return };
        let done = done.exits(125);
        assert!(done.stderr.contains(reason), "{options:?}: {}", done.stderr);
        assert_eq!(done.stderr.matches("error: ").count(), 1, "{}", done.stderr);
    }
    // A writer excludes other guests.
    let writer = Program::run(Kernel::Cloud612, test).expect("as before");
    let disk = format!("{raw},rw");
    let (writer, stdin) = writer.args(["--disk", &disk, "--run", "echo up; cat"]).start_with_input();
    writer.wait_for_output("up");
    for options in ["", ",rw"] {
        let disk = format!("{raw}{options}");
        let done = run(test, Kernel::Cloud612, &["--disk", &disk], "true").expect("as before").exits(125);
        assert!(done.stderr.contains("in use by another program"), "{}", done.stderr);
    }
    drop(stdin);
    writer.done().exits(0);
}

#[test]
fn tests_of_a_manifest_and_guests_of_the_library_have_disks_and_a_network() {
    let test = "tests_of_a_manifest_have_disks";
    let Some(kernel) = Kernel::Cloud612.or_skip(test) else { return };
    let directory = scratch();
    image(directory.path(), "disk.img", "inside");
    let manifest = format!(
        r#"
        [kernels]
        k = {:?}
        [defaults]
        disks = ["disk.img,serial=image"]
        [[test]]
        name = "disks"
        run = "head -c 6 /dev/disk/by-id/virtio-image; blockdev --getsize64 /dev/disk/by-id/scsi-disk1; ls /sys/class/net"
        disks = "1M,bus=scsi"
        expect = ["^inside1048576$"]
        reject = "eth0"
        [[test]]
        name = "net"
        run = "ls /dev/disk/by-id; ip -o -4 a show eth0"
        net = "user"
        publish = "0:80"
        expect = ["^virtio-image$", "10.0.2.15"]
        "#,
        kernel.display().to_string()
    );
    fs::write(directory.path().join("bootling.toml"), manifest).expect("written");
    for boot in ["--boot=cold", "--boot=warm"] {
        let done = Program::new().current_dir(directory.path()).args(["test", boot]).done().exits(0);
        assert!(
            done.text().contains("2 passed") || done.stderr.contains("2 passed"),
            "{} {}",
            done.text(),
            done.stderr
        );
    }
    let cache = super::support::program::build_dir().join("test-cache");
    let builder = bootling::Vm::builder().kernel(&kernel).cache(cache).disk("1M,serial=one").net("user");
    let mut vm = builder.start().expect("a guest");
    let line = "echo kept | dd of=/dev/vda 2>/dev/null; ls /dev/disk/by-id; ls /sys/class/net";
    assert_eq!(vm.shell(line).expect("an output").text(), "virtio-one\neth0\nlo\n");
    // The disk stays with the guest.
    assert_eq!(vm.shell("head -n 1 /dev/vda").expect("an output").text(), "kept\n");
    let error = bootling::Vm::builder().kernel(&kernel).disk("/missing").start().expect_err("no image").to_string();
    assert!(error.contains("failed to open /missing for --disk /missing"), "{error}");
}

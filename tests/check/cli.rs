//! The commands `bootling check`, and `ls` and `cat` of disks and UKIs.

use std::fs;

use snapbox::str;

use crate::case::Case;
use crate::recipe::{self, loader, small};

/// Creates a directory with a UKI and a disk.
fn usual() -> Case {
    let case = Case::new();
    case.write("app.efi", uki());
    case.write("disk.raw", small());
    case
}

fn uki() -> Vec<u8> {
    recipe::uki(&recipe::initrd(b"init", 0o100_755))
}

#[test]
fn images_of_bootling_disk_have_no_problems_in_any_format_and_sector_size() {
    let case = usual();
    for sector in ["512", "4096", "dual"] {
        for (format, esp) in [("raw", "standard"), ("qcow2", "tiny"), ("vhd", "tiny")] {
            let words = ["disk", "--efi", "app.efi", "--sector-size", sector, "--format", format, "--esp", esp];
            case.bootling(&words).args(["-o", "x"]).assert().success();
            case.bootling(&["check", "--quiet", "--strict", "x"]).assert().success().stdout_eq("").stderr_eq("");
            case.bootling(&["cat", "x", "efi/boot/bootx64.efi"]).assert().success().stdout_eq(uki());
        }
    }
}

#[test]
fn a_vmdk_of_several_files_is_opened_on_request_only() {
    let case = usual();
    for (form, commas) in [("twoGbMaxExtentFlat", "a"), ("monolithicFlat", "a,b"), ("twoGbMaxExtentSparse", "c")] {
        let name = format!("{commas}-{form}.vmdk");
        let options = format!("subformat={form}");
        let words = ["convert", "-f", "raw", "-O", "vmdk", "-o", &options, "disk.raw", &name];
        let made = std::process::Command::new("qemu-img").args(words).current_dir(case.path()).output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
        case.bootling(&["check", &name]).assert().code(125).stderr_eq(format!(
            "error: failed to check {name}: failed to open {name}: it refers to another file (its extents), which would \
             be read with your permissions\nadvice: --allow-backing opens it\n"
        ));
        case.bootling(&["check", "--quiet", "--allow-backing", &name])
            .assert()
            .success()
            .stdout_eq("")
            .stderr_eq("[..]");
        let cat = |words: &[&str]| case.bootling(words).assert().success().get_output().stdout.clone();
        let expected = cat(&["cat", "disk.raw", "efi/boot/bootx64.efi"]);
        assert_eq!(cat(&["cat", "--allow-backing", &name, "efi/boot/bootx64.efi"]), expected, "{form}");
    }
}

#[test]
fn the_boot_code_of_syslinux_has_no_backup() {
    let case = Case::new();
    fs::File::create(case.path().join("x")).and_then(|file| file.set_len(64 << 20)).expect("a file");
    for words in [&["mkfs.fat", "-F", "32"][..], &["syslinux", "--install"]] {
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).arg("x").current_dir(case.path()).env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin");
        let done = command.output().expect("mkfs.fat and syslinux are installed");
        assert!(done.status.success(), "{done:?}");
    }
    let found = |case: &Case| {
        let output = case.bootling(&["check", "x"]).assert().get_output().stdout.clone();
        String::from_utf8_lossy(&output).contains("fat-backup")
    };
    assert!(!found(&case));
    // The parameters of the file system must match.
    let mut disk = case.read("x");
    disk[6 * 512 + 0x24] ^= 1;
    case.write("x", &disk);
    assert!(found(&case));
}

#[test]
fn findings_have_a_location_consequences_and_a_fix() {
    let case = usual();
    let mut disk = small();
    disk[446] = 0x80;
    let end = disk.len();
    disk[end - 512..].fill(0);
    case.write("bad.raw", &disk);
    case.bootling(&["check", "--quiet", "bad.raw"]).assert().code(1).stderr_eq("").stdout_eq(str![[r#"
error[gpt-backup] backup GPT, LBA 20479 (byte 10485248): signature "EFI PART" missing
    rule:   the backup GPT header is valid and in the last sector
    breaks: EDK2 writes to the disk on the first boot, which changes its hash; sgdisk and parted complain
    fix:    sgdisk -e IMAGE
warning[pmbr-flag] MBR record 1, byte 446: first byte is 80, expected 00
    rule:   the protective record is not active (its first byte is 00)
    breaks: EDK2 before stable-202108 ignores the GPT; the Dell XPS 13 finds no ESP
    fix:    bootling stamp --fix-mbr IMAGE

"#]]);
    let ignored = ["check", "--quiet", "bad.raw", "--ignore", "gpt-backup"];
    case.bootling(&ignored).assert().success();
    case.bootling(&ignored).arg("--strict").assert().code(1);
    case.bootling(&ignored).args(["--strict", "--ignore", "pmbr-flag"]).assert().success().stdout_eq("");
    case.bootling(&["check", "bad.raw", "--ignore", "nothing"]).assert().code(2);
    case.bootling(&["check"]).assert().code(2);
    let done = case.bootling(&["check", "--json", "bad.raw"]).assert().code(1);
    let json: serde_json::Value = serde_json::from_slice(&done.get_output().stdout).expect("JSON");
    assert_eq!((&json["errors"], &json["warnings"]), (&1.into(), &1.into()));
    let backup = json["findings"].as_array().expect("findings").iter().find(|found| found["rule"] == "gpt-backup");
    assert_eq!(backup.expect("a finding")["where"]["lba"], 20_479);
}

#[test]
fn efi_programs_and_initrds_are_detected_and_checked() {
    let case = usual();
    case.bootling(&["check", "--quiet", "app.efi"]).assert().success().stdout_eq("");
    case.write("initrd", recipe::initrd(b"init", 0o100_644));
    case.bootling(&["check", "initrd"]).assert().success().stdout_eq(str![[r"
initrd: initrd, 1 entries, 10 bytes in 1 segment
warning[initrd-init] initrd: /init is -rw-r--r--
    rule:   an initrd contains an executable /init
    breaks: the kernel mounts a root file system itself, and panics if root= names none
    fix:    bootling build adds an /init; rdinit= selects another program
initrd: 1 warning

"]]);
    case.bootling(&["check", "missing"])
        .assert()
        .code(125)
        .stderr_eq("error: failed to check missing: failed to open: No such file or directory (os error 2)\n");
    case.bootling(&["check", "."]).assert().code(125).stderr_eq("error: failed to check .: is a directory\n");
}

#[test]
fn a_disk_its_uki_and_the_initrd_inside_can_be_listed() {
    let case = usual();
    case.bootling(&["ls", "disk.raw"]).assert().success().stderr_eq("").stdout_eq(str![[r#"
partition 1  LBA 2048 to 18431       8388608  EFI system partition  "ESP"
[..]          -  -            EFI/
[..]          -  -            EFI/BOOT/
[..]       [..]  LBA [..]     EFI/BOOT/BOOTX64.EFI

"#]]);
    let disk = small();
    let lba = loader(&disk) / 512;
    let done = case.bootling(&["ls", "--json", "disk.raw"]).assert().success();
    let rows: serde_json::Value = serde_json::from_slice(&done.get_output().stdout).expect("JSON");
    assert_eq!(rows[3]["path"], "EFI/BOOT/BOOTX64.EFI");
    assert_eq!((&rows[3]["lba"], &rows[3]["size"]), (&lba.into(), &uki().len().into()));
    let uki =
        case.bootling(&["cat", "disk.raw", "EFI/BOOT/BOOTX64.EFI"]).assert().success().get_output().stdout.clone();
    case.bootling(&["ls", "-"]).stdin(uki).assert().success().stdout_eq(str![[r"
.text              4  offset 0x00000400  address 0x00001000
.sdmagic          38  offset 0x00000600  address 0x00002000
.osrel             8  offset 0x00000800  address 0x00003000
.cmdline          13  offset 0x00000a00  address 0x00004000
.uname            11  offset 0x00000c00  address 0x00005000
.initrd          252  offset 0x00000e00  address 0x00006000
.linux          1536  offset 0x00001000  address 0x00007000

"]]);
    case.bootling(&["cat", "app.efi", ".cmdline"]).assert().success().stdout_eq("console=ttyS0");
    let initrd = case.bootling(&["cat", "app.efi", ".initrd"]).assert().success().get_output().stdout.clone();
    case.bootling(&["ls", "-"]).stdin(initrd).assert().success().stdout_eq(str![[r"
-rwxr-xr-x  1 0 0         10 1970-01-01 00:00 init

"]]);
}

#[test]
fn missing_contents_are_reported() {
    let case = usual();
    case.bootling(&["cat", "disk.raw", "EFI/BOOT/nope"])
        .assert()
        .code(125)
        .stdout_eq("")
        .stderr_eq("error: failed to read EFI/BOOT/nope in disk.raw: no such file or directory: \"nope\"\n");
    case.bootling(&["cat", "disk.raw", "EFI"])
        .assert()
        .code(125)
        .stderr_eq("error: failed to read EFI in disk.raw: \"EFI\" is a directory, not a file\n");
    case.bootling(&["cat", "app.efi", ".dtb"]).assert().code(125).stderr_eq(
        "error: failed to read .dtb in app.efi: no such section; available: .text .sdmagic .osrel .cmdline .uname .initrd .linux\n",
    );
}

#[test]
fn content_is_printed_unchanged_including_escape_sequences() {
    let case = usual();
    let mut content = b"\x1b[31mred\x1b[0m".to_vec();
    content.extend(0..=255_u8);
    case.write("x.efi", recipe::pe(&[(".data", &content)]));
    case.bootling(&["cat", "x.efi", ".data"]).assert().success().stdout_eq(content);
}

/// A legacy partition table with an extended partition and two logical ones, as `sfdisk` writes it.
fn mbr_disk() -> Vec<u8> {
    let mut disk = vec![0; 8 << 20];
    let mut record = |lba: usize, number: usize, (active, kind, first, sectors): (u8, u8, u32, u32)| {
        let at = lba * 512 + 446 + 16 * number;
        (disk[at], disk[at + 4]) = (active, kind);
        disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        disk[lba * 512 + 510..lba * 512 + 512].copy_from_slice(&[0x55, 0xAA]);
    };
    record(0, 0, (0x80, 0x83, 2048, 4096));
    record(0, 1, (0, 0x05, 6144, 10_240));
    record(6144, 0, (0, 0x82, 2048, 2048));
    record(6144, 1, (0, 0x05, 4096, 4096));
    record(10_240, 0, (0, 0x83, 2048, 2048));
    disk
}

#[test]
fn partitions_of_a_legacy_table_are_listed_and_checked_including_logical_ones() {
    let case = usual();
    let mut disk = mbr_disk();
    case.write("mbr.raw", &disk);
    case.bootling(&["ls", "mbr.raw"]).assert().success().stderr_eq("").stdout_eq(str![[r"
partition 1  LBA 2048 to 6143       2097152  Linux
partition 2  LBA 6144 to 16383       5242880  extended
partition 5  LBA 8192 to 10239       1048576  Linux swap
partition 6  LBA 12288 to 14335       1048576  Linux

"]]);
    let done = case.bootling(&["check", "--json", "mbr.raw"]).assert().code(1);
    let json: serde_json::Value = serde_json::from_slice(&done.get_output().stdout).expect("JSON");
    let subjects = json["subjects"].as_array().expect("subjects");
    assert_eq!(subjects[4]["name"], "partition 6");
    assert_eq!(subjects[4]["facts"], "Linux, LBA 12288, 2048 sectors");
    // The chain leads back to its start.
    disk[10_240 * 512 + 462 + 8] = 1;
    case.write("mbr.raw", &disk);
    case.bootling(&["ls", "mbr.raw"]).assert().code(125);
    let done = case.bootling(&["check", "--quiet", "mbr.raw"]).assert().code(1);
    let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
    assert!(text.contains("error[mbr-partitions] MBR, byte 0: LBA 10240: next extended boot record"), "{text}");
}

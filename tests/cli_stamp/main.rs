//! The commands `bootling stamp` and `byebyebios`: exact output, exact changes, one error for bad input.

mod case;
mod containers;
mod content;
#[path = "../support/disks.rs"]
mod disks;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bootling::format::Guid;
use bootling::format::SectorSize;
use bootling::format::bootsector::Message;
use bootling::format::bootsector::Then;
use bootling::format::bootsector::boot_code;
use bootling::format::mbr::BOOT_CODE;
use bootling::format::mbr::Record;
use case::{Case, changed, stamped, standard};
use disks::{DISK, gpt_disk, gpt_disk_with};
use snapbox::cmd::Command;
use snapbox::str;

#[test]
fn a_raw_image_is_changed_only_in_its_boot_code() {
    let case = Case::usual();
    case.says(&["stamp", "x.img"], "bootling: x.img (raw): boot sector written, [..] of 440 bytes[..]\n");
    assert!(case.read("x.img") == stamped(SectorSize::S512));
}

#[test]
fn a_second_stamp_writes_nothing() {
    let case = Case::with(stamped(SectorSize::S512));
    let written = || fs::metadata(case.path().join("x.img")).expect("a file").mtime_nsec();
    let before = written();
    // Not even opened for writing.
    fs::set_permissions(case.path().join("x.img"), fs::Permissions::from_mode(0o400)).expect("a mode");
    case.says(&["stamp", "x.img"], "bootling: x.img (raw): no changes necessary\n");
    assert_eq!(written(), before);
}

#[test]
fn a_disk_with_large_sectors_is_stamped_with_a_warning() {
    let case = Case::with(gpt_disk(SectorSize::S4096));
    case.says(
        &["stamp", "x.img"],
        str![[r"
bootling: x.img: sector size is 4096 bytes: no BIOS boots from such a disk, so few users will see the message
bootling: x.img (raw): boot sector written, [..] of 440 bytes

"]],
    );
    assert!(case.read("x.img") == stamped(SectorSize::S4096));
}

#[test]
fn a_dry_run_reports_the_change_and_quiet_prints_nothing() {
    let case = Case::usual();
    let sentence = "bootling: x.img (raw): boot sector would be written, [..] of 440 bytes\n";
    case.says(&["stamp", "--dry-run", "--save", "old", "x.img"], sentence);
    assert!(case.read("x.img") == gpt_disk(SectorSize::S512) && case.files().len() == 1);
    case.says(&["stamp", "--quiet", "x.img"], "");
    assert!(case.read("x.img") == stamped(SectorSize::S512));
}

#[test]
fn json_contains_all_facts() {
    let case = Case::with(changed(|mbr| mbr.records[0].sectors = 7));
    let output = case.bootling(&["stamp", "--json", "--force", "x.img"]).assert().success().stderr_eq("");
    let report: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    assert_eq!(report["image"], "x.img");
    assert_eq!((&report["container"], &report["size"]), (&"raw".into(), &DISK.into()));
    assert_eq!((&report["changed"], &report["dry_run"]), (&true.into(), &false.into()));
    assert_eq!((&report["deed"], &report["boot_code_before"]), (&"written".into(), &"nothing".into()));
    assert_eq!((&report["sector_size"], &report["records_changed"]), (&512.into(), &false.into()));
    assert!(report["message"].as_str().is_some_and(|text| text.contains("UEFI")), "{report}");
    assert_eq!(report["overridden"], serde_json::json!([]));
    let note = "the protective record covers 7 sectors, expected 8191 (--fix-mbr repairs this)";
    assert_eq!(report["notes"], serde_json::json!([note]));
    let read: bootling::StampReport = serde_json::from_value(report.clone()).expect("the public type");
    assert_eq!(serde_json::to_value(read).expect("JSON"), report);
}

#[test]
fn a_message_comes_from_a_file_or_from_standard_input() {
    let case = Case::usual();
    case.write("text", "Use\nUEFI.\n");
    let wanted = boot_code(&Message::parse(b"Use\nUEFI.\n").expect("a message"), Then::KeyReboot).expect("fits");
    case.bootling(&["stamp", "-q", "--message", "text", "--then", "key-reboot", "x.img"]).assert().success();
    assert_eq!(case.read("x.img")[..BOOT_CODE], wanted);
    case.write("x.img", gpt_disk(SectorSize::S512));
    let piped = case.bootling(&["stamp", "-q", "--message", "-", "--then", "key-reboot", "x.img"]);
    piped.stdin("Use\r\nUEFI.\r\n").assert().success();
    assert_eq!(case.read("x.img")[..BOOT_CODE], wanted);
    // Text without repetitions.
    let long: String =
        (0..600_u32).map(|at| if at % 60 == 59 { '\n' } else { char::from(b'!' + (at * at / 7 % 90) as u8) }).collect();
    case.write("long", long);
    case.fails(
        &["stamp", "--message", "long", "x.img"],
        str![[r"
error: message is [..] bytes too long for the boot sector (limit: [..] bytes packed, or 420 bytes unpacked)
advice: repeated text is compressed; shorten text that is not repeated

"]],
    );
    let error = "error: failed to read message none: No such file or directory (os error 2)\n";
    case.fails(&["stamp", "--message", "none", "x.img"], error);
}

#[test]
fn bios_bootable_disks_are_refused_without_force() {
    let grub = [&[0xeb, 0x63, 0x90][..], &[0; 125], b"GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n\0"].concat();
    for (disk, reason) in [
        (vec![0; 1 << 20], "no GUID partition table at byte 512 or byte 4096[..]"),
        (changed(|mbr| mbr.boot_code[..grub.len()].copy_from_slice(&grub)), "boot code of [..]"),
        (changed(|mbr| mbr.boot_code = [0x5a; BOOT_CODE]), "unknown boot code[..]"),
        (changed(|mbr| mbr.records[1].kind = 0xef), "hybrid boot record with partitions of type 0xef[..]"),
        (gpt_disk_with(SectorSize::S512, &[(1, Guid::BIOS_BOOT, 0)]), "partition 1 is a BIOS boot partition[..]"),
        (
            gpt_disk_with(SectorSize::S512, &[(2, Guid::ESP, 4)]),
            "partition 2 is marked for legacy BIOS boot (attribute bit 2)[..]",
        ),
    ] {
        let case = Case::with(&disk);
        case.fails(&["stamp", "x.img"], format!("error: failed to stamp x.img: {reason}\nadvice: [..]--force[..]\n"));
        let lines =
            format!("bootling: x.img: overridden: {reason}\nbootling: x.img (raw): boot sector written, [..]\n");
        case.says(&["stamp", "--force", "x.img"], lines);
        let after = case.read("x.img");
        assert!(after[..BOOT_CODE] == standard() && after[BOOT_CODE..510] == disk[BOOT_CODE..510]);
        assert!(after[510..512] == [0x55, 0xAA] && after[512..] == disk[512..], "a BIOS starts it");
    }
}

#[test]
fn undo_removes_the_boot_sector_or_restores_the_saved_code() {
    let case = Case::usual();
    case.bootling(&["stamp", "-q", "x.img"]).assert().success();
    case.says(&["stamp", "--undo", "x.img"], "bootling: x.img (raw): boot sector removed\n");
    assert!(case.read("x.img") == gpt_disk(SectorSize::S512));
    let foreign = changed(|mbr| mbr.boot_code = [0x5a; BOOT_CODE]);
    case.write("x.img", &foreign);
    case.fails(
        &["stamp", "--undo", "x.img"],
        "error: failed to stamp x.img: expected the boot code of bootling, found unknown code\nadvice: --force overwrites it anyway\n",
    );
    case.bootling(&["stamp", "-qf", "--save", "old", "x.img"]).assert().success();
    assert_eq!(case.read("old"), [0x5a; BOOT_CODE]);
    // A second save with another message must not overwrite the first.
    case.fails(
        &["stamp", "--preset", "ec2", "--save", "old", "x.img"],
        str![[r"
error: failed to save the boot code to old: file exists with different contents
advice: it may contain the original boot code: choose another file, or remove it

"]],
    );
    case.says(&["stamp", "--undo=old", "x.img"], "bootling: x.img (raw): boot sector restored, 440 of 440 bytes\n");
    assert!(case.read("x.img") == foreign);
    case.write("short", [0; 100]);
    case.fails(
        &["stamp", "--undo=short", "x.img"],
        str![[r"
error: failed to read boot code short: expected 440 or 512 bytes, found 100
advice: use --undo without a file to write zeros, the usual contents

"]],
    );
}

#[test]
fn partition_records_change_only_on_request() {
    let wrong = changed(|mbr| mbr.records[0].sectors = 0x009f_ffff);
    let case = Case::with(&wrong);
    case.says(
        &["stamp", "x.img"],
        str![[r"
bootling: x.img: the protective record covers 10485759 sectors, expected 8191 (--fix-mbr repairs this)
bootling: x.img (raw): boot sector written, [..] of 440 bytes

"]],
    );
    assert_eq!(case.read("x.img")[BOOT_CODE..], wrong[BOOT_CODE..]);
    let sentence = "bootling: x.img (raw): boot sector written, [..] of 440 bytes, partition records changed\n";
    case.says(&["stamp", "--fix-mbr", "--bios-active", "x.img"], sentence);
    let mut mended = stamped(SectorSize::S512);
    mended[462..478].copy_from_slice(&Record::dummy_active().encode());
    assert!(case.read("x.img") == mended);
    case.bootling(&["stamp", "-q", "--undo", "--bios-active", "x.img"]).assert().success();
    assert!(case.read("x.img") == gpt_disk(SectorSize::S512));
}

#[test]
fn changes_by_fix_mbr_are_saved_and_restored() {
    let wrong = changed(|mbr| {
        mbr.boot_code = [0x5a; BOOT_CODE];
        mbr.signature = [9; 6];
        mbr.records.swap(0, 1);
        mbr.bootable = false;
    });
    let case = Case::with(&wrong);
    case.bootling(&["stamp", "-qf", "--fix-mbr", "--save", "old", "x.img"]).assert().success();
    assert!(case.read("x.img") != wrong);
    assert!(case.read("old") == wrong[..512]);
    let sentence = "bootling: x.img (raw): boot sector restored, 440 of 440 bytes, partition records changed\n";
    case.says(&["stamp", "--undo=old", "x.img"], sentence);
    assert!(case.read("x.img") == wrong);
}

#[test]
fn invalid_usage_is_refused_before_the_image_is_opened() {
    let case = Case::new();
    for words in [
        &["stamp"][..],
        &["stamp", "--undo", "--fix-mbr", "x"],
        &["stamp", "--undo", "--message", "m", "x"],
        &["stamp", "--preset", "none", "x"],
        &["stamp", "--then", "explode", "x"],
        &["stamp", "--format", "vmdk", "x"],
    ] {
        case.bootling(words).assert().code(2).stdout_eq("");
    }
}

#[test]
fn byebyebios_takes_the_ancestors_options_and_is_silent() {
    let case = Case::usual();
    case.says(&["byebyebios", "x.img"], "");
    assert!(case.read("x.img") == stamped(SectorSize::S512));
    case.write("x.img", gpt_disk(SectorSize::S512));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bootling"), case.path().join("byebyebios")).expect("a link");
    let named = |words: &[&str]| Command::new(case.path().join("byebyebios")).args(words).current_dir(case.path());
    named(&["x.img"]).assert().success().stdout_eq("").stderr_eq("");
    assert!(case.read("x.img") == stamped(SectorSize::S512));
    // A custom stub and a text are written unchanged, including LF.
    case.write("stub", [0xfa; 21]);
    case.write("text", b"x\ny");
    named(&["--boot-stub=stub", "-m", "text", "--force", "x.img"]).assert().success();
    let mut code = [0; BOOT_CODE];
    code[..21].copy_from_slice(&[0xfa; 21]);
    code[21..24].copy_from_slice(b"x\ny");
    let after = case.read("x.img");
    assert!(after[..BOOT_CODE] == code && after[BOOT_CODE..] == gpt_disk(SectorSize::S512)[BOOT_CODE..]);
    // Writing the same code again needs no --force.
    named(&["--boot-stub=stub", "-m", "text", "x.img"]).assert().success().stderr_eq("");
    case.write("text", [b'x'; 424]);
    named(&["-b", "stub", "-m", "text", "-f", "x.img"]).assert().success().stderr_eq(str![[r"
...
bootling: x.img: the message overwrites the disk signature (bytes 440 to 445)

"]]);
    assert!(case.read("x.img")[21..446] == [&[b'x'; 424][..], &[0]].concat());
    case.write("text", [b'x'; 425]);
    named(&["-b", "stub", "-m", "text", "x.img"]).assert().code(125).stderr_eq(str![[r"
error: boot stub (21 bytes), message (425 bytes) and NUL are 1 bytes too long (limit 446)
advice: without --boot-stub, repeated text in the message is compressed

"]]);
    case.write("empty", vec![0; 1 << 20]);
    named(&["empty"]).assert().code(125).stderr_eq(str![[r"
error: failed to stamp empty: no GUID partition table at byte 512 or byte 4096[..]
advice: [..]

"]]);
}

#[test]
fn byebyebios_shows_any_bytes_and_adds_a_boot_signature() {
    let case = Case::usual();
    // Text that `stamp` refuses; without --force, since the code in place is bootling's own.
    case.write("x.img", gpt_disk(SectorSize::S512));
    case.write("text", b"Gr\xf6\xdfe \x1b[1m");
    case.bootling(&["stamp", "-m", "text", "x.img"]).assert().code(125);
    case.bootling(&["byebyebios", "-m", "text", "x.img"]).assert().success().stderr_eq(str![[r"
bootling: x.img: invalid message: line 1 is not UTF-8; used unchanged
bootling: x.img: the message does not compress: a serial console that mirrors the screen shows it twice

"]]);
    case.bootling(&["byebyebios", "x.img"]).assert().success().stderr_eq("");
    // A disk without a boot signature gets one, since no BIOS starts it otherwise.
    case.write("blank", vec![0; 1 << 20]);
    case.bootling(&["byebyebios", "-f", "blank"]).assert().success();
    assert!(case.read("blank")[440..512] == [&[0; 70][..], &[0x55, 0xAA]].concat());
}

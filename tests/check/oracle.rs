//! Oracles: images of common tools have no errors, and bootling reports a problem whenever sgdisk or fsck.fat do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootling::disk::check::Report;
use bootling::disk::check::Severity;
use bootling::disk::check::disk;
use bootling::format::SectorSize;
use bootling::format::Window;
use bootling::format::fat::FatType;
use bootling::format::fat::Volume;

use crate::change::entry;
use crate::recipe::{ESP, Recipe, describe, put, small, table};

/// Runs a tool from the group `test` of tools/setup.
fn run(program: &str, args: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = Command::new(program)
        .args(args)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("MTOOLS_SKIP_CHECK", "1")
        .output();
    output.unwrap_or_else(|error| panic!("{program}: {error} (`tools/setup test` brings it)"))
}

fn must(program: &str, args: &[&str]) {
    let output = run(program, args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {out}{err}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Builds an image with sgdisk, mkfs.fat and mcopy.
fn by_hand(dir: &Path, mib: u64, bits: &str, options: &[&str]) -> PathBuf {
    let (image, esp) = (dir.join(format!("{bits}.raw")), dir.join(format!("{bits}.fat")));
    fs::write(&image, []).expect("a file");
    fs::File::options().write(true).open(&image).expect("a file").set_len(mib << 20).expect("a size");
    let end = format!("1:2048:{}", (mib - 1) * 2048 - 1);
    must("sgdisk", &["-n", &end, "-t", "1:ef00", text(&image)]);
    fs::write(&esp, vec![0; ((mib - 2) << 20) as usize]).expect("a file");
    must("mkfs.fat", &[&["-F", bits, "-h", "2048"], options, &[text(&esp)]].concat());
    must("mmd", &["-i", text(&esp), "::EFI", "::EFI/BOOT", "::EFI/Grüße an alle, die das lesen"]);
    let loader = dir.join("loader");
    fs::write(&loader, crate::recipe::uki(&crate::recipe::initrd(b"init", 0o100_755))).expect("a file");
    must("mcopy", &["-i", text(&esp), text(&loader), "::EFI/BOOT/BOOTX64.EFI"]);
    must("mcopy", &["-i", text(&esp), text(&loader), "::EFI/a long name in lower case.efi"]);
    let mut disk = fs::read(&image).expect("a file");
    let volume = fs::read(&esp).expect("a file");
    disk[ESP..ESP + volume.len()].copy_from_slice(&volume);
    fs::write(&image, disk).expect("a file");
    image
}

#[test]
fn images_of_common_tools_have_no_errors_and_their_files_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    for (mib, bits, kind, options) in [
        (8, "12", FatType::Fat12, &[][..]),
        (24, "16", FatType::Fat16, &["-s", "1"][..]),
        (48, "32", FatType::Fat32, &["-s", "1"][..]),
        (70, "12", FatType::Fat12, &["-S", "4096", "-s", "8"][..]),
        (70, "16", FatType::Fat16, &["-S", "4096", "-s", "1"][..]),
        (270, "32", FatType::Fat32, &["-S", "4096", "-s", "1"][..]),
    ] {
        let image = fs::read(by_hand(dir.path(), mib, bits, options)).expect("a file");
        let report = disk(&image, None);
        // The image has no boot sector message.
        assert_eq!(problems(&report), ["message-missing"], "{bits} {options:?}: {:#?}", describe(&report));
        let volume = Volume::open(Window::new(&image, ESP as u64, (mib - 2) << 20)).expect("a volume");
        assert_eq!(volume.geometry().fat_type, kind, "{options:?}");
        let tree = volume.tree();
        let mut paths: Vec<String> = (0..tree.nodes.len()).map(|node| tree.path(Some(node))).collect();
        paths.sort();
        let wanted = [
            "EFI",
            "EFI/BOOT",
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/Grüße an alle, die das lesen",
            "EFI/a long name in lower case.efi",
        ];
        assert_eq!(paths, wanted);
    }
}

type Change = fn(&mut Vec<u8>);

/// Returns the offsets of both FAT copies.
fn fats(disk: &[u8]) -> [usize; 2] {
    let len = 512 * usize::from(u16::from_le_bytes([disk[ESP + 22], disk[ESP + 23]]));
    [table(disk), table(disk) + len]
}

/// Returns the rules of all findings above the severity of a note.
fn problems(report: &Report) -> Vec<&'static str> {
    let counted = report.findings.iter().filter(|finding| finding.rule.severity > Severity::Note);
    counted.map(|finding| finding.rule.id).collect()
}

#[test]
fn problems_found_by_sgdisk_are_errors() {
    let dir = tempfile::tempdir().expect("a directory");
    let changes: [(&str, Change); 6] = [
        ("nothing", |_| {}),
        ("primary", |disk| disk[512..1024].fill(0)),
        ("checksum", |disk| disk[560] ^= 1),
        ("entries", |disk| disk[1024 + 60] ^= 1),
        ("backup", |disk| {
            let end = disk.len();
            disk[end - 512..].fill(0);
        }),
        ("grown", |disk| disk.resize(disk.len() + (1 << 20), 0)),
    ];
    for (name, change) in changes {
        let mut image = small();
        change(&mut image);
        let path = dir.path().join(name);
        fs::write(&path, &image).expect("a file");
        let output = run("sgdisk", &["-v", text(&path)]);
        let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
        let report = disk(&image, None);
        let sound = theirs.contains("No problems found") && output.stderr.is_empty();
        assert_eq!(sound, report.count(Severity::Error) == 0, "{name}: {theirs}{:#?}", describe(&report));
    }
}

#[test]
fn problems_found_by_fsck_are_findings() {
    let dir = tempfile::tempdir().expect("a directory");
    let changes: [(&str, Change); 9] = [
        ("nothing", |_| {}),
        ("dirty", |disk| disk[ESP + 37] |= 1),
        ("copies", |disk| {
            let at = fats(disk)[1] + 10;
            disk[at] ^= 1;
        }),
        ("lost", |disk| {
            for at in fats(disk) {
                put(disk, at + 2000, &[0xFF, 0xFF]);
            }
        }),
        ("cut chain", |disk| {
            for at in fats(disk) {
                put(disk, at + 10, &[0, 0]);
            }
        }),
        ("circle", |disk| {
            let at = entry(disk, b"BOOTX64 EFI") + 26;
            let first = u16::from_le_bytes([disk[at], disk[at + 1]]);
            for at in fats(disk) {
                put(disk, at + 2 * usize::from(first) + 2, &first.to_le_bytes());
            }
        }),
        ("size", |disk| {
            let at = entry(disk, b"BOOTX64 EFI") + 28;
            put(disk, at, &9_u32.to_le_bytes());
        }),
        ("start", |disk| {
            let at = entry(disk, b"BOOTX64 EFI") + 26;
            put(disk, at, &[0xF0, 0xEE]);
        }),
        ("dots", |disk| {
            let at = entry(disk, b"..         ") + 26;
            disk[at] ^= 1;
        }),
    ];
    for (name, change) in changes {
        let mut image = small();
        change(&mut image);
        let path = dir.path().join(name);
        fs::write(&path, &image[ESP..ESP + (8 << 20)]).expect("a file");
        let output = run("fsck.fat", &["-n", text(&path)]);
        let theirs = String::from_utf8_lossy(&output.stdout).into_owned();
        // fsck.fat prints its version, its findings, and the number of files.
        let sound = output.status.success() && theirs.lines().count() <= 2;
        let report = disk(&image, None);
        assert_eq!(sound, problems(&report).is_empty(), "{name}: {theirs}{:#?}", describe(&report));
    }
    let wide = Recipe { kind: fatfs::FatType::Fat32, esp: 36 << 20, ..Recipe::default() }.build();
    let path = dir.path().join("wide");
    fs::write(&path, &wide[ESP..ESP + (36 << 20)]).expect("a file");
    assert!(run("fsck.fat", &["-n", text(&path)]).status.success());
    assert_eq!(problems(&disk(&wide, Some(SectorSize::S512))), Vec::<&str>::new());
}

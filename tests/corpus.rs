//! Corpus: images made by other tools (`tools/corpus`). The verdict of `check` must match what SeaBIOS and OVMF do with the
//! image.
//!
//! The table records what QEMU 7.2 with SeaBIOS 1.16 and Debian's OVMF did with each image as a disk. The test boots only
//! some images again; `BOOTLING_CORPUS=all` boots all of them.

#[path = "support/skip.rs"]
mod skip;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Behavior of firmware with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boot {
    /// Starts its boot loader.
    Starts,
    /// Starts nothing.
    Nothing,
    /// Not judged: the loader is for another machine, or draws to the screen only.
    Other,
}

use Boot::{Nothing, Other, Starts};

/// Image, the behavior of SeaBIOS and OVMF with it as a disk, and the warnings and errors of `check`.
type Row = (&'static str, Boot, Boot, &'static [&'static str]);

const ROWS: &[Row] = &[
    ("apm.iso", Starts, Starts, &[]),
    ("appended.iso", Starts, Starts, &[]),
    ("data.iso", Nothing, Nothing, &["gpt-none"]),
    ("debian.iso", Starts, Starts, &[]),
    ("efi-only.iso", Nothing, Starts, &[]),
    ("grub-mkrescue.iso", Starts, Starts, &[]),
    ("ipxe.iso", Starts, Starts, &[]),
    ("isohybrid.iso", Starts, Nothing, &["gpt-none"]),
    ("isolinux-hybrid.iso", Starts, Nothing, &["gpt-none"]),
    // Starts from a CD only.
    ("isolinux.iso", Nothing, Nothing, &["gpt-none"]),
    ("memtest.iso", Other, Starts, &[]),
    ("arm.img", Nothing, Other, &[]),
    ("attribute-hidden.img", Nothing, Starts, &["message-missing"]),
    ("attribute-legacy.img", Nothing, Starts, &["message-missing"]),
    ("attribute-no-block-io.img", Nothing, Nothing, &["message-missing", "part-no-block-io"]),
    ("attribute-required.img", Nothing, Starts, &["message-missing"]),
    ("bare-arm.img", Nothing, Other, &[]),
    ("bare-empty.img", Nothing, Nothing, &["loader-none"]),
    ("bare-fat12.img", Nothing, Starts, &[]),
    ("bare-fat16.img", Nothing, Starts, &[]),
    ("bare-fat32.img", Nothing, Starts, &[]),
    ("basic-data.img", Nothing, Starts, &["esp-type", "message-missing"]),
    ("bios-boot-empty.img", Nothing, Starts, &["bios-boot-empty"]),
    ("entries-256.img", Nothing, Starts, &["message-missing"]),
    ("entries-56.img", Nothing, Starts, &["gpt-array", "message-missing"]),
    ("ext4.img", Nothing, Nothing, &["gpt-none"]),
    ("fat12.img", Nothing, Starts, &["message-missing"]),
    ("fat16-4096.img", Nothing, Starts, &["message-missing"]),
    ("fat16.img", Nothing, Starts, &["message-missing"]),
    ("fat32-hidden.img", Nothing, Starts, &["message-missing"]),
    ("fat32-too-small.img", Nothing, Nothing, &["fat-clusters", "loader-none", "message-missing"]),
    ("few-entries.img", Nothing, Starts, &["gpt-array", "message-missing"]),
    ("floppy.img", Nothing, Starts, &[]),
    ("grub-gpt.img", Starts, Starts, &[]),
    ("grub-mbr.img", Starts, Starts, &[]),
    ("grub-stray.img", Nothing, Starts, &["loader-stray"]),
    ("hybrid-mbr.img", Nothing, Starts, &["message-missing", "pmbr-hybrid"]),
    ("last-number.img", Nothing, Starts, &["message-missing"]),
    ("mbr-active.img", Nothing, Starts, &[]),
    ("mbr-esp.img", Nothing, Starts, &[]),
    ("mbr-fat.img", Nothing, Starts, &["esp-type"]),
    ("mbr-linux.img", Nothing, Starts, &["esp-type"]),
    ("mbr-logical.img", Nothing, Starts, &[]),
    ("moved-table.img", Nothing, Starts, &["message-missing"]),
    ("parted-mbr.img", Nothing, Starts, &[]),
    ("parted.img", Nothing, Starts, &["message-missing"]),
    ("pmbr-boot.img", Nothing, Starts, &["message-missing", "pmbr-flag"]),
    ("repart.img", Nothing, Starts, &["message-missing"]),
    ("sfdisk.img", Nothing, Starts, &["message-missing"]),
    ("sgdisk.img", Nothing, Starts, &["message-missing"]),
    // SYSLINUX does not start from a drive that the BIOS takes for a hard disk, but UEFI starts the loader.
    ("syslinux-floppy.img", Nothing, Starts, &[]),
    ("syslinux-gpt.img", Starts, Starts, &[]),
    ("syslinux-mbr.img", Starts, Starts, &["esp-type"]),
    ("syslinux-stray.img", Nothing, Starts, &["loader-stray"]),
    ("transposed.img", Nothing, Starts, &["message-missing"]),
    ("two-esps.img", Nothing, Starts, &["esp-several", "message-missing"]),
    ("unaligned-4k.img", Nothing, Starts, &["message-missing"]),
    ("unaligned-512.img", Nothing, Starts, &["message-missing", "part-alignment"]),
    ("xbootldr.img", Nothing, Starts, &["esp-type", "message-missing"]),
];

/// Containers of `sgdisk.img` that `check` reads.
const CONTAINERS: &[&str] = &["plain.qcow2", "compressed.qcow2", "small-clusters.qcow2", "v2.qcow2", "fixed.vhd"];

/// Images that are booted each time: BIOS takes a fraction of a second, UEFI some seconds.
const BOOTED: &[(&str, bool)] = &[
    ("debian.iso", false),
    ("grub-mkrescue.iso", false),
    ("grub-gpt.img", false),
    ("syslinux-gpt.img", false),
    ("syslinux-stray.img", false),
    ("debian.iso", true),
    ("attribute-no-block-io.img", true),
    ("mbr-fat.img", true),
];

/// Rules that report that a BIOS starts nothing.
const NO_BIOS: [&str; 3] = ["message-missing", "loader-stray", "bios-boot-empty"];

/// Returns severity and rule of the warnings and errors for an image.
fn problems(image: &Path) -> Vec<(String, String)> {
    let done = Command::new(env!("CARGO_BIN_EXE_bootling")).args(["check", "--json"]).arg(image).output();
    let done = done.expect("bootling was built");
    let report: Value = serde_json::from_slice(&done.stdout)
        .unwrap_or_else(|_| panic!("{}: {}", image.display(), String::from_utf8_lossy(&done.stderr)));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let findings = report["findings"].as_array().expect("findings").iter();
    let mut found: Vec<_> = findings.map(|found| (text(&found["severity"]), text(&found["rule"]))).collect();
    found.retain(|(severity, _)| severity != "note");
    found.sort_by(|one, other| one.1.cmp(&other.1));
    found.dedup();
    found
}

/// Boots an image as a disk in plain QEMU.
fn boot(image: &Path, uefi: bool, expected: Boot, vars: &Path) -> Boot {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-M", "q35,graphics=off", "-accel", "tcg", "-m", "256", "-nic", "none", "-display", "none"]);
    qemu.args(["-serial", "stdio", "-monitor", "none", "-no-reboot", "-snapshot"]);
    if uefi {
        fs::copy("/usr/share/OVMF/OVMF_VARS_4M.fd", vars).expect("firmware variables");
        qemu.args(["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive"]);
        qemu.arg(format!("if=pflash,format=raw,file={}", vars.display()));
    }
    qemu.arg("-drive").arg(format!("if=none,id=d,format=raw,file={}", image.display()));
    qemu.args(["-device", "ide-hd,drive=d"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut qemu = qemu.spawn().expect("QEMU is installed");
    let mut stdout = qemu.stdout.take().expect("piped");
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = stdout.read(&mut chunk) {
            if send.send(chunk[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    // A BIOS that has started empty boot code prints nothing more: its silence is awaited only if it is expected.
    let end = Instant::now() + Duration::from_secs(if uefi || expected == Starts { 240 } else { 30 });
    let mut console = String::new();
    // SeaBIOS sends the last character with the next one; GRUB has powered off by then.
    let started = ["corpus: start", "iPXE 1.", "iPXE initialising"];
    let failed = ["EFI Internal Shell", "No bootable device", "Missing OS"];
    let result = loop {
        if started.iter().any(|text| console.contains(text)) {
            break Starts;
        }
        if failed.iter().any(|text| console.contains(text)) {
            break Nothing;
        }
        match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(bytes) => console += &String::from_utf8_lossy(&bytes),
            Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => break Nothing,
        }
    };
    // QEMU may have exited.
    let _ = qemu.kill();
    qemu.wait().expect("child process");
    result
}

/// Compares the verdicts of `check` with the table; returns the differences.
fn verdicts(dir: &Path) -> String {
    let mut wrong = String::new();
    for (name, bios, uefi, expected) in ROWS {
        let found = problems(&dir.join(name));
        let rules: Vec<&str> = found.iter().map(|(_, rule)| rule.as_str()).collect();
        if rules != *expected {
            writeln!(wrong, "{name}: found {rules:?}, expected {expected:?}").expect("memory");
        }
        // The table itself: an error means that UEFI starts nothing, some warnings that a BIOS starts nothing.
        let sound = found.iter().all(|(severity, _)| severity != "error");
        assert!(*uefi == Other || sound == (*uefi == Starts), "{name}: {found:?}, but UEFI {uefi:?}");
        let silent = rules.iter().any(|rule| NO_BIOS.contains(rule));
        assert!(!(silent && *bios == Starts), "{name}: {found:?}, but BIOS {bios:?}");
    }
    let raw = problems(&dir.join("sgdisk.img"));
    for name in CONTAINERS {
        let found = problems(&dir.join(name));
        if found != raw {
            writeln!(wrong, "{name}: found {found:?}, expected {raw:?}").expect("memory");
        }
    }
    wrong
}

/// Boots images; returns the differences from the table.
fn boots(dir: &Path) -> String {
    let mut wrong = String::new();
    let all = std::env::var_os("BOOTLING_CORPUS").is_some_and(|value| value == "all");
    for (name, bios, uefi, _) in ROWS {
        for (is_uefi, expected) in [(false, *bios), (true, *uefi)] {
            if expected == Other || !all && !BOOTED.contains(&(name, is_uefi)) {
                continue;
            }
            let did = boot(&dir.join(name), is_uefi, expected, &dir.join("vars"));
            // memtest86+ draws its own screen.
            if did != expected && *name != "memtest.iso" {
                let firmware = if is_uefi { "OVMF" } else { "SeaBIOS" };
                writeln!(wrong, "{name}: {firmware} {did:?}, recorded {expected:?}").expect("memory");
            }
        }
    }
    wrong
}

#[test]
fn the_verdict_on_an_image_of_another_tool_is_what_firmware_does_with_it() {
    let test = "the_verdict_on_an_image_of_another_tool";
    let needed = ["/usr/bin/grub-mkrescue", "/usr/bin/xorriso", "/usr/bin/isohybrid", "/usr/bin/syslinux"];
    let more = ["/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/ipxe/ipxe.iso", "/usr/lib/memtest86+/memtest86+x64.iso"];
    let rest = ["/sbin/parted", "/sbin/sfdisk", "/sbin/sgdisk", "/usr/share/OVMF/OVMF_CODE_4M.fd"];
    if !skip::tools(test, &[&needed[..], &more, &rest, &["qemu-system-x86_64", "qemu-img", "mcopy"]].concat()) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/corpus");
    let made = Command::new(tool).arg(dir).output().expect("sh runs");
    assert!(made.status.success(), "tools/corpus: {}", String::from_utf8_lossy(&made.stderr));
    let made: Vec<String> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "img" || extension == "iso"))
        .filter(|made| ROWS.iter().all(|(name, ..)| name != made))
        .collect();
    assert!(made.is_empty(), "images without a row: {made:?}");
    let wrong = verdicts(dir) + &boots(dir);
    write!(io::stderr(), "{wrong}").expect("standard error is open");
    assert!(wrong.is_empty(), "{wrong}");
}

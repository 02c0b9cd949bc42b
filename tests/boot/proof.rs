//! `bootling check --boot` of an image from `bootling disk`, intact and with a damaged boot sector.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::firmware::uefi_or_skip;
use crate::support::processes::{qemu_of, signal, wait_until_gone};
use crate::support::program::scratch;
use crate::support::skip::tools;
use crate::support::{Kernel, Program};

#[test]
fn a_disk_is_proven_on_every_console_and_a_damaged_disk_is_not() {
    let test = "a_disk_is_proven_on_every_console";
    let (Some(package), Some(())) = (Kernel::Cloud612.or_skip(test), uefi_or_skip(test)) else { return };
    let dir = scratch();
    let image = dir.path().join("disk.img");
    let disk = Program::new().args(["disk", "--kernel"]).arg(package).args(["--run", "echo inside"]);
    // Compressed, so that the command's output does not appear in the bytes of the disk.
    disk.args(["--initrd-compress", "zstd", "-o"]).arg(&image).done().exits(0);
    let done = Program::new().args(["check", "--boot"]).arg(&image).done().exits(0);
    let proofs: Vec<&str> = done.text().lines().filter(|line| line.starts_with("proven")).map(|_| "").collect();
    assert_eq!(proofs.len(), 5, "{}", done.text());
    for says in [
        "BIOS, VGA and serial console: complete message found once on the serial console, once on the screen",
        "BIOS, serial console mirrors VGA: complete message found once on the serial console, once on the screen",
        "BIOS, serial console alone: complete message found once on the serial console",
        "UEFI: bootling: exited with status 0 (waited for the command in the image)",
        "image unchanged",
    ] {
        assert!(done.text().contains(says), "no {says:?} in {}", done.text());
    }

    // The stub halts before it prints; its message is still readable in the sector.
    let mut bytes = fs::read(&image).expect("readable");
    bytes[0x2a..0x2d].copy_from_slice(b"\xf4\xeb\xfd");
    fs::write(&image, bytes).expect("written");
    let program = Program::new().args(["check", "--boot", "--quiet", "--timeout", "6s", "--expect", "BdsDxe"]);
    let done = program.arg(&image).done().exits(1);
    let failed = done.text().lines().filter(|line| line.starts_with("failed BIOS")).count();
    assert_eq!(failed, 3, "{}", done.text());

    // Without a message nothing can be proven, which is a failure.
    let mut bytes = fs::read(&image).expect("readable");
    bytes[0x80..440].fill(b'x');
    fs::write(&image, bytes).expect("written");
    let program =
        Program::new().args(["check", "--boot", "--quiet", "--ignore", "message-broken", "--expect", "BdsDxe"]);
    let done = program.arg(&image).done().exits(1);
    assert!(done.text().starts_with("failed BIOS: no message: "), "{}", done.text());
    assert_eq!(done.text().lines().count(), 1, "{}", done.text());
}

#[test]
fn an_iso_that_is_also_a_disk_is_proven_as_both() {
    let test = "an_iso_that_is_also_a_disk_is_proven_as_both";
    if Kernel::Cloud612.or_skip(test).is_none() || uefi_or_skip(test).is_none() {
        return;
    }
    if !tools(test, &["grub-mkrescue", "xorriso", "mformat"]) {
        return;
    }
    let dir = scratch();
    fs::create_dir_all(dir.path().join("cd/boot/grub")).expect("made");
    fs::write(dir.path().join("cd/boot/grub/grub.cfg"), "serial\nterminal_output serial\necho it runs\nsleep 60\n")
        .expect("written");
    let made = Command::new("grub-mkrescue").args(["-o", "x.iso", "cd"]).current_dir(dir.path()).output();
    assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
    let image = dir.path().join("x.iso");
    let done = Program::new().args(["check", "--boot"]).arg(&image).done().exits(0);
    for says in [
        "proven BIOS, boot loader: ",
        "proven BIOS, boot loader, as a USB disk: ",
        "proven UEFI: ",
        "proven UEFI, as a USB disk: ",
        "QEMU DVD-ROM",
        "USB HARDDRIVE",
    ] {
        assert!(done.text().contains(says), "no {says:?} in {}", done.text());
    }
    // Without its boot code, it boots as a CD only.
    let mut bytes = fs::read(&image).expect("readable");
    bytes[0..3].copy_from_slice(b"\xf4\xeb\xfd");
    fs::write(&image, bytes).expect("written");
    let program = Program::new().args(["check", "--boot", "--quiet", "--timeout", "20s", "--ignore", "loader-stray"]);
    let done = program.arg(&image).done().exits(1);
    assert!(done.text().starts_with("failed BIOS, boot loader, as a USB disk: "), "{}", done.text());
    assert_eq!(done.text().lines().count(), 1, "{}", done.text());
}

#[test]
fn a_signal_ends_the_proof_and_starts_no_further_machine() {
    let test = "a_signal_ends_the_proof";
    let (Some(package), Some(())) = (Kernel::Cloud612.or_skip(test), uefi_or_skip(test)) else { return };
    let dir = scratch();
    let image = dir.path().join("disk.img");
    let disk = Program::new().args(["disk", "--kernel"]).arg(package).args(["--run", "echo inside", "-o"]).arg(&image);
    disk.done().exits(0);
    let running = Program::new().args(["check", "--boot", "--expect", "never", "--quiet"]).arg(&image).start();
    let qemu = qemu_of(running.pid());
    signal(running.pid(), Signal::TERM);
    let done = running.done().exits(143).says("interrupted (SIGTERM)");
    // The other machines would each run until --timeout, and their results would be printed.
    assert!(!done.text().contains("BIOS"), "{}", done.text());
    wait_until_gone(qemu);
}

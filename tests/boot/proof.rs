//! `bootling check --boot`: an image that `bootling disk` made, proven; and one whose boot sector was spoiled.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::firmware::uefi_or_skip;
use crate::support::processes::{qemu_of, signal, wait_until_gone};
use crate::support::program::scratch;
use crate::support::{Kernel, Program};

#[test]
fn a_disk_is_proven_on_every_console_and_a_spoiled_one_is_not() {
    let test = "a_disk_is_proven_on_every_console";
    let (Some(package), Some(())) = (Kernel::Cloud612.or_skip(test), uefi_or_skip(test)) else { return };
    let dir = scratch();
    let image = dir.path().join("disk.img");
    let disk = Program::new().args(["disk", "--kernel"]).arg(package).args(["--run", "echo inside"]);
    // Packed, so that nothing of what is in it can be read from the disk's bytes.
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

    // The stub stops before it has said anything; its message is still there to be read.
    let mut bytes = fs::read(&image).expect("readable");
    bytes[0x2a..0x2d].copy_from_slice(b"\xf4\xeb\xfd");
    fs::write(&image, bytes).expect("written");
    let program = Program::new().args(["check", "--boot", "--quiet", "--timeout", "6s", "--expect", "BdsDxe"]);
    let done = program.arg(&image).done().exits(1);
    let failed = done.text().lines().filter(|line| line.starts_with("failed BIOS")).count();
    assert_eq!(failed, 3, "{}", done.text());

    // Its message is gone: there is nothing that could be proven, which is no proof.
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
fn a_signal_ends_the_proof_and_no_further_machine_is_started() {
    let test = "a_signal_ends_the_proof";
    let (Some(package), Some(())) = (Kernel::Cloud612.or_skip(test), uefi_or_skip(test)) else { return };
    let dir = scratch();
    let image = dir.path().join("disk.img");
    let disk = Program::new().args(["disk", "--kernel"]).arg(package).args(["--run", "echo inside", "-o"]).arg(&image);
    disk.done().exits(0);
    let running = Program::new().args(["check", "--boot", "--expect", "never", "--quiet"]).arg(&image).start();
    let qemu = qemu_of(running.pid());
    let started = Instant::now();
    signal(running.pid(), Signal::TERM);
    let done = running.done().exits(143).says("interrupted (SIGTERM)");
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}: {}", started.elapsed(), done.stderr);
    wait_until_gone(qemu, Duration::from_secs(5));
}

//! `bootling run --firmware` with OVMF and SeaBIOS.

use std::fs;
use std::path::Path;

use crate::support::program::scratch;
use crate::support::skip::skip;
use crate::support::{Kernel, Program};

/// Checks for UEFI firmware; prints the reason and returns `None` if it is missing.
pub(crate) fn uefi_or_skip(test: &str) -> Option<()> {
    let doctor = Program::new().arg("doctor").done();
    let line = doctor.text().lines().find(|line| line.contains("UEFI")).unwrap_or_default().to_owned();
    if line.starts_with("ok") {
        return Some(());
    }
    skip(test, &line);
    None
}

#[test]
fn a_kernel_started_by_ovmf_finds_uefi_and_runs_the_command() {
    let test = "a_kernel_started_by_ovmf";
    let (Some(program), Some(())) = (Program::run(Kernel::Cloud612, test), uefi_or_skip(test)) else { return };
    let line = "cat; dmesg | grep -o 'efi: EFI v2'; echo oops >&2; exit 7";
    let (done, verdict) = program.stdin("over here\n").json(["--warm=no", "--firmware", "uefi", "--run", line]);
    let done = done.exits(7).says("oops");
    assert_eq!(done.text(), "over here\nefi: EFI v2\n");
    assert_eq!((&verdict["firmware"], &verdict["outcome"]), (&"uefi".into(), &"exited".into()), "{verdict}");
    let code = verdict["firmware_path"].as_str().expect("OVMF is a file");
    assert!(Path::new(code).is_absolute(), "{code}");
    assert!(verdict["times"]["boot_ms"].as_f64().is_some_and(|ms| ms > 500.0), "{verdict}");
}

#[test]
fn a_kernel_started_by_seabios_runs_the_command() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_kernel_started_by_seabios") else { return };
    let (done, verdict) =
        program.json(["--firmware", "bios", "--run", "test ! -e /sys/firmware/efi && dmesg | grep -c SMBIOS"]);
    let done = done.exits(0);
    assert!(done.text().trim().parse::<u32>().is_ok_and(|lines| lines > 0), "{}", done.text());
    assert_eq!((&verdict["firmware"], &verdict["firmware_path"]), (&"bios".into(), &serde_json::Value::Null));
    // QEMU got the bzImage, which decompresses itself in the guest.
    let words = verdict["qemu"]["command"].as_array().expect("words");
    let kernel = words.iter().position(|word| word == "-kernel").expect("a kernel");
    assert!(words[kernel + 1].as_str().is_some_and(|file| file.starts_with("/proc/self/fd/")), "{verdict}");
}

#[test]
fn unusable_firmware_is_refused_with_the_reason() {
    let Some(package) = Kernel::Cloud612.or_skip("unusable_firmware") else { return };
    let dir = scratch();
    let run = |options: &[&str]| {
        let program = Program::new().args(["run", "--kernel"]).arg(&package).args(options);
        program.env("HOME", dir.path()).args(["--", "true"]).done().exits(125)
    };
    run(&["--firmware", "uefi", "--machine", "microvm"]).says("microvm has no PCI");
    run(&["--firmware", "/no/such.fd"]).says("failed to read firmware /no/such.fd");
    run(&["--firmware", "bios", "--firmware-vars", "/dev/null"])
        .says("--firmware-vars requires UEFI firmware in flash");
    run(&["--firmware-vars", "/dev/null"]).says("--firmware-vars");
    // The header of a variable store whose volume fills the file.
    let mut store = vec![0xff; 4096];
    store[16..32].copy_from_slice(b"\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50");
    store[32..40].copy_from_slice(&4096_u64.to_le_bytes());
    store[40..44].copy_from_slice(b"_FVH");
    let vars = dir.path().join("VARS.fd");
    fs::write(&vars, &store).expect("written");
    run(&["--firmware", vars.to_str().expect("a name")]).says("contains UEFI variables, not firmware code");
    // Firmware code without variables.
    store[16] = 0;
    let code = dir.path().join("lonely.fd");
    fs::write(&code, &store).expect("written");
    fs::remove_file(vars).expect("removed");
    run(&["--firmware", code.to_str().expect("a name")]).says("--firmware-vars FILE");
}

//! Input that `bootling disk` refuses: one error with the reason, and no files left behind.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use snapbox::str;

use super::usual;

#[test]
fn a_size_that_is_too_small_is_refused_with_the_required_size() {
    let case = usual();
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--size", "10M"],
        str![[r#"
error: disk size of 10485760 bytes is too small: the contents require 36700160 bytes (35 MiB)
advice: use --size 35M or more, or omit it

"#]],
    );
    case.bootling(&["-o", "x.img", "--efi", "app.efi", "--size", "10M", "--esp", "tiny"]).assert().success();
    assert_eq!(fs::metadata(case.path().join("x.img")).expect("an image").len(), 10 << 20);
}

#[test]
fn sizes_above_the_limit_are_refused() {
    let case = usual();
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--size", "18446744073709551615"],
        str![[r#"
error: disk size of 18446744073709551615 bytes exceeds the limit of 8 TiB

"#]],
    );
}

#[test]
fn a_failed_side_output_leaves_no_image() {
    let case = usual();
    case.fails(
        &["-o", "a\nb.img", "--efi", "app.efi", "--checksums"],
        str![[r#"
error: failed to write SHA256SUMS: invalid character in file name "a/nb.img"

"#]],
    );
    fs::create_dir(case.path().join("SHA256SUMS")).expect("a directory");
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--checksums"],
        str![[r#"
error: failed to write [..]SHA256SUMS: Is a directory (os error 21)

"#]],
    );
    // A full standard output leaves no image either.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_bootling"))
        .args(["disk", "--json", "-o", "y.img", "--efi", "app.efi"])
        .current_dir(case.path())
        .stdout(full)
        .stderr(Stdio::null())
        .status();
    assert_eq!(status.expect("bootling runs").code(), Some(125));
    assert!(!case.path().join("y.img").exists());
}

#[test]
fn a_block_device_is_refused_with_advice() {
    let case = usual();
    let node = case.path().join("node");
    let made = std::process::Command::new("mknod").arg(&node).args(["b", "7", "0"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        writeln!(std::io::stderr(), "not tested: cannot create device nodes").expect("standard error is open");
        return;
    }
    case.fails(
        &["-o", "node", "--efi", "app.efi"],
        str![[r#"
error: failed to write node: block devices are not supported
advice: write to a file, copy it with `dd if=FILE of=DEVICE bs=4M conv=fsync`, and move the backup table to the end of the device with `sgdisk -e DEVICE`

"#]],
    );
}

#[test]
fn two_sources_for_one_path_are_both_reported() {
    let case = usual();
    case.write("other.efi", "x");
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--add-file", "other.efi=efi/boot/bootx64.efi"],
        str![[r#"
error: efi/boot/bootx64.efi on the ESP: conflicting sources: --efi app.efi and --add-file other.efi (FAT names are case-insensitive)

"#]],
    );
}

#[test]
fn disk_options_are_refused_for_an_efi_program() {
    let case = usual();
    case.write("text", "text");
    for (option, value, what) in [
        ("--root", "text", "--root"),
        ("--size", "64M", "--size"),
        ("--esp", "tiny", "--esp"),
        ("--sector-size", "dual", "--sector-size"),
        ("--preset", "ec2", "boot sector options"),
    ] {
        let said = format!("error: {what} cannot be used with the format uki, which is not a disk\n");
        case.fails(&["-o", "x.efi", "--efi", "app.efi", option, value], said);
    }
}

#[test]
fn bad_input_is_reported_in_one_line() {
    let case = usual();
    case.write("text", "not a program\n");
    case.fails(
        &["-o", "x.img", "--efi", "text"],
        str![[r#"
error: failed to read text: not a PE file: no "MZ" signature at offset 0x0

"#]],
    );
    case.fails(
        &["-o", "x.img", "--efi", "missing"],
        str![[r#"
error: failed to read missing: No such file or directory (os error 2)

"#]],
    );
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--add-file", "missing"],
        str![[r#"
error: failed to read missing: No such file or directory (os error 2)

"#]],
    );
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--add-file", "text=a:b"],
        str![[r#"
error: invalid path "a:b" on the ESP (--add-file text): names on FAT must not contain control characters or any of " * : < > ? |

"#]],
    );
    case.fails(
        &["-o", "x.img", "--efi", "app.efi", "--root", "/dev/null"],
        str![[r#"
error: invalid --root /dev/null: neither a file nor a directory

"#]],
    );
    case.fails(
        &["-o", "missing/x.img", "--efi", "app.efi"],
        str![[r#"
error: failed to write missing/x.img: No such file or directory (os error 2)

"#]],
    );
    case.fails(
        &["-o", "-", "--json", "--efi", "app.efi"],
        str![[r#"
error: --json cannot be used if the image is written to standard output

"#]],
    );
    case.fails(
        &["-o", "-", "--checksums", "--efi", "app.efi"],
        str![[r#"
error: --checksums cannot be used if the image is written to standard output

"#]],
    );
}

#[test]
fn a_missing_tool_is_reported_with_its_package() {
    let case = usual();
    fs::create_dir(case.path().join("root")).expect("a directory");
    case.bootling(&["-o", "x.img", "--efi", "app.efi"]).assert().success();
    let before = case.listing();
    let words = ["-o", "y.img", "--efi", "app.efi", "--root", "root"];
    case.bootling(&words).env("PATH", "/dev/null").assert().code(125).stdout_eq("").stderr_eq(str![[r#"
error: failed to create a file system from root: mksquashfs not found on PATH
advice: on Debian, install the package squashfs-tools

"#]]);
    assert_eq!(case.listing(), before);
}

#[test]
fn long_output_of_the_file_system_tool_is_truncated_and_reported() {
    let case = usual();
    fs::create_dir_all(case.path().join("root")).expect("a directory");
    let tool = |script: &str| {
        fs::create_dir_all(case.path().join("bin")).expect("a directory");
        case.write("bin/mksquashfs", format!("#!/bin/sh\n{script}"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(case.path().join("bin/mksquashfs"), mode).expect("a mode");
        let path = format!("{}:/usr/bin:/bin", case.path().join("bin").display());
        let words = ["-o", "y.img", "--efi", "app.efi", "--root", "root"];
        case.bootling(&words).env("PATH", path).timeout(std::time::Duration::from_secs(60)).assert()
    };
    // More than a pipe holds.
    let long = "seq 100000 >&2\n";
    tool(&format!("{long}exit 1\n")).code(125).stdout_eq("").stderr_eq(str![[r#"
error: failed to create a file system from root: mksquashfs failed (exit status: 1): 99996; 99997; 99998; 99999; 100000

"#]]);
    // Without -exit-on-error, mksquashfs stores an unreadable file as an empty file.
    let asked = "case \" $* \" in *' -exit-on-error '*) ;; *) exit 9;; esac\necho sqsh >\"$2\"\n";
    tool(&format!("{long}{asked}echo odd >&2\n")).code(0).stdout_eq("").stderr_eq(str![[r#"
bootling: mksquashfs: 99997
bootling: mksquashfs: 99998
bootling: mksquashfs: 99999
bootling: mksquashfs: 100000
bootling: mksquashfs: odd

"#]]);
}

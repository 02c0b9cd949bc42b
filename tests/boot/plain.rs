//! Images as files: a real kernel unpacks every compression format, and `run --initrd` boots the images.

use crate::support::program::scratch;
use crate::support::{Kernel, Program, qemu};

#[test]
fn every_compression_is_unpacked_by_a_real_kernel() {
    let test = "every_compression_is_unpacked_by_a_real_kernel";
    if Kernel::Cloud612.or_skip(test).is_none() {
        return;
    }
    for how in ["none", "gzip", "zstd", "xz", "lz4"] {
        let dir = scratch();
        let image = dir.path().join("image");
        let build = Program::new().args(["build", "--compress", how, "--run", "echo unpacked by the kernel", "-o"]);
        build.arg(&image).done().exits(0);
        qemu::boot(Kernel::Cloud612, &image, &[], "", b"").powered_off_after("unpacked by the kernel");
    }
}

#[test]
fn a_prebuilt_image_is_run_and_its_status_returned() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_prebuilt_image") else { return };
    let dir = scratch();
    let image = dir.path().join("image");
    Program::new().args(["build", "--run", "echo ready-made; exit 3", "-o"]).arg(&image).done().exits(0);
    let done = program.arg("--initrd").arg(&image).done().exits(3);
    assert_eq!(done.text(), "ready-made\n");
}

#[test]
fn a_command_on_a_foreign_image_is_found_in_path_and_keeps_its_links() {
    let test = "a_command_on_a_foreign_image";
    let Some(program) = Program::run(Kernel::Generic61, test) else { return };
    let dir = scratch();
    // The foreign image: merged /usr, with a program that is found only through PATH.
    let make = "mkdir -p usr/bin usr/lib dev && ln -s usr/bin bin && ln -s usr/lib lib && cp \"$2\" usr/bin/busybox && \
                ln -s busybox usr/bin/sh && ln -s busybox usr/bin/readlink && find . | cpio --quiet -o -H newc >\"$1\"";
    let (initrd, tree) = (dir.path().join("theirs.img"), dir.path().join("tree"));
    std::fs::create_dir(&tree).expect("writable directory");
    let status = std::process::Command::new("sh")
        .args(["-c", make, "sh"])
        .arg(&initrd)
        .arg("/usr/bin/busybox")
        .current_dir(&tree)
        .status();
    assert!(status.expect("sh runs").success());
    let program = program.arg("--initrd").arg(&initrd).args(["--kmod", "loop"]);
    let done = program.args(["--", "readlink", "/lib"]).done().exits(0);
    assert_eq!(done.text(), "usr/lib\n");
}

#[test]
fn a_foreign_image_boots_unchanged_and_is_never_success() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_foreign_image") else { return };
    let dir = scratch();
    let image = dir.path().join("theirs");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/plain-initrd");
    let status = std::process::Command::new(script).arg(&image).output().expect("sh runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    // The shell ends at end of file and init powers off: there is no verdict.
    let done = program.arg("--initrd").arg(&image).stdin("echo $((6 * 7)) forty-two\nexit\n").done();
    assert_eq!(done.status, Some(122), "{}\n{}", done.text(), done.stderr);
}

#[test]
fn a_broken_image_is_refused_before_the_boot() {
    let test = "a_broken_image";
    let dir = scratch();
    let good = dir.path().join("good.img");
    Program::new().args(["build", "--run", "true", "-o"]).arg(&good).done().exits(0);
    let bytes = std::fs::read(&good).expect("built image");
    let junk = [&bytes[..], b"root:x:0:0:root:/root:/bin/sh\n"].concat();
    for (name, bytes, command) in [
        ("junk behind it", &junk[..], &["--", "true"][..]),
        ("junk behind it, as it is", &junk[..], &[]),
        ("cut off", &bytes[..bytes.len() / 2], &["--", "true"]),
        ("cut off, as it is", &bytes[..bytes.len() / 2], &[]),
    ] {
        let bad = dir.path().join(name);
        std::fs::write(&bad, bytes).expect("writable directory");
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        program.arg("--initrd").arg(&bad).args(command).done().exits(125).says(name).says("segment");
    }
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    program.args(["--initrd", "/dev/zero", "--", "true"]).done().exits(125).says("not a regular file");
}

#[test]
fn a_kernel_command_line_over_the_limit_is_refused() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_kernel_command_line_over_the_limit") else { return };
    let long = "x".repeat(2100);
    program.args(["--append", &long, "--", "true"]).done().exits(125).says("2047");
}

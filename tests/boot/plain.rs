//! Images as files: every compression is unpacked by a real kernel, and `run --initrd` boots them too.

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
fn an_image_that_was_built_before_is_run_with_its_status() {
    let Some(program) = Program::run(Kernel::Cloud612, "an_image_that_was_built_before") else { return };
    let dir = scratch();
    let image = dir.path().join("image");
    Program::new().args(["build", "--run", "echo ready-made; exit 3", "-o"]).arg(&image).done().exits(0);
    let done = program.arg("--initrd").arg(&image).done().exits(3);
    assert_eq!(done.text(), "ready-made\n");
}

#[test]
fn a_command_on_top_of_somebody_elses_image_is_found_through_path_and_keeps_their_links() {
    let test = "a_command_on_top_of_somebody_elses_image";
    let Some(program) = Program::run(Kernel::Generic61, test) else { return };
    let dir = scratch();
    // Theirs: usr-merged, with a program that only a PATH leads to.
    let make = "mkdir -p usr/bin usr/lib dev && ln -s usr/bin bin && ln -s usr/lib lib && cp \"$2\" usr/bin/busybox && \
                ln -s busybox usr/bin/sh && ln -s busybox usr/bin/readlink && find . | cpio --quiet -o -H newc >\"$1\"";
    let (initrd, tree) = (dir.path().join("theirs.img"), dir.path().join("tree"));
    std::fs::create_dir(&tree).expect("the folder is ours");
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
fn an_image_of_somebody_elses_boots_as_it_is_and_is_never_success() {
    let Some(program) = Program::run(Kernel::Cloud612, "an_image_of_somebody_elses") else { return };
    let dir = scratch();
    let image = dir.path().join("theirs");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/plain-initrd");
    let status = std::process::Command::new(script).arg(&image).output().expect("sh runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    // Its shell ends with its input, and its init powers off: nobody gave a verdict.
    let done = program.arg("--initrd").arg(&image).stdin("echo $((6 * 7)) forty-two\nexit\n").done();
    assert_eq!(done.status, Some(122), "{}\n{}", done.text(), done.stderr);
}

#[test]
fn an_image_that_the_kernel_would_give_up_on_is_refused_before_it_boots() {
    let test = "an_image_that_the_kernel_would_give_up_on";
    let dir = scratch();
    let good = dir.path().join("good.img");
    Program::new().args(["build", "--run", "true", "-o"]).arg(&good).done().exits(0);
    let bytes = std::fs::read(&good).expect("it was built");
    let junk = [&bytes[..], b"root:x:0:0:root:/root:/bin/sh\n"].concat();
    for (name, bytes, command) in [
        ("junk behind it", &junk[..], &["--", "true"][..]),
        ("junk behind it, as it is", &junk[..], &[]),
        ("cut off", &bytes[..bytes.len() / 2], &["--", "true"]),
        ("cut off, as it is", &bytes[..bytes.len() / 2], &[]),
    ] {
        let bad = dir.path().join(name);
        std::fs::write(&bad, bytes).expect("the folder is ours");
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        program.arg("--initrd").arg(&bad).args(command).done().exits(125).says(name).says("segment");
    }
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    program.args(["--initrd", "/dev/zero", "--", "true"]).done().exits(125).says("not a regular file");
}

#[test]
fn a_command_line_that_the_kernel_would_cut_off_is_refused() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_command_line_that_the_kernel_would_cut_off") else { return };
    let long = "x".repeat(2100);
    program.args(["--append", &long, "--", "true"]).done().exits(125).says("2047");
}

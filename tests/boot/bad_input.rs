//! Bad input to `build`: one error, exit code 125, and no files left behind.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::program::scratch;
use crate::support::{Done, Program};

/// Exit code of bootling if it cannot do its work.
const COULD_NOT: i32 = 125;

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Builds into an empty directory; checks that the build fails with one error and that the directory stays empty.
#[track_caller]
fn refused(args: &[OsString]) -> Done {
    let dir = scratch();
    let done = Program::new().arg("build").args(args).arg("-o").arg(dir.path().join("image")).done().exits(COULD_NOT);
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("readable directory").map(|entry| entry.map(|e| e.file_name())).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let errors = done.stderr.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!(errors, 1, "{}", done.stderr);
    done
}

fn executable(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("writable directory");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("writable directory");
}

/// Returns a dynamically linked program of the host, to be damaged.
fn program() -> (PathBuf, Vec<u8>) {
    let path = PathBuf::from("/usr/bin/hwloc-info");
    let bytes = fs::read(&path).expect("hwloc is installed");
    (path, bytes)
}

#[test]
fn a_missing_program_is_reported_with_the_searched_directories() {
    let dir = scratch();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    symlink(busybox.expect("busybox is installed"), dir.path().join("busybox")).expect("writable directory");
    let done = Program::new().env("PATH", dir.path()).args(["build", "no-such-program", "-o", "/dev/null"]).done();
    let done = done.exits(COULD_NOT);
    done.says("no-such-program").says(&dir.path().display().to_string());
}

#[test]
fn a_missing_library_is_reported_with_its_user_and_the_searched_directories() {
    let (_, mut bytes) = program();
    let at = bytes.windows(13).position(|name| name == b"libhwloc.so.1").expect("linked against hwloc");
    bytes[at..at + 13].copy_from_slice(b"libnone__.so.");
    let dir = scratch();
    let path = dir.path().join("orphan");
    executable(&path, &bytes);
    refused(&[path.into()]).says("libnone__.so.5").says("orphan").says("/lib");
}

#[test]
fn damaged_programs_are_refused_by_name() {
    let (_, bytes) = program();
    let dir = scratch();
    for (name, len) in [("cut-header", 40), ("cut-table", 64), ("cut-early", 700), ("cut-half", bytes.len() / 2)] {
        let path = dir.path().join(name);
        executable(&path, &bytes[..len]);
        refused(&[path.into()]).says(name);
    }
    for (name, bytes) in [("empty", &b""[..]), ("words", b"not a program\n")] {
        let path = dir.path().join(name);
        executable(&path, bytes);
        refused(&[path.into()]).says(name);
    }
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let (_, mut bytes) = program();
    // e_machine: AArch64.
    bytes[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let dir = scratch();
    let path = dir.path().join("foreign");
    executable(&path, &bytes);
    refused(&[path.into()]).says("foreign");
}

#[test]
fn a_script_without_its_interpreter_is_refused() {
    let dir = scratch();
    let path = dir.path().join("script");
    executable(&path, b"#!/no/such/interpreter -x\n");
    refused(&[path.into()]).says("/no/such/interpreter").says("script");
}

#[test]
fn a_copy_of_a_missing_file_is_refused() {
    refused(&words(&["--copy", "/no/such/file"])).says("/no/such/file");
    refused(&words(&["--copy", "/no/such/file=/there"])).says("/no/such/file");
    refused(&words(&["--copy", "/no/such/*.file"])).says("/no/such/*.file");
}

#[test]
fn two_sources_for_one_path_are_both_reported() {
    let done = refused(&words(&["--copy", "/etc/passwd=/there", "--copy", "/etc/group=/there"]));
    done.says("/etc/passwd").says("/etc/group").says("/there");
}

#[test]
fn a_file_of_4_gib_is_refused_and_a_smaller_file_is_accepted() {
    let dir = scratch();
    let (big, fits) = (dir.path().join("big"), dir.path().join("fits"));
    File::create(&big).and_then(|file| file.set_len(1 << 32)).expect("a sparse file");
    File::create(&fits).and_then(|file| file.set_len((1 << 32) - 1)).expect("a sparse file");
    refused(&["--copy".into(), big.into()]).says("big").says("4");
    Program::new().args(["build", "--dry-run", "--copy"]).arg(&fits).done().exits(0);
}

#[test]
fn a_name_that_is_not_utf_8_works_and_a_name_over_the_kernels_limit_is_refused() {
    let dir = scratch();
    let odd = dir.path().join(OsStr::from_bytes(b"odd-\xff\xfe"));
    fs::write(&odd, "odd").expect("writable directory");
    let image = dir.path().join("image");
    let listed = "cpio -t --quiet <\"$1\" | grep -a -c \"$(printf 'odd-\\377\\376')\"";
    Program::new().args(["build", "--copy"]).arg(&odd).arg("-o").arg(&image).done().exits(0);
    let found = Command::new("sh").args(["-c", listed, "sh"]).arg(&image).env("LC_ALL", "C").output();
    assert_eq!(found.expect("sh runs").stdout, b"1\n");

    let long = format!("/etc/passwd=/{}", vec!["a".repeat(200); 21].join("/"));
    refused(&words(&["--copy", &long])).says("4096");
}

#[test]
fn an_image_that_cannot_be_written_is_refused() {
    let build = |output: &str| Program::new().args(["build", "-o", output]).done().exits(COULD_NOT);
    build("/no/such/folder/image").says("/no/such/folder");
    build("/proc/image").says("/proc");
    build("/etc").says("/etc");
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let dir = scratch();
    let image = dir.path().join("image");
    // A limit on the file size simulates a full disk without root: the write fails with SIGXFSZ or EFBIG.
    let line = "trap '' XFSZ; ulimit -f 100; exec \"$0\" build -o \"$1\"";
    let output = Command::new("bash").args(["-c", line, env!("CARGO_BIN_EXE_bootling")]).arg(&image).output();
    let output = output.expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(COULD_NOT), "{said}");
    assert!(said.contains("image"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).expect("readable directory").count(), 0);
}

#[test]
fn an_existing_image_is_replaced_whole_or_kept() {
    let dir = scratch();
    let image = dir.path().join("image");
    fs::write(&image, "before").expect("writable directory");
    let failed = Program::new().args(["build", "--copy", "/no/such/file", "-o"]).arg(&image).done();
    failed.exits(COULD_NOT);
    assert_eq!(fs::read(&image).expect("unchanged file"), b"before");
    Program::new().args(["build", "-o"]).arg(&image).done().exits(0);
    assert!(fs::read(&image).expect("replaced").starts_with(b"070701"));
}

#[test]
fn a_file_that_is_not_a_kernel_is_refused_by_name() {
    let dir = scratch();
    let text = dir.path().join("text");
    fs::write(&text, "hello").expect("writable directory");
    let cases: [(&Path, &str); 4] = [
        (&text, "text"),
        (Path::new("/usr/bin/hwloc-info"), "hwloc-info"),
        (Path::new("/no/such/kernel"), "/no/such/kernel"),
        (Path::new("/dev/null"), "/dev/null"),
    ];
    for (kernel, named) in cases {
        let mut args = vec![OsString::from("--kernel"), kernel.into()];
        args.extend(words(&["--kmod", "loop"]));
        refused(&args).says(named);
    }
}

#[test]
fn a_missing_busybox_is_an_error_with_advice() {
    let dir = scratch();
    // A root with a shell program, but without busybox.
    fs::create_dir(dir.path().join("bin")).expect("writable directory");
    executable(&dir.path().join("bin/sh"), &program().1);
    refused(&["--sysroot".into(), dir.path().into()]).says("busybox").says("--no-busybox");
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let dir = scratch();
    let images = ["a", "b"].map(|name| dir.path().join(name));
    for image in &images {
        let build =
            Program::new().args(["build", "hwloc-info", "--copy", "/etc/os-release", "--compress", "zstd", "-o"]);
        build.arg(image).done().exits(0);
    }
    let [a, b] = images.map(|image| fs::read(image).expect("built image"));
    assert!(a == b, "{} and {} bytes", a.len(), b.len());
}

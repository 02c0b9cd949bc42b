//! The commands `bootling build`, `ls` and `cat`: exact output, one error for bad input, no files left behind.

#[path = "support/case.rs"]
mod case;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use case::Case;
use snapbox::cmd::Command;
use snapbox::str;

/// Arguments for an image without busybox, so that expected listings are short.
const SMALL: [&str; 3] = ["build", "--no-busybox", "--sysroot"];

/// Creates a root with only a static shell.
fn tiny_system(case: &Case) -> String {
    let root = case.path().join("root");
    fs::create_dir_all(root.join("bin")).expect("a directory");
    fs::create_dir_all(root.join("etc")).expect("a directory");
    fs::copy("/usr/bin/busybox", root.join("bin/sh")).expect("busybox-static is installed");
    fs::write(root.join("etc/motd"), "hello\n").expect("a file");
    "root".to_owned()
}

#[test]
fn success_is_silent_and_the_image_has_busybox_and_its_applets() {
    let case = Case::new();
    case.bootling(&["build", "-o", "x.img"]).assert().success().stdout_eq("").stderr_eq("");
    let busybox = fs::metadata("/usr/bin/busybox").expect("busybox-static is installed").len();
    let size = case.read("x.img").len() as u64;
    // The archive adds about 45 KiB: headers, applets, device nodes.
    let pid1 = bootling::initrd::pid1::image(bootling::arch::Arch::X86_64).expect("embedded").len() as u64;
    assert!(size > busybox && size < busybox + pid1 + 52 * 1024, "{size}");
    let listed = case.bootling(&["ls", "x.img"]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(listed).expect("text");
    assert!(text.lines().filter(|line| line.ends_with("-> busybox")).count() > 250, "{text}");
    for line in [
        "crw-------  1 0 0        5,1 1970-01-01 00:00 dev/console",
        "crw-rw-rw-  1 0 0        1,3 1970-01-01 00:00 dev/null",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn verbose_prints_size_entries_and_time() {
    let case = Case::new();
    case.bootling(&["build", "-v", "-o", "x.img"])
        .assert()
        .success()
        .stdout_eq("")
        .stderr_eq("bootling: x.img: [..] bytes, [..] entries, [..] ms\n");
}

#[test]
fn dry_run_lists_type_mode_size_path_and_source() {
    let case = Case::new();
    let root = tiny_system(&case);
    let words = [&SMALL[..], &[&root, "--dry-run", "--copy", "/etc/motd=/opt/m"]].concat();
    case.bootling(&words).assert().success().stderr_eq("").stdout_eq(str![[r"
drwx------          -  /.bootling
-rw-------        [..]  /.bootling/job  (generated)
drwxr-xr-x          -  /bin
-rwxr-xr-x    [..]  /bin/sh  (from [..]/root/bin/sh)
drwxr-xr-x          -  /dev
crw-------        5,1  /dev/console
crw-rw-rw-        1,3  /dev/null
drwxr-xr-x          -  /etc
-rw-r--r--         36  /etc/group  (built in)
-rw-r--r--         67  /etc/hosts  (built in)
-rw-r--r--         71  /etc/passwd  (built in)
drwxr-xr-x          -  /home
-rwxr-xr-x      [..]  /init  (built in)
drwxr-xr-x          -  /mnt
drwxr-xr-x          -  /opt
-rw-r--r--          6  /opt/m  (from [..]/root/etc/motd)
drwxr-xr-x          -  /proc
drwx------          -  /root
drwxr-xr-x          -  /run
drwxr-xr-x          -  /sys
drwxrwxrwt          -  /tmp
drwxr-xr-x          -  /var
drwxrwxrwt          -  /var/tmp
total: 23 entries, [..] bytes of content

"]]);
    assert_eq!(case.listing(), ["root"]);
}

#[test]
fn why_prints_the_chain_of_requests() {
    let case = Case::new();
    let program = "lstopo-no-graphics";
    let out = case.bootling(&["build", "--why", "/usr/bin/lstopo-no-graphics", program]).assert().success();
    out.stdout_eq("/usr/bin/lstopo-no-graphics\n  requested by lstopo-no-graphics\n");
    let libc = case.bootling(&["build", "--why", "/lib/x86_64-linux-gnu/libc.so.6", program]).assert().success();
    let text = String::from_utf8(libc.get_output().stdout.clone()).expect("text");
    assert!(text.starts_with("/usr/lib/x86_64-linux-gnu/libc.so.6\n  library libc.so.6, needed by /usr/bin/lstopo-no-graphics\n    requested by lstopo-no-graphics\n"), "{text}");
    case.fails(
        &["build", "--why", "/bin/lstopo", "--no-busybox", program],
        "error: /bin/lstopo: no such entry in the image (nearest: /usr/bin/lstopo-no-graphics)\n",
    );
}

#[test]
fn a_missing_program_is_reported_with_the_searched_directories() {
    let case = Case::new();
    let output = case.bootling(&["build", "-o", "x.img", "no-such-program"]).assert().code(125).stdout_eq("");
    let error = String::from_utf8(output.get_output().stderr.clone()).expect("text");
    assert!(error.starts_with("error: ") && error.contains("no-such-program") && error.contains("/usr/bin"), "{error}");
    assert!(case.listing().is_empty());
}

#[test]
fn an_output_that_cannot_be_written_is_one_error() {
    let case = Case::new();
    let full = "error: failed to write /dev/full: No space left on device (os error 28)\n";
    for compression in ["none", "gzip", "zstd", "xz", "lz4"] {
        case.fails(&["build", "-o", "/dev/full", "--compress", compression], full);
    }
    case.fails(
        &["build", "-o", "missing/x.img"],
        "error: failed to write missing/x.img: No such file or directory (os error 2)\n",
    );
    case.fails(&["build", "-o", "."], "error: failed to write .: already exists and is not a regular file\n");
    case.fails(
        &["build", "-o", "/proc/x.img"],
        "error: failed to write /proc/x.img: No such file or directory (os error 2)\n",
    );
    case.bootling(&["build", "-o", "/dev/null"]).assert().success().stdout_eq("").stderr_eq("");
}

#[test]
fn the_image_can_be_written_to_standard_output() {
    let case = Case::new();
    case.bootling(&["build", "-o", "x.img"]).assert().success();
    let piped = case.bootling(&["build", "-o", "-"]).assert().success().stderr_eq("").get_output().stdout.clone();
    assert!(piped == case.read("x.img"));
}

#[test]
fn a_name_over_the_kernels_limit_is_refused() {
    let case = Case::new();
    case.write("file", "x");
    let long = format!("/{}", vec!["x".repeat(200); 21].join("/"));
    let output = case.bootling(&["build", "-o", "x.img", "--copy", &format!("file={long}")]).assert().code(125);
    let error = String::from_utf8(output.get_output().stderr.clone()).expect("text");
    assert!(
        error.contains("name of 4221 bytes including its NUL; the kernel skips names longer than 4096 bytes"),
        "{error}"
    );
    assert_eq!(case.listing(), ["file"]);
}

#[test]
fn a_name_that_is_not_utf_8_is_stored_and_read() {
    let case = Case::new();
    let name = OsStr::from_bytes(b"\xff\xfe=odd");
    fs::write(case.path().join(name), "content").expect("a file");
    let copy = [name.as_bytes(), b"=/opt/\xfd"].concat();
    case.bootling(&["build", "-o", "x.img", "--copy"]).arg(OsStr::from_bytes(&copy)).assert().success();
    let listed = case.bootling(&["ls", "x.img"]).assert().success().get_output().stdout.clone();
    assert!(String::from_utf8(listed).expect("text").contains("          7 1970-01-01 00:00 opt/\\xfd\n"));
    case.bootling(&["cat", "x.img"]).arg(OsStr::from_bytes(b"/opt/\xfd")).assert().success().stdout_eq("content");
}

#[test]
fn a_member_of_4_gib_is_refused_with_name_and_size() {
    let case = Case::new();
    fs::File::create(case.path().join("big")).and_then(|file| file.set_len(1 << 32)).expect("a sparse file");
    case.fails(
        &["build", "-o", "x.img", "--copy", "big=/big"],
        "error: /big (requested by --copy big=/big): file of 4294967296 bytes is too large for a newc archive (must be smaller than 4 GiB)\n",
    );
}

#[test]
fn a_file_of_the_kernel_is_copied_although_it_reports_no_length() {
    let case = Case::new();
    case.bootling(&["build", "-o", "x.img", "--copy", "/proc/version=/version"]).assert().success();
    let copied = case.bootling(&["cat", "x.img", "/version"]).assert().success();
    let version = std::fs::read("/proc/version").expect("the kernel's version");
    assert_eq!(copied.get_output().stdout, version);
}

#[test]
fn two_sources_for_one_path_are_both_reported() {
    let case = Case::new();
    case.write("a", "1");
    case.write("b", "22");
    case.fails(
        &["build", "-o", "x.img", "--copy", "a=/x", "--copy", "b=/x"],
        "error: /x: conflicting entries: file [..]/a (1 bytes, mode 0644) (requested by --copy a=/x) and file [..]/b (2 bytes, mode 0644) (requested by --copy b=/x)\n",
    );
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    let case = Case::new();
    case.bootling(&["build", "-o", "x.img", "--compress", "bzip2"]).assert().code(2).stdout_eq("").stderr_eq(str![[
        r"
error: invalid value 'bzip2' for '--compress <HOW>'
  [possible values: none, gzip, zstd, xz, lz4]

  tip: a similar value exists: 'gzip'

For more information, try '--help'.

"
    ]]);
    case.bootling(&["build"]).assert().code(2).stdout_eq("");
    case.bootling(&["build", "-o", "x", "--dry-run"]).assert().code(2).stdout_eq("");
    assert!(case.listing().is_empty());
}

#[test]
fn mtimes_are_source_date_epoch_which_must_be_a_number() {
    let case = Case::new();
    let build = |name: &str, time: &str| case.bootling(&["build", "-o", name]).env("SOURCE_DATE_EPOCH", time).assert();
    for name in ["a.img", "b.img"] {
        build(name, "1700000000").success();
    }
    assert!(case.read("a.img") == case.read("b.img"));
    let listed = case.bootling(&["ls", "a.img"]).assert().success().get_output().stdout.clone();
    let text = String::from_utf8(listed).expect("text");
    assert!(text.lines().all(|line| line.contains(" 2023-11-14 22:13 ")), "{text}");
    build("c.img", "yesterday")
        .code(125)
        .stderr_eq("error: invalid SOURCE_DATE_EPOCH yesterday: not a 32-bit number\n");
    assert_eq!(case.listing(), ["a.img", "b.img"]);
}

#[test]
fn ls_lists_concatenated_and_compressed_archives() {
    let case = Case::new();
    let root = tiny_system(&case);
    let mut bytes = Vec::new();
    for compression in ["none", "gzip", "zstd", "xz", "lz4"] {
        let words = [&SMALL[..], &[&root, "-o", "x.img", "--compress", compression]].concat();
        case.bootling(&words).assert().success().stderr_eq("");
        bytes.extend(case.read("x.img"));
    }
    case.write("all.img", &bytes);
    let listed = case.bootling(&["ls", "all.img"]).assert().success().stderr_eq("").get_output().stdout.clone();
    let text = String::from_utf8(listed).expect("text");
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("segment")).collect();
    assert_eq!(headings.len(), 4, "{text}");
    for (heading, start) in
        headings.iter().zip(["segment 2, gzip, ", "segment 3, zstd, ", "segment 4, xz, ", "segment 5, lz4, "])
    {
        assert!(heading.starts_with(start), "{heading}");
    }
    assert_eq!(text.lines().filter(|line| line.ends_with(" init")).count(), 5);
    let piped = case.bootling(&["ls", "--json", "-"]).stdin(bytes).assert().success().get_output().stdout.clone();
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&piped).expect("JSON");
    let consoles: Vec<_> = entries.iter().filter(|entry| entry["path"] == "dev/console").collect();
    assert_eq!(consoles.len(), 5);
    assert_eq!(consoles[4]["device"], serde_json::json!([5, 1]));
    assert_eq!((&consoles[4]["mode"], &consoles[4]["packing"]), (&"0600".into(), &"lz4".into()));
}

#[test]
fn ls_reports_the_fault_in_a_file_and_its_location() {
    let case = Case::new();
    case.write("text", "this is text");
    case.fails(
        &["ls", "text"],
        "error: failed to list text: segment 1 (not compressed, starts at byte 0), byte 0: expected a newc archive or a supported compression format, found this i\n",
    );
    case.write("empty", "");
    case.fails(&["ls", "empty"], "error: failed to list empty: empty initrd: no data, or only zeros\n");
    case.fails(
        &["ls", "missing"],
        "error: failed to list missing: failed to open: No such file or directory (os error 2)\n",
    );
    case.fails(&["ls", "."], "error: failed to list .: is a directory\n");
    case.fails(&["cat", "empty", "/x"], "error: failed to read /x in empty: empty initrd: no data, or only zeros\n");
}

#[test]
fn make_tiny_image_is_a_verb_and_a_program_name() {
    let case = Case::new();
    let link = case.path().join("make-tiny-image");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bootling"), &link).expect("a link");
    Command::new(&link)
        .args(["--run", "poweroff", "--copy", "/etc/passwd=/there"])
        .current_dir(case.path())
        .assert()
        .success()
        .stdout_eq("")
        .stderr_eq("");
    case.bootling(&["cat", "tiny-initrd.img", "/there"])
        .assert()
        .success()
        .stdout_eq(fs::read("/etc/passwd").expect("a file"));
    case.bootling(&["make-tiny-image", "--output", "y.img", "--run", "poweroff", "--copy", "/etc/passwd=/there"])
        .assert()
        .success();
    assert!(case.read("tiny-initrd.img") == case.read("y.img"));
}

#[test]
fn command_lines_that_end_in_output_and_kver_are_accepted() {
    let case = Case::new();
    let link = case.path().join("make-tiny-image.py");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bootling"), &link).expect("a link");
    for rest in [&["--run", "poweroff"][..], &["--copy", "/etc/passwd"], &[]] {
        let words = [rest, &["my.img", "6.0.8-300.fc37.x86_64"]].concat();
        Command::new(&link).args(words).current_dir(case.path()).assert().success().stdout_eq("").stderr_eq("");
        fs::remove_file(case.path().join("my.img")).expect("the image");
    }
    // A word that is no program names the image, even if an earlier call has created that image.
    for _ in 0..2 {
        let words = ["/bin/true", "./my.img", "6.0.8"];
        Command::new(&link).args(words).current_dir(case.path()).assert().success().stdout_eq("").stderr_eq("");
    }
    Command::new(&link)
        .args(["true", "6.0.8"])
        .current_dir(case.path())
        .assert()
        .success()
        .stdout_eq("")
        .stderr_eq("bootling: true is included as a program; --output true names the image file\n");
    assert!(case.path().join("tiny-initrd.img").exists());
}

#[test]
fn programs_of_the_image_run_instead_of_the_applets_of_their_names() {
    let case = Case::new();
    let root = tiny_system(&case);
    let bin = case.path().join("root/usr/bin");
    fs::create_dir_all(&bin).expect("a directory");
    fs::copy("/usr/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    // Names with and without a free name beside them in the order of applets, and one of the equidistant names.
    let programs = ["ip", "su", "w", "ls", "setpriv", "mount"];
    for program in programs {
        let path = bin.join(program);
        fs::write(&path, format!("#!/bin/sh\necho brought {program} $1\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let with = programs.iter().flat_map(|program| ["--with", program]);
    let words: Vec<&str> = ["build", "-o", "x.img", "--sysroot", &root].into_iter().chain(with).collect();
    case.bootling(&words).assert().success().stdout_eq("").stderr_eq("");
    let busybox = case.bootling(&["cat", "x.img", "/usr/bin/busybox"]).assert().success().get_output().stdout.clone();
    let original = case.read("root/usr/bin/busybox");
    assert_eq!(busybox.len(), original.len());
    let copy = case.path().join("busybox");
    fs::write(&copy, busybox).expect("a file");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("a mode");
    let shell = |line: &str, path: &str| {
        let done = Command::new(&copy).args(["sh", "-c", line]).env("PATH", path).current_dir(case.path()).assert();
        String::from_utf8(done.success().get_output().stdout.clone()).expect("text")
    };
    for program in programs {
        let line =
            format!("{program} a; env {program} b; echo c | xargs {program}; find x.img -exec {program} {{}} ';'");
        let expected = ["a", "b", "c", "x.img"].map(|word| format!("brought {program} {word}\n")).concat();
        assert_eq!(shell(&line, bin.to_str().expect("text")), expected);
    }
    // All others are still applets, with their own code: names are looked up without PATH.
    let list = Command::new("/usr/bin/busybox").arg("--list").assert().success().get_output().stdout.clone();
    let list = String::from_utf8(list).expect("text");
    let line = "for name in $LIST; do command -v $name >/dev/null || echo $name; done";
    let done = Command::new(&copy).args(["sh", "-c", line]).env("PATH", "/nowhere").env("LIST", &list).assert();
    let missing = String::from_utf8(done.success().get_output().stdout.clone()).expect("text");
    let expected: Vec<&str> = list.lines().filter(|name| programs.contains(name) || *name == "busybox").collect();
    assert_eq!(missing.lines().collect::<Vec<_>>(), expected);
    for name in ["ipcalc", "md5sum", "tr", "zcat"] {
        let usage = |program: &std::path::Path| {
            let done = Command::new(program).args([name, "--help"]).assert().success();
            [&done.get_output().stdout[..], &done.get_output().stderr].concat()
        };
        assert!(usage(&copy) == usage(std::path::Path::new("/usr/bin/busybox")), "{name}");
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let case = Case::new();
    let script = format!("{} build --dry-run | head -n 1; exec 2>&1; true", env!("CARGO_BIN_EXE_bootling"));
    Command::new("bash")
        .args(["-o", "pipefail", "-c", &script])
        .current_dir(case.path())
        .assert()
        .success()
        .stdout_eq("drwx------          -  /.bootling\n")
        .stderr_eq("");
}

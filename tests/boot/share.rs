//! `bootling run --share`: directories of the host in the guest.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bootling::{FilesSupport, ShareRequest, Vm};

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

const KERNELS: [Kernel; 3] = [Kernel::Generic61, Kernel::Generic612, Kernel::Cloud612];

/// Runs a shell line.
#[track_caller]
fn run(test: &str, kernel: Kernel, options: &[&str], line: &str) -> Option<Done> {
    Some(Program::run(kernel, test)?.args(options).args(["--run", line]).done())
}

fn value(directory: &Path, rest: &str) -> String {
    format!("{}{rest}", directory.display())
}

/// Creates files of several sizes, with data that differ.
fn fill(directory: &Path) {
    fs::create_dir_all(directory.join("sub/deep")).expect("the directory is ours");
    for (name, len) in [("empty", 0), ("one", 1), ("sub/page", 4096), ("sub/odd", 70_001), ("sub/deep/large", 3 << 20)]
    {
        let bytes: Vec<u8> = (0..len).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(directory.join(name), bytes).expect("the directory is ours");
    }
    symlink("sub/page", directory.join("link")).expect("the directory is ours");
}

#[test]
fn a_tree_has_the_same_digests_in_the_guest_with_each_kernel_cold_and_warm() {
    let test = "a_tree_has_the_same_digests_in_the_guest";
    let directory = scratch();
    fill(directory.path());
    let line = "find . -type f | sort | xargs sha256sum";
    let host = Command::new("sh").args(["-c", line]).current_dir(directory.path()).output().expect("sh runs");
    let share = value(directory.path(), "=/data");
    for kernel in KERNELS {
        for warm in ["--warm=no", "--warm", "--warm"] {
            let line = format!("cd /data && {line}; readlink link; ls -A | wc -l");
            let Some(done) = run(test, kernel, &["--share", &share, warm], &line) else { return };
            let expected = String::from_utf8(host.stdout.clone()).expect("text") + "sub/page\n4\n";
            assert_eq!(done.exits(0).text(), expected, "{kernel:?} {warm}");
        }
    }
}

#[test]
fn a_read_only_share_refuses_changes_with_erofs_and_a_writable_one_makes_them_on_the_host() {
    let test = "a_read_only_share_refuses_changes";
    let (fixed, open) = (scratch(), scratch());
    fs::write(fixed.path().join("file"), "kept").expect("ours");
    let (share, writable) = (value(fixed.path(), "=/fixed"), value(open.path(), "=/open:rw"));
    let line = "for c in 'touch /fixed/new' 'rm /fixed/file' 'chmod 0 /fixed/file' 'mkdir /fixed/d'; do $c; done 2>&1
        set -e; cd /open; mkdir d; echo text >d/file; chmod 640 d/file; mv d/file moved; ln moved hard; ln -s moved soft
        echo more >>moved; dd if=/dev/zero of=large bs=64k count=40 2>/dev/null; truncate -s 5 hard; mkfifo pipe; touch -d @1000 old
        chmod 4755 moved; mknod device c 1 3 || echo no device; rm pipe; rmdir d; sync; cat soft";
    let Some(done) = run(test, Kernel::Cloud612, &["--share", &share, "--share", &writable], line) else { return };
    let output = done.exits(0).text();
    assert_eq!(output.matches("Read-only file system").count(), 4, "{output}");
    assert!(output.ends_with("no device\ntext\n"), "{output}");
    assert_eq!(fs::read_to_string(fixed.path().join("file")).expect("kept"), "kept");
    assert_eq!(fs::read_dir(fixed.path()).expect("listed").count(), 1);
    let moved = fs::metadata(open.path().join("moved")).expect("made");
    assert_eq!((moved.len(), moved.nlink(), moved.permissions().mode() & 0o7777), (5, 2, 0o755), "no set-user-ID bit");
    assert_eq!(moved.uid(), rustix::process::geteuid().as_raw());
    assert_eq!(fs::metadata(open.path().join("large")).expect("made").len(), 40 * 64 * 1024);
    assert_eq!(fs::metadata(open.path().join("old")).expect("made").mtime(), 1000);
    let mut names: Vec<_> =
        fs::read_dir(open.path()).expect("listed").map(|entry| entry.expect("read").file_name()).collect();
    names.sort();
    assert_eq!(names, ["hard", "large", "moved", "old", "soft"]);
}

#[test]
fn links_lead_nowhere_on_the_host_and_pipes_are_not_opened() {
    let test = "links_lead_nowhere_on_the_host";
    let directory = scratch();
    fs::create_dir(directory.path().join("shared")).expect("ours");
    fs::write(directory.path().join("secret"), "secret").expect("ours");
    let secret = directory.path().join("secret");
    symlink(&secret, directory.path().join("shared/absolute")).expect("ours");
    symlink("../secret", directory.path().join("shared/relative")).expect("ours");
    symlink("/etc/passwd", directory.path().join("shared/passwd")).expect("ours");
    let fifo = directory.path().join("shared/fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    let share = value(&directory.path().join("shared"), "=/a/b:rw");
    // The guest's kernel resolves links, in the guest. A reader of a pipe waits for a writer in the guest.
    let line =
        "cd /a/b; cat absolute; cat relative; cat ../secret; cat passwd | head -n 1; (echo through >fifo) & cat fifo";
    let Some(done) = run(test, Kernel::Cloud612, &["--share", &share], line) else { return };
    let output = done.exits(0).text();
    assert!(!output.contains("secret"), "{output}");
    assert_eq!(output, "root:x:0:0:root:/root:/bin/sh\nthrough\n");
}

#[test]
fn two_thousand_files_are_listed_and_a_change_on_the_host_is_seen() {
    let test = "two_thousand_files_are_listed";
    let directory = scratch();
    for number in 0..2000 {
        fs::write(directory.path().join(format!("file-{number}")), number.to_string()).expect("ours");
    }
    let share = value(directory.path(), "=/many");
    let line =
        "ls /many | sort | uniq | wc -l; ls -l /many | wc -l; cat /many/* | wc -c; echo up; read line; cat /many/new";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let (running, mut stdin) = program.args(["--share", &share, "--run", line]).start_with_input();
    running.wait_for_output("up");
    fs::write(directory.path().join("new"), "new\n").expect("ours");
    std::io::Write::write_all(&mut stdin, b"go\n").expect("the guest reads");
    let done = running.done().exits(0);
    let bytes: usize = (0..2000).map(|number: u32| number.to_string().len()).sum();
    assert_eq!(done.text(), format!("2000\n2001\n{bytes}\nup\nnew\n"));
}

#[test]
fn a_share_inside_another_is_mounted_after_it_and_the_directory_is_the_current_one() {
    let test = "a_share_inside_another_is_mounted_after_it";
    let (outer, inner) = (scratch(), scratch());
    fs::create_dir(outer.path().join("place")).expect("ours");
    fs::write(inner.path().join("file"), "inner").expect("ours");
    let inside = format!("{}={}/place:rw", inner.path().display(), outer.path().display());
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let arguments = ["--share", &inside, "--share", "."];
    let (done, verdict) =
        program.args(arguments).current_dir(outer.path()).json(["--run", "pwd; cat place/file; exit 5"]);
    assert_eq!(done.exits(5).text(), format!("{}\ninner", outer.path().display()));
    assert_eq!(verdict["shares"][0]["host"], outer.path().to_str().expect("UTF-8"), "{verdict}");
    assert_eq!(verdict["shares"][1]["writable"], true, "{verdict}");
}

#[test]
fn a_guest_sees_other_directories_with_each_command() {
    let test = "a_guest_sees_other_directories_with_each_command";
    let Some(kernel) = Kernel::Cloud612.or_skip(test) else { return };
    let directories = [scratch(), scratch()];
    let cache = crate::support::program::build_dir().join("test-cache");
    let builder = Vm::builder().kernel(kernel).cache(cache).host_files(FilesSupport::Shares);
    let mut vm = builder.start().expect("a guest");
    for (number, directory) in directories.iter().enumerate() {
        fs::write(directory.path().join("number"), number.to_string()).expect("ours");
        let share = |rest: &str| ShareRequest::parse(value(directory.path(), rest).as_ref()).expect("a share");
        let line = "cat /in/number; echo done >/out/done; (sleep 1000; cat /in/number) & ";
        let command = bootling::Command::shell(line).share(share("=/in")).share(share("=/out:rw"));
        let output = vm.run_with(&command).expect("it runs");
        assert_eq!((output.status(), &*output.text()), (Some(0), &*number.to_string()), "{output:?}");
        assert_eq!(fs::read_to_string(directory.path().join("done")).expect("written"), "done\n");
    }
    let output = vm.shell("ls /in /out; mount | grep -c fuse").expect("it runs");
    assert_eq!((output.status(), &*output.text()), (Some(1), "/in:\n\n/out:\n0\n"), "{output:?}");
    let root = bootling::RootRequest::parse("host".as_ref()).expect("a root");
    let error = vm.run_with(&bootling::Command::new(["true"]).root(root)).expect_err("it has no overlay");
    assert!(error.to_string().contains("started without directories of the host"), "{error}");
}

#[test]
fn manifests_have_shares() {
    let test = "manifests_have_shares";
    let Some(kernel) = Kernel::Cloud612.or_skip(test) else { return };
    let directory = scratch();
    fs::create_dir_all(directory.path().join("data")).expect("ours");
    fs::write(directory.path().join("data/file"), "shared\n").expect("ours");
    let manifest = format!(
        "[kernels]\nk = {:?}\n[defaults]\nshare = \"data=/data\"\n[[test]]\nname = \"own\"\nrun = \"cat /data/file\"\nexpect = \"shared\"\n\
         [[test]]\nname = \"common\"\nrun = \"cat /data/file\"\nexpect = \"shared\"\nisolate = \"none\"\n\
         [[test]]\nname = \"root\"\ncommand = [\"python3\", \"-c\", \"print(open('/data/file').read())\"]\nroot = \"host\"\nexpect = \"shared\"\n",
        kernel.to_str().expect("UTF-8")
    );
    fs::write(directory.path().join("bootling.toml"), manifest).expect("ours");
    Program::new().arg("test").arg(directory.path().join("bootling.toml")).done().exits(0);
}

#[test]
fn directories_that_cannot_be_shared_are_refused_with_one_reason() {
    let test = "directories_that_cannot_be_shared_are_refused";
    let directory = scratch();
    fs::write(directory.path().join("file"), "").expect("ours");
    let at = |rest: &str| value(directory.path(), rest);
    for (options, reason) in [
        (vec!["--share", &at("/missing")], "failed to open"),
        (vec!["--share", &at("/file")], "failed to open"),
        (vec!["--share", &at("=/")], "use --root DIR"),
        (vec!["--share", &at("=/sys/x")], "/sys belongs to the guest"),
        (vec!["--share", &at("=/x"), "--share", &at("=/x")], "another share has the guest's path /x"),
        (vec!["--share", &at("=/x"), "--share", &at("=/x/y")], "for the mount inside another share"),
        (vec!["--share", "/proc"], "a file system of the host's kernel"),
        (vec!["-M", "isapc", "--share", &at("")], "require a virtio-serial port"),
        (vec!["--print-command", "--share", &at("")], "cannot be used with --print-command"),
    ] {
        let Some(done) = run(test, Kernel::Cloud612, &options, "true") else { return };
        let done = done.exits(125);
        assert!(done.stderr.contains(reason), "{options:?}: {}", done.stderr);
        assert_eq!(done.stderr.matches("error: ").count(), 1, "{}", done.stderr);
    }
    let bundle = Program::new().args(["bundle", "-o"]).arg(directory.path().join("b")).args(["--share", &at("")]);
    let Some(kernel) = Kernel::Cloud612.or_skip(test) else { return };
    let done = bundle.arg("--kernel").arg(kernel).args(["--", "true"]).done().exits(125);
    assert!(done.stderr.contains("cannot bundle a run with --disk, --net, --share or --root"), "{}", done.stderr);
}

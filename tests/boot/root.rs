//! `bootling run --root`: a directory of the host as the guest's root.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

const KERNELS: [Kernel; 3] = [Kernel::Generic61, Kernel::Generic612, Kernel::Cloud612];

/// Runs a command with the host's root.
#[track_caller]
fn host(test: &str, kernel: Kernel, options: &[&str], command: &[&str]) -> Option<Done> {
    Some(Program::run(kernel, test)?.args(["--root", "host"]).args(options).arg("--").args(command).done())
}

#[test]
fn interpreters_of_the_host_run_with_all_their_files_with_each_kernel_cold_and_warm() {
    let test = "interpreters_of_the_host_run_with_all_their_files";
    let perl = ["perl", "-MPOSIX", "-MData::Dumper", "-e", "print floor(2.5), qq(\\n)"];
    for kernel in KERNELS {
        for warm in ["--warm=no", "--warm", "--warm"] {
            let python = ["/usr/bin/python3", "-c", "import json, os; print(json.dumps([os.getpid() > 1]))"];
            let Some(done) = host(test, kernel, &[warm], &python) else { return };
            assert_eq!(done.exits(0).text(), "[true]\n", "{kernel:?} {warm}");
            let done = host(test, kernel, &[warm], &perl).expect("as before");
            assert_eq!(done.exits(0).text(), "2\n", "{kernel:?} {warm}");
        }
    }
}

#[test]
fn the_current_directory_is_the_hosts_and_nothing_is_written_back() {
    let test = "the_current_directory_is_the_hosts";
    let directory = scratch();
    let git = "git init -q . && git -c user.name=a -c user.email=b commit -q --allow-empty -m subject";
    let made = std::process::Command::new("sh").args(["-c", git]).current_dir(directory.path()).status();
    assert!(made.expect("sh runs").success());
    fs::write(directory.path().join("file"), "before").expect("ours");
    let line =
        "git log --format=%s; echo after >file; echo new >new; rm -r .git; cat file; touch /etc/new /root/new; ls";
    for warm in ["--warm=no", "--warm"] {
        let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
        let program = program.args(["--root", "host", warm, "--env", "GIT_CONFIG_COUNT=1"]);
        let program = program.args(["--env", "GIT_CONFIG_KEY_0=safe.directory", "--env", "GIT_CONFIG_VALUE_0=*"]);
        let (done, verdict) = program.current_dir(directory.path()).json(["--run", line]);
        assert_eq!(done.exits(0).text(), "subject\nafter\nfile\nnew\n");
        assert_eq!(verdict["shares"][0]["guest"], "/", "{verdict}");
        assert_eq!(fs::read_to_string(directory.path().join("file")).expect("ours"), "before");
        assert!(directory.path().join(".git").is_dir() && !directory.path().join("new").exists());
    }
}

#[test]
fn exit_statuses_and_signals_are_the_commands() {
    let test = "exit_statuses_and_signals_are_the_commands";
    for (command, status) in [
        (&["sh", "-c", "exit 7"][..], 7),
        (&["sh", "-c", "kill -9 $$"], 137),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
        (&["/etc"], 126),
    ] {
        let Some(done) = host(test, Kernel::Cloud612, &["--warm"], command) else { return };
        done.exits(status);
    }
}

#[test]
fn modules_users_namespaces_and_shares_work_in_a_root() {
    let test = "modules_users_namespaces_and_shares_work_in_a_root";
    let directory = scratch();
    fs::write(directory.path().join("file"), "shared\n").expect("ours");
    let share = format!("{}=/mnt/deep/er", directory.path().display());
    let line = "modprobe dummy && grep -c '^dummy ' /proc/modules; mount -t tmpfs none /mnt/deep && ls /mnt/deep; umount /mnt/deep
        cat /mnt/deep/er/file; unshare -r -m true && echo namespace; test -d /run/systemd/system || echo no systemd";
    let Some(done) = host(test, Kernel::Generic612, &["--warm", "--share", &share], &["sh", "-c", line]) else {
        return;
    };
    assert_eq!(done.exits(0).text(), "1\nshared\nnamespace\nno systemd\n");
    let done = host(test, Kernel::Generic612, &["--warm", "--user", "nobody"], &["id", "-un"]).expect("as before");
    assert_eq!(done.exits(0).text(), "nobody\n");
    let done = host(test, Kernel::Generic612, &["--user", "no-such-user"], &["true"]).expect("as before").exits(125);
    assert!(done.stderr.contains("no user \"no-such-user\""), "{}", done.stderr);
}

#[test]
fn another_directory_is_a_root_and_a_root_without_a_shell_is_refused() {
    let test = "another_directory_is_a_root";
    let directory = scratch();
    let root = directory.path().to_str().expect("UTF-8");
    fs::create_dir_all(directory.path().join("usr/bin")).expect("ours");
    fs::copy("/bin/busybox", directory.path().join("usr/bin/busybox")).expect("busybox-static is installed");
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let done = program.args(["--root", root, "--run", "true"]).done().exits(125);
    assert!(done.stderr.contains("it has no /bin/sh"), "{}", done.stderr);
    symlink("usr/bin", directory.path().join("bin")).expect("ours");
    symlink("busybox", directory.path().join("usr/bin/sh")).expect("ours");
    let run = || Program::run(Kernel::Cloud612, test).expect("as before");
    let line = "busybox ls /; busybox cat /proc/self/comm; echo $HOME";
    let done = run().args(["--root", root, "--run", line]).done();
    assert_eq!(done.exits(0).text(), "bin\ndev\nproc\nrun\nsbin\nsys\nusr\nbusybox\n/root\n");
    assert!(!directory.path().join("proc").exists());
    for (options, reason) in [
        (["--with", "ls"], "--with cannot be used with --root"),
        (["--copy", "/etc/hosts"], "--copy cannot be used with --root"),
        (["--root", "/no/such/root"], "the argument '--root"),
    ] {
        let done = run().args(["--root", "host"]).args(options).args(["--", "true"]).done();
        assert!(done.status == Some(125) || done.status == Some(2), "{}", done.stderr);
        assert!(done.stderr.contains(reason), "{}", done.stderr);
    }
    let done = run().args(["--root", "/no/such/root", "--", "true"]).done().exits(125);
    assert!(done.stderr.contains("failed to open /no/such/root"), "{}", done.stderr);
}

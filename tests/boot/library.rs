//! The library API for guests: several commands in one guest, outcomes as values, no leftovers.

use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use bootling::Builder;
use bootling::Command;
use bootling::Outcome;
use bootling::Vm;
use bootling::VmError;
use bootling::guest::transcript::Limit;

use crate::support::Kernel;
use crate::support::processes::{children, runs, signal, wait_for, wait_until_gone};
use crate::support::program::{build_dir, scratch};

/// Time limit for each command, also on a slow host under TCG.
const LIMIT: Duration = Duration::from_secs(120);

fn cache() -> PathBuf {
    build_dir().join("test-cache")
}

/// Returns a builder with the kernel that boots fastest; prints the reason and returns `None` if no guest can be
/// booted.
fn builder(test: &str) -> Option<Builder> {
    let package = Kernel::Cloud612.or_skip(test)?;
    Some(Vm::builder().kernel(package).cache(cache()).timeout(LIMIT))
}

#[rustfmt::skip]
fn in_a_guest(kernel: &Path, cache: &Path) -> Result<(), VmError> {
    // The example of src/lib.rs:
    let mut vm = bootling::Vm::builder().kernel(kernel).cache(cache).start()?;
    let output = vm.run(["uname", "-s"])?;
    assert!(output.success(), "{output:?}");
    assert_eq!(output.text(), "Linux\n");
    assert_eq!(vm.shell("exit 3")?.status(), Some(3));
    // End of the example.
    Ok(())
}

#[test]
fn the_documented_example_runs() {
    let Some(package) = Kernel::Cloud612.or_skip("the_documented_example_runs") else { return };
    in_a_guest(&package, &cache()).expect("a guest");
}

#[test]
fn nothing_is_written_to_the_streams_and_no_signal_is_caught() {
    let test = "nothing_is_written_to_the_streams_and_no_signal_is_caught";
    let Some(builder) = builder(test) else { return };
    if std::env::var_os("BOOTLING_TEST_ALONE").is_none() {
        // Rerun this test in a separate process whose streams can be inspected.
        let mut alone = process::Command::new(std::env::current_exe().expect("this program"));
        alone.args(["--exact", &format!("library::{test}"), "--nocapture"]).env("BOOTLING_TEST_ALONE", "1");
        let output = alone.output().expect("this program runs");
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.contains("ok. 1 passed"), "{stdout}{stderr}");
        assert_eq!(stderr, "");
        assert!(!stdout.contains("loud"), "{stdout}");
        return;
    }
    let caught = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        status.lines().find(|line| line.starts_with("SigCgt:")).expect("a mask").to_owned()
    };
    let before = caught();
    let loud = "echo loud; echo loud >&2; echo loud >/dev/console";
    let mut vm = builder.start().expect("a guest");
    let output = vm.run_with(&Command::shell(loud).current_dir("/nowhere")).expect("an output");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"loud\n"[..], &b"loud\n"[..]));
    assert!(output.console.iter().any(|line| line == "loud"), "{output:?}");
    assert!(output.notes.iter().any(|note| note.contains("/nowhere")), "{output:?}");
    assert!(builder.cold().run(["sh", "-c", loud]).expect("an output").success());
    assert_eq!(caught(), before);
}

#[test]
fn the_example_equals_the_documentation() {
    let lines = |text: &str, from: &str, to: &str, strip: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| line.trim() != from).skip(1).take_while(|line| line.trim() != to);
        lines
            .map(|line| line.trim().trim_start_matches(strip).to_owned())
            .filter(|line| !line.starts_with('#'))
            .collect()
    };
    let documented = lines(include_str!("../../src/lib.rs"), "//! ```no_run", "//! ```", "//! ");
    let here = lines(include_str!("library.rs"), "// The example of src/lib.rs:", "// End of the example.", "");
    assert_eq!(documented.len(), 5, "{documented:?}");
    assert_eq!(here, documented);
    let readme = include_str!("../../README.md");
    for line in &documented {
        assert!(readme.contains(line.as_str()), "the README does not have {line:?}");
    }
}

/// Returns `count` lines of a word and a number.
fn lines(word: &str, count: usize) -> String {
    (1..=count).flat_map(|number| [word.to_owned(), format!(" {number}\n")]).collect()
}

/// Runs several commands in one guest and returns the results that do not depend on time.
fn several(vm: &mut Vm) -> Vec<(Outcome, String, String)> {
    let commands = [
        Command::shell("echo one >/root/left; sleep 1000 & echo $! >/root/pid; exit 3"),
        // Files persist, processes do not; each command finds the files added for it.
        Command::shell("cat /root/left; kill -0 $(cat /root/pid) 2>/dev/null || echo gone; test -e /shared && ls /own"),
        Command::new(["wc", "-c"]).stdin("four").env("X", "y"),
        Command::shell("echo $X-$Y; cat; pwd; echo late >&2; kill -9 $$").env("Y", "z").current_dir("/root"),
        Command::shell("exec /brought").copy_to("/etc/passwd", "/brought"),
        Command::shell("echo $X; ls -d /sys/module/dummy").kmod("dummy", "numdummies=0"),
        Command::shell("ls -d /sys/module/dummy; cat /sys/module/loop/parameters/max_loop"),
    ];
    let run = |command: &Command| {
        let output = vm.run_with(command).expect("an output");
        assert!(!output.cut && output.usage.is_some() && output.release.is_some(), "{output:?}");
        (
            output.outcome,
            String::from_utf8(output.stdout).expect("text"),
            String::from_utf8(output.stderr).expect("text"),
        )
    };
    commands.iter().map(run).collect()
}

#[test]
fn cold_and_warm_guests_return_the_same_values() {
    let Some(builder) = builder("cold_and_warm_guests_return_the_same_values") else { return };
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "").expect("a file");
    let builder = builder.copy_to(dir.path().join("file"), "/shared").kmod("loop", "max_loop=3").env("X", "all");
    // The first warm guest may have to make the snapshot; the second is restored from it.
    let [cold, first, second] = [builder.clone().cold(), builder.clone().warm(), builder.warm()].map(|builder| {
        let mut vm = builder.start().expect("a guest");
        several(&mut vm)
    });
    let text = |at: usize| (cold[at].0.clone(), cold[at].1.as_str(), cold[at].2.as_str());
    assert_eq!(text(0), (Outcome::Exited { status: 3 }, "", ""));
    let (outcome, out, err) = text(1);
    assert_eq!((outcome, out), (Outcome::Exited { status: 1 }, "one\ngone\n"));
    assert!(err.contains("/own"), "{err}");
    assert_eq!(text(2), (Outcome::Exited { status: 0 }, "4\n", ""));
    assert_eq!(text(3), (Outcome::Signaled { signal: 9, core: false, crash: None }, "all-z\n/root\n", "late\n"));
    assert_eq!((&text(4).0, text(4).1), (&Outcome::Exited { status: 126 }, ""));
    assert_eq!(text(5), (Outcome::Exited { status: 0 }, "all\n/sys/module/dummy\n", ""));
    assert_eq!(text(6), (Outcome::Exited { status: 0 }, "/sys/module/dummy\n3\n", ""));
    assert_eq!(cold, first);
    assert_eq!(cold, second);
}

#[test]
fn each_command_of_a_restored_guest_finds_its_files() {
    let Some(builder) = builder("each_command_of_a_restored_guest_finds_its_files") else { return };
    // Makes the snapshot.
    drop(builder.start().expect("a guest"));
    let dir = scratch();
    let mut vm = builder.start().expect("a guest");
    // Payloads of different sizes: old contents of the guest's window must never be visible.
    for (pattern, count) in [("first", 100_000), ("second", 1000), ("third", 400_000)] {
        let text = lines(pattern, count);
        let file = dir.path().join("file");
        std::fs::write(&file, &text).expect("a file");
        let output = vm.run_with(&Command::new(["cat", "/file"]).copy_to(file, "/file")).expect("an output");
        assert!(output.age.is_some_and(|age| !age.is_zero()), "{:?}", output.notes);
        assert!(output.success() && output.text() == text, "{:?} {}", output.outcome, output.stdout.len());
    }
}

#[test]
fn a_dead_guest_reports_its_outcome_and_runs_nothing_until_a_restart() {
    let Some(builder) = builder("a_dead_guest_reports_its_outcome") else { return };
    let mut vm = builder.start().expect("a guest");
    let panic = vm.shell("echo before; echo c >/proc/sysrq-trigger").expect("an output");
    assert!(matches!(&panic.outcome, Outcome::Panic { line } if line.contains("sysrq")), "{panic:?}");
    assert!(!panic.success() && panic.status().is_none() && panic.usage.is_none());
    assert!(panic.console.iter().any(|line| line.contains("Kernel panic")), "{panic:?}");
    let error = vm.run(["true"]).expect_err("guest is gone");
    assert!(matches!(&error, VmError::Gone(how) if how.contains("panicked")), "{error}");
    assert!(error.advice().is_some_and(|advice| advice.contains("restart")));
    assert_eq!(vm.qemu_pid(), None);
    vm.restart().expect("a guest");
    assert_eq!(vm.shell("ls /root").expect("an output").text(), "");
    // A power-off by the guest, and QEMU killed from outside.
    let off = vm.shell("busybox poweroff -f").expect("an output");
    assert!(matches!(off.outcome, Outcome::WentAway { .. }), "{off:?}");
    vm.restart().expect("a guest");
    assert!(vm.run(["true"]).expect("an output").success());
    signal(vm.qemu_pid().expect("running QEMU"), rustix::process::Signal::KILL);
    let died = vm.run(["true"]).expect("an output");
    assert!(matches!(died.outcome, Outcome::QemuDied { .. }), "{died:?}");
}

#[test]
fn commands_and_boots_have_time_limits() {
    let Some(builder) = builder("commands_and_boots_have_time_limits") else { return };
    let mut vm = builder.start().expect("a guest");
    // The time between commands does not count.
    thread::sleep(Duration::from_secs(1));
    let given = Instant::now();
    let output = vm.run(["true"]).expect("an output");
    assert!(output.success() && output.duration <= given.elapsed(), "{output:?} after {:?}", given.elapsed());
    // On a host with other load, the command may start only after the first limit.
    for limit in [3, 60].map(Duration::from_secs) {
        let output = vm.run_with(&Command::shell("echo begun; sleep 1000").timeout(limit)).expect("an output");
        assert_eq!(output.outcome, Outcome::TimedOut { limit: Limit::Total, after: limit });
        if limit > Duration::from_secs(3) || output.text() == "begun\n" {
            assert_eq!(output.text(), "begun\n");
            break;
        }
        vm.restart().expect("a guest");
    }
    assert!(matches!(vm.run(["true"]), Err(VmError::Gone(how)) if how.contains("timed out")));

    let soon = Duration::from_millis(1);
    let error = builder.clone().cold().boot_timeout(soon).start().expect_err("no guest boots in a millisecond");
    let VmError::NotBooted { outcome, .. } = &error else { panic!("{error}") };
    assert_eq!(**outcome, Outcome::TimedOut { limit: Limit::Boot, after: soon });
}

#[test]
fn output_is_kept_whole_or_truncated_and_marked() {
    let Some(builder) = builder("output_is_kept_whole_or_truncated") else { return };
    let line = "seq 1 300000 | sed 's/^/ /'; seq 1 2000 | sed 's/^/ /' >&2";
    let numbers = |to: usize| lines("", to).into_bytes();
    let mut vm = builder.start().expect("a guest");
    let whole = vm.shell(line).expect("an output");
    assert!(whole.success() && !whole.cut, "{:?}", whole.outcome);
    assert!(whole.stdout == numbers(300_000) && whole.stderr == numbers(2000));
    // Input of the same size.
    let through = Command::new(["cat"]).stdin(whole.stdout.clone());
    assert!(vm.run_with(&through).expect("an output").stdout == whole.stdout);
    let cut = builder.output_limit(1000).run_with(&Command::shell(line)).expect("an output");
    assert!(cut.success() && cut.cut);
    assert_eq!((cut.stdout.as_slice(), cut.stderr.len()), (&whole.stdout[..1000], 1000));
}

#[test]
fn a_single_command_can_run_in_its_own_guest() {
    let Some(builder) = builder("a_single_command_can_run_in_its_own_guest") else { return };
    let dir = scratch();
    let console = dir.path().join("console");
    let builder = builder.console(&console).append("printk.time=1").smp(2).memory_mib(600);
    let builder = builder.base_kmod("loop", "max_loop=2").kmod("dummy", "");
    for (builder, is_warm) in [(builder.clone().cold(), false), (builder.warm(), true)] {
        let line = "nproc; cat /proc/cmdline /sys/module/loop/parameters/max_loop; touch /root/x; ls /root; exit 4";
        let output = builder.run(["sh", "-c", line]).expect("an output");
        assert_eq!(output.status(), Some(4), "{output:?}");
        let text = output.text();
        assert!(text.starts_with("2\n") && text.contains("printk.time=1") && text.ends_with("\n2\nx\n"), "{text}");
        assert_eq!(output.age.is_some(), is_warm, "{output:?}");
        assert!(console.exists());
    }
    let output = builder_without_kernel().run(["true"]);
    assert!(matches!(output, Err(VmError::Kernel(_))), "{output:?}");
}

/// Returns a builder with a missing kernel.
fn builder_without_kernel() -> Builder {
    Vm::builder().kernel("/dev/null/kernel").cache(cache())
}

#[test]
fn errors_before_the_run_are_returned_and_do_not_affect_the_guest() {
    assert!(matches!(builder_without_kernel().start(), Err(VmError::Kernel(_))));
    let Some(builder) = builder("errors_before_the_run_are_returned") else { return };
    assert!(matches!(builder.clone().with("no-such-program").start(), Err(VmError::Userland(_))));
    let mut vm = builder.start().expect("a guest");
    assert!(matches!(vm.run(["no-such-program"]), Err(VmError::Userland(_))));
    assert!(matches!(vm.run(["", "x"]), Err(VmError::Userland(_))));
    assert!(matches!(vm.run::<&str>([]), Err(VmError::NoCommand)));
    let dir = scratch();
    let large = std::fs::File::create(dir.path().join("large")).expect("a file");
    large.set_len(300 << 20).expect("sparse");
    let copy = Command::shell("true").copy(dir.path().join("large"));
    let error = vm.run_with(&copy).expect_err("larger than the window");
    assert!(matches!(error, VmError::Window { window_mib: 256, .. }), "{error}");
    assert!(vm.run(["true"]).expect("an output").success());
}

#[test]
fn guests_of_several_threads_are_separate_and_outlive_their_threads() {
    let Some(builder) = builder("guests_of_several_threads_are_separate") else { return };
    let start = |name: &'static str| {
        let builder = builder.clone();
        thread::spawn(move || {
            let mut vm = builder.start().expect("a guest");
            assert!(vm.shell(format!("echo {name} >/root/name")).expect("an output").success());
            (vm, rustix::thread::gettid().as_raw_nonzero())
        })
    };
    let started = ["a", "b"].map(|name| (name, start(name)));
    // The threads have ended: QEMU must survive them, although its parent-death signal is per thread.
    let mut vms = started.map(|(name, thread)| {
        let (vm, id) = thread.join().expect("no panic");
        let task = format!("/proc/self/task/{id}");
        wait_for("the end of a thread", LIMIT, || (!Path::new(&task).exists()).then_some(()));
        (name, vm)
    });
    for (name, vm) in &mut vms {
        assert_eq!(vm.shell("cat /root/name").expect("an output").text(), format!("{name}\n"));
    }
    let pids = vms.map(|(_, mut vm)| {
        let pid = vm.qemu_pid().expect("running QEMU");
        assert!(runs(pid) && children(process::id(), "qemu-system").contains(&pid));
        pid
    });
    // The guests are dropped here.
    for pid in pids {
        wait_until_gone(pid);
    }
}

//! Reports about guests that hang in known ways. Function names are compared with the guest's own symbol table.

use std::collections::BTreeMap;
use std::fs;

use bootling::root::kernel::symbols::Source;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::misbehave;
use crate::support::processes::{qemu_of, signal};
use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// Result of a run that timed out: the process result, the verdict, and the summary and report of the hang.
struct Hung {
    done: Done,
    verdict: Value,
    summary: Vec<String>,
    report: String,
}

/// Runs a program that must time out.
#[track_caller]
fn hung(program: Program, rest: &[&str]) -> Hung {
    // A busy host needs longer than the default.
    let (done, verdict) = program.args(["--hang-report", "100s"]).json(rest);
    let done = done.exits(124);
    let hang = &verdict["hang"];
    let lines = hang["summary"].as_array().unwrap_or_else(|| panic!("no report: {verdict:#}"));
    let summary = lines.iter().map(|line| line.as_str().expect("text").to_owned()).collect();
    let report = hang["report"].as_str().expect("text").to_owned();
    for line in &lines[..] {
        assert!(done.stderr.contains(line.as_str().expect("text")), "{line} is not in {}", done.stderr);
    }
    Hung { done, verdict, summary, report }
}

impl Hung {
    /// Checks that one sentence of the summary contains all of these words.
    #[track_caller]
    fn says(&self, words: &[&str]) -> &Self {
        let found = self.summary.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "{words:?} is not in\n{}\n{}", self.summary.join("\n"), self.report);
        self
    }

    /// Checks that the report contains this text.
    #[track_caller]
    fn reports(&self, words: &str) -> &Self {
        assert!(self.report.contains(words), "{words:?} is not in\n{}", self.report);
        self
    }
}

/// Lets the kernel print backtraces and tasks on sysrq, which Debian's kernels do not permit by default.
const SYSRQ: [&str; 2] = ["--append", "sysrq_always_enabled"];

/// Makes the snapshot from which a test's guest is restored, so that the test's time limit does not include it.
#[track_caller]
fn snapshot(program: Program) {
    program.args(["--warm", "--", "true"]).done().exits(0);
}

/// Options for a disk that never answers: QEMU's null device with a latency of an hour. Without a given geometry, QEMU
/// would read from the disk.
const STUCK: [&str; 4] = [
    "--qemu-arg=-drive",
    "--qemu-arg=if=none,id=stuck,driver=null-co,size=1G,latency-ns=3600000000000",
    "--qemu-arg=-device",
    "--qemu-arg=virtio-blk-pci,drive=stuck,id=slow,cyls=1024,heads=16,secs=63",
];

/// Returns addresses and names of the kernel's `T` and `t` symbols from /proc/kallsyms, without modules.
fn kallsyms(text: &str) -> Vec<(u64, String)> {
    let lines = text.lines().filter(|line| !line.ends_with(']'));
    let symbols = lines.map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| matches!(words[1], "T" | "t"));
    symbols.map(|words| (u64::from_str_radix(words[0], 16).expect("an address"), words[2].to_owned())).collect()
}

#[test]
fn kernel_symbols_equal_the_guests_kallsyms() {
    let test = "kernel_symbols_equal_the_guests_kallsyms";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        let Some(program) = Program::run(kernel, test) else { return };
        let line = "echo 0 > /proc/sys/kernel/kptr_restrict; cat /proc/kallsyms";
        let (done, _) = program.json(["--warm", "--run", line]);
        let wanted = kallsyms(&done.exits(0).text());
        assert!(wanted.len() > 30_000, "{}", wanted.len());
        let symbols = Source::new(&kernel.image(), &kernel.image()).load().expect("read").expect("a table");
        let ours: Vec<(u64, String)> = symbols
            .iter()
            .filter(|(_, kind, _)| matches!(kind, 'T' | 't'))
            .map(|(address, _, name)| (address, name.to_owned()))
            .collect();
        assert_eq!(ours.len(), wanted.len(), "{kernel:?}");
        let first = ours.iter().zip(&wanted).find(|(ours, wanted)| ours != wanted);
        assert_eq!(first, None, "{kernel:?}");
        // The reverse lookup: of several names at one address, the first is returned.
        let mut names: BTreeMap<u64, &str> = BTreeMap::new();
        for (address, _, name) in symbols.iter() {
            names.entry(address).or_insert(name);
        }
        let (start, end) = (symbols.address("_stext").expect("a symbol"), symbols.address("_etext").expect("a symbol"));
        for (address, name) in names.range(start..end) {
            assert_eq!(symbols.function(*address).map(|place| place.name), Some(*name), "{kernel:?} {address:#x}");
        }
    }
}

#[test]
fn a_busy_loop_in_user_space_is_reported_with_its_process() {
    let test = "a_busy_loop_in_user_space";
    let (Some(first), Some(program)) = (Program::run(Kernel::Cloud612, test), Program::run(Kernel::Cloud612, test))
    else {
        return;
    };
    snapshot(first.args(SYSRQ));
    let dir = scratch();
    let evidence = dir.path().join("evidence");
    let program =
        program.args(SYSRQ).args(["--warm", "--timeout", "15", "--idle-timeout", "2", "--evidence"]).arg(&evidence);
    let hung = hung(program, &["--run", "echo begun; while :; do :; done"]);
    // A computing guest is not idle.
    hung.says(&["cpu 0 is in user space (CPL 3)", "its current process is sh (pid "])
        .says(&["the command started after "]);
    assert_eq!(hung.verdict["outcome"], "timed-out");
    assert!(hung.done.stderr.contains("(--timeout)"), "{}", hung.done.stderr);
    hung.reports("== Guest output after sysrq l")
        .reports("virtio-serial /machine/peripheral/ports: in use by its driver");
    let read = |name: &str| fs::read_to_string(evidence.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(read("hang.txt"), hung.report);
    assert!(read("command.txt").contains("qemu-system-x86_64") && read("console.log").contains("sysrq: Show"));
    assert!(read("qmp.log").contains("-> {") && read("qmp.log").contains("<- {\"return\""));
    assert!(hung.done.stderr.contains("full report: "), "{}", hung.done.stderr);
    assert_eq!(hung.done.text(), "begun\n");
}

#[test]
fn a_successful_run_leaves_no_evidence() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_successful_run_leaves_no_evidence") else { return };
    let dir = scratch();
    let evidence = dir.path().join("evidence");
    program.args(["--warm", "--core", "--evidence"]).arg(&evidence).args(["--", "true"]).done().exits(0);
    assert!(!evidence.exists());
}

#[test]
fn a_sleeping_guest_is_idle_and_its_memory_is_saved_on_request() {
    let Some(program) = Program::run(Kernel::Generic61, "a_sleeping_guest_is_idle") else { return };
    let dir = scratch();
    let options = ["--timeout", "100", "--idle-timeout", "2", "--memory", "256", "--core", "--evidence"];
    let hung = hung(program.args(SYSRQ).args(options).arg(dir.path()), &["--run", "sleep 1000"]);
    hung.says(&["the vCPU is idle"]).says(&["process sleep (pid ", "sleeps in ", "nanosleep"]);
    assert!(hung.done.stderr.contains("no activity in the guest for 2s (--idle-timeout)"), "{}", hung.done.stderr);
    let core = fs::read(dir.path().join("guest.core")).expect("a core file");
    assert!(core.starts_with(b"\x7fELF") && core.len() >= 256 << 20, "{}", core.len());
    // ET_CORE.
    assert_eq!(core[16..18], [4, 0]);
}

#[test]
fn a_stuck_disk_is_reported_with_its_requests_and_the_waiting_process() {
    let Some(program) = Program::run(Kernel::Generic61, "a_stuck_disk") else { return };
    let program =
        program.args(SYSRQ).args(STUCK).args(["--kmod", "virtio_blk", "--timeout", "100", "--idle-timeout", "3"]);
    // The kernel scans for partitions when the disk appears: the process that loads the driver is stuck.
    let hung = hung(program, &["--", "true"]);
    hung.says(&["virtio-blk /machine/peripheral/slow queue 0: 1 request is in flight in QEMU (taken 1, finished"]);
    hung.says(&["process load virtio_blk (pid ", " is blocked (state D) in "]);
    hung.says(&["it is loading module ", "/virtio_blk.ko"]);
    assert!(hung.summary[0].starts_with("virtio-blk "), "{:?}", hung.summary);
}

#[test]
fn a_kernel_loop_with_interrupts_off_is_reported_with_function_and_module() {
    let Some((module, package)) = misbehave::or_skip("a_kernel_loop_with_interrupts_off") else { return };
    let program = || {
        let program = Program::new().args(["run", "--append", "unknown_nmi_panic", "--kernel"]).arg(&package);
        program.arg("--kmod").arg(&module)
    };
    snapshot(program());
    let program = program().args(["--warm", "--timeout", "20"]);
    let line = "echo 1000 > /sys/module/misbehave/parameters/seconds; \
        echo hard-lockup > /sys/module/misbehave/parameters/how";
    let hung = hung(program, &["--run", line]);
    // The loop is caught in the module or in the clock function that it calls.
    hung.says(&["cpu 0 is in the kernel, in ", "interrupts off", "its current process is sh (pid "]);
    hung.reports("[misbehave]").reports("== Guest output after an NMI").reports(": rip 0xffffffff");
    assert!(!hung.report.contains("Module("), "{}", hung.report);
    // The inspection caused the panic.
    assert_eq!(hung.verdict["outcome"], "timed-out", "{:#}", hung.verdict);
}

#[test]
fn a_stopped_qemu_is_distinguished_from_a_hung_guest() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_stopped_qemu") else { return };
    let dir = scratch();
    let file = dir.path().join("verdict.json");
    let running = program.args(["--timeout", "5", "--json"]).arg(&file).args(["--run", "sleep 1000"]).start();
    signal(qemu_of(running.pid()), Signal::STOP);
    running.done().exits(124);
    let verdict: Value = serde_json::from_slice(&fs::read(&file).expect("a verdict")).expect("JSON");
    let first = verdict["hang"]["summary"][0].as_str().expect("a sentence");
    let words = "QEMU's main loop does not respond: all its threads are stopped, by a signal (SIGSTOP) or a debugger";
    assert_eq!(first, words);
}

#[test]
fn a_paused_machine_is_reported() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_paused_machine") else { return };
    let hung = hung(program.args(["--idle-timeout", "2", "--qemu-arg=-S"]), &["--", "true"]);
    hung.says(&["the machine is not running", "\"prelaunch\"", "(-S)"]).says(&["no message from the guest's pid 1"]);
}

#[test]
fn a_foreign_pid_1_that_waits_forever_is_reported() {
    let test = "a_foreign_pid_1_that_waits_forever";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let dir = scratch();
    let initrd = dir.path().join("initrd");
    let init = dir.path().join("init");
    fs::write(&init, "#!/bin/sh\nmkfifo /pipe\necho waiting\nread word < /pipe\n").expect("written");
    rustix::fs::chmod(&init, rustix::fs::Mode::from_bits_retain(0o755)).expect("writable file");
    let build = Program::new().args(["build", "--kernel"]).arg(Kernel::Cloud612.find().expect("exists"));
    let copy = format!("{}=/sbin/waits", init.display());
    build.args(["--copy", &copy, "-o"]).arg(&initrd).done().exits(0);
    let options = ["--idle-timeout", "3", "--timeout", "100", "--append", "rdinit=/sbin/waits", "--initrd"];
    let hung = hung(program.args(SYSRQ).args(options).arg(&initrd), &[]);
    hung.says(&["the vCPU is idle"]).says(&["process waits (pid 1) sleeps in ", "fifo"]);
}

#[test]
fn a_guest_that_forbids_sysrq_is_inspected_without_it() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_guest_that_forbids_sysrq") else { return };
    let program = program.args(["--timeout", "100", "--idle-timeout", "2"]);
    let hung = hung(program, &["--run", "cat /proc/sys/kernel/sysrq; sleep 1000"]);
    hung.says(&["the vCPU is idle"]).reports("sysrq is disabled in the guest: enable it with --append");
    let mask: u32 = hung.done.text().trim().parse().expect("a number");
    // Bit 3 permits dumps (Documentation/admin-guide/sysrq.rst); 1 permits everything.
    assert!(mask != 1 && mask & 8 == 0, "{mask}");
}

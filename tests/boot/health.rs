//! Findings of unhealthy kernels: a module (`tests/guest/misbehave`) triggers each failure. Healthy kernels give none.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use bootling::Builder;
use bootling::Command;
use bootling::Outcome;
use bootling::Vm;
use bootling::guest::health::Finding;
use bootling::guest::health::HealthSpec;
use bootling::guest::health::Kind;
use bootling::guest::health::Policy;
use serde_json::Value;

use crate::support::misbehave::{self, KERNEL};
use crate::support::program::build_dir;
use crate::support::{Done, Kernel, Program};

/// Time limit for each command, also on a slow host under TCG.
const LIMIT: Duration = Duration::from_secs(150);
/// Shell variables for the module's parameters; used in the lines below.
const PARAMETERS: &str = "M=/sys/module/misbehave/parameters; HOW=$M/how; SECONDS_=$M/seconds; ";

/// Returns a builder for guests with the module.
fn builder(test: &str) -> Option<Builder> {
    let (module, package) = misbehave::or_skip(test)?;
    let builder = Vm::builder().kernel(package).cache(build_dir().join("test-cache")).timeout(LIMIT);
    Some(builder.kmod(module, ""))
}

/// Returns `bootling run --warm` with the module.
fn program(test: &str) -> Option<Program> {
    let (module, _) = misbehave::or_skip(test)?;
    Some(Program::run(KERNEL, test)?.arg("--warm").arg("--kmod").arg(module))
}

fn line(text: &str) -> Command {
    Command::shell(format!("{PARAMETERS}{text}"))
}

fn kinds(findings: &[Finding]) -> Vec<Kind> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// Runs the line in a new guest, whose findings must be of exactly these kinds (repeats allowed); returns the first.
#[track_caller]
fn finds(builder: &Builder, text: &str, expected: &[Kind]) -> Finding {
    let output = builder.run_with(&line(text)).expect("an output");
    let mut found = kinds(&output.health);
    found.dedup();
    assert_eq!(found, expected, "{text}\n{output:#?}");
    assert!(output.hello.is_some(), "{output:#?}");
    output.health.into_iter().next().expect("a finding")
}

#[track_caller]
fn has(finding: &Finding, words: &[&str]) {
    for word in words {
        assert!(finding.lines.iter().any(|line| line.contains(word)), "no {word:?} in {finding:#?}");
    }
}

#[test]
fn warnings_bugs_and_oopses_are_reported_with_call_traces() {
    let Some(builder) = builder("warnings_bugs_and_oopses") else { return };
    let warning = finds(&builder, "echo warn >$HOW", &[Kind::Warning]);
    assert!(warning.title.starts_with("WARNING: ") && warning.title.contains("misbehave.c"), "{warning:#?}");
    has(&warning, &["cut here", "this is what was asked for", "Call Trace:", "misbehave+0x", "---[ end trace"]);
    // None of it reaches the console.
    let quiet = "echo 0 >/proc/sys/kernel/printk; echo warn-bare >$HOW";
    assert_eq!(finds(&builder, quiet, &[Kind::Warning]).lines[0], "------------[ cut here ]------------");
    let bug = finds(&builder, "echo bug >$HOW", &[Kind::Bug]);
    has(&bug, &["kernel BUG at ", "invalid opcode", "RIP: 0010:misbehave+0x", "Call Trace:", "---[ end trace"]);
    let oops = finds(&builder, "echo oops >$HOW", &[Kind::Oops]);
    assert!(oops.title.starts_with("BUG: kernel NULL pointer dereference"), "{oops:#?}");
    has(&oops, &["Oops: 0000 [#1]", "Call Trace:", "---[ end trace"]);
    let fault = finds(&builder, "echo gpf >$HOW", &[Kind::Oops]);
    assert!(fault.title.contains("general protection fault"), "{fault:#?}");
    let page = finds(&builder, "echo bad-page >$HOW", &[Kind::OtherBug]);
    assert!(page.title.starts_with("BUG: Bad page state in process sh"), "{page:#?}");
    has(&page, &["page dumped because: ", "Call Trace:", "misbehave+0x"]);
}

#[test]
fn lockups_and_hung_tasks_are_reported() {
    let Some(builder) = builder("lockups_and_hung_tasks_are_reported") else { return };
    let soft = "echo 1 >/proc/sys/kernel/watchdog_thresh; echo 6 >$SECONDS_; echo soft-lockup >$HOW";
    let soft = finds(&builder, soft, &[Kind::SoftLockup]);
    assert!(soft.title.contains("BUG: soft lockup - CPU#0 stuck for "), "{soft:#?}");
    has(&soft, &["RIP: 0010:", "Call Trace:"]);
    let hung = "echo 1 >/proc/sys/kernel/hung_task_timeout_secs; echo 4 >$SECONDS_; echo hung-task >$HOW";
    let hung = finds(&builder, hung, &[Kind::HungTask]);
    // A console with `quiet` never shows lines of this level.
    has(&hung, &["blocked for more than", "state:D", "Call Trace:", "schedule_timeout"]);
}

#[test]
fn an_rcu_stall_is_reported() {
    let Some(builder) = builder("an_rcu_stall_is_reported") else { return };
    let stall = "echo 3 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout; echo 8 >$SECONDS_; \
                 taskset 2 sh -c \"echo rcu-stall >$HOW\"";
    let stall = finds(&builder.smp(2), stall, &[Kind::RcuStall]);
    has(&stall, &["Call Trace:"]);
}

#[test]
fn an_out_of_memory_kill_is_reported_with_the_process() {
    let Some(builder) = builder("an_out_of_memory_kill_is_reported") else { return };
    let builder = builder.memory_mib(256);
    let killed = finds(&builder, "head -c 2000m /dev/zero | tail >/dev/null; true", &[Kind::OutOfMemory]);
    assert!(killed.title.contains("Killed process ") && killed.title.contains("(tail)"), "{killed:#?}");
    has(&killed, &["invoked oom-killer", "Mem-Info:", "oom-kill:constraint="]);
}

#[test]
fn unexplained_taints_are_reported_and_an_out_of_tree_module_is_not_a_finding() {
    let Some(builder) = builder("unexplained_taints_are_reported") else { return };
    let page = finds(&builder, "echo page >$HOW", &[Kind::Taint]);
    assert!(page.title.starts_with("B ("), "{page:#?}");
    let output = builder.run_with(&line("cat /proc/sys/kernel/tainted")).expect("an output");
    // Out of tree, unsigned.
    assert_eq!((output.text().trim(), output.health.as_slice()), ("12288", [].as_slice()));
}

#[test]
fn leaked_processes_are_reported_killed_and_fail_only_if_denied() {
    let Some(builder) = builder("leaked_processes_are_reported") else { return };
    let fail = HealthSpec { policy: Policy::Fail, ..HealthSpec::default() };
    let mut vm = builder.clone().health(fail.clone()).start().expect("a guest");
    let output = vm
        .run_with(&line("sleep 1000 & (setsid sleep 2000 &) ; until [ $(pidof sleep | wc -w) = 2 ]; do :; done"))
        .expect("an output");
    assert_eq!(kinds(&output.health), [Kind::Leaked], "{output:#?}");
    assert_eq!(output.health[0].lines.len(), 2, "{output:#?}");
    assert!(output.success() && output.health[0].lines.iter().all(|line| line.starts_with("sleep (")), "{output:#?}");
    let output = vm.run_with(&line("ps | grep -c '[s]leep'; true")).expect("an output");
    assert_eq!((output.text().trim(), output.health.as_slice()), ("0", [].as_slice()));
    // This process cannot be killed, and is not reported for the next command.
    let output = vm
        .run_with(&line("(echo unkillable >$HOW) & until grep -q '^State:.D' /proc/$!/status; do :; done"))
        .expect("an output");
    assert_eq!(kinds(&output.health), [Kind::Unkillable], "{output:#?}");
    assert!(matches!(output.outcome, Outcome::Unhealthy { .. }), "{output:#?}");
    has(&output.health[0], &["misbehave+0x", "kernfs_fop_write_iter"]);
    let output = vm.run_with(&line("true")).expect("an output");
    assert!(output.success() && output.health.is_empty(), "{output:#?}");
    let deny = HealthSpec { deny: vec![Kind::Leaked], ..fail };
    let output = builder.health(deny).run_with(&line("sleep 1000 &")).expect("an output");
    assert_eq!(output.outcome.exit_code(), 121, "{output:#?}");
}

#[test]
fn a_panic_is_read_from_the_console_with_earlier_findings() {
    let Some(builder) = builder("a_panic_is_read_from_the_console") else { return };
    let output = builder.run_with(&line("echo warn >$HOW; echo c >/proc/sysrq-trigger; sleep 100")).expect("an output");
    assert!(matches!(output.outcome, Outcome::Panic { .. }), "{output:#?}");
    assert_eq!(kinds(&output.health), [Kind::Warning, Kind::Panic], "{output:#?}");
    has(&output.health[1], &["sysrq triggered crash", "Call Trace:", "sysrq_handle_crash", "Kernel Offset: "]);
}

/// Options, `BOOTLING_HEALTH`, shell line; expected status, message, number of findings.
type Case<'a> = (&'a [&'a str], Option<&'a str>, &'a str, i32, &'a str, usize);

#[test]
fn the_health_policy_decides_about_a_success_on_a_warning_kernel() {
    let test = "the_health_policy_decides";
    let run = |options: &[&str], policy: Option<&str>, text: &str| -> Option<(Done, Value)> {
        let mut program = program(test)?;
        if let Some(policy) = policy {
            program = program.env("BOOTLING_HEALTH", policy);
        }
        Some(program.args(options).json(["--run", &format!("{PARAMETERS}{text}")]))
    };
    let warn = "echo warn >$HOW";
    let Some((done, verdict)) = run(&[], None, warn) else { return };
    let done = done.exits(0).says("bootling: the kernel warned: WARNING: CPU: ");
    assert!(!done.stderr.contains("Call Trace:"), "{}", done.stderr);
    assert_eq!(verdict["health"][0]["kind"], "warning", "{verdict}");
    assert!(verdict["health"][0]["lines"].as_array().is_some_and(|lines| lines.len() > 10), "{verdict}");
    let table: [Case<'_>; 8] = [
        (&["-v"], None, warn, 0, "| Call Trace:", 1),
        (&["--health", "fail"], None, warn, 121, "the run succeeded, but the kernel warned: WARNING: ", 1),
        (&["--quiet"], Some("fail"), warn, 121, "| Call Trace:", 1),
        (&["--health=ignore"], Some("fail"), warn, 0, "", 0),
        (&["--health=fail", "--health-allow", "asked for"], None, warn, 0, "", 0),
        (&["--health=fail"], None, "echo warn >$HOW; exit 3", 3, "the kernel warned", 1),
        (&["--health=fail", "--bisect"], None, warn, 1, "bisecting: bad", 1),
        (&["--health=fail"], None, TALK, 0, "", 0),
    ];
    for (options, policy, text, status, says, findings) in table {
        let Some((done, verdict)) = run(options, policy, text) else { return };
        let done = done.exits(status).says(says);
        assert_eq!(verdict["health"].as_array().map(Vec::len), Some(findings), "{options:?} {verdict}");
        assert_eq!(done.stderr.contains("kernel warned"), findings > 0, "{options:?} {}", done.stderr);
    }
    let Some((done, verdict)) = run(&["--quiet"], None, warn) else { return };
    assert_eq!(done.exits(0).stderr, "");
    assert_eq!(verdict["outcome"], "exited", "{verdict}");
}

/// Harmless log text of the kernel, and imitations of findings by programs.
const TALK: &str = "echo talk >$HOW; echo on >/proc/sys/kernel/printk_devkmsg; \
    echo '<1>BUG: kernel NULL pointer dereference, address: 0' >/dev/kmsg; echo '<0>Kernel panic - not syncing: x' >/dev/kmsg; \
    echo 'WARNING: CPU: 0 PID: 1 at x.c:1 x' >/dev/kmsg; echo 'BUG: x' >/dev/console";

#[test]
fn an_invalid_health_pattern_is_refused_before_the_boot() {
    let Some(program) = Program::run(Kernel::Cloud612, "an_invalid_health_pattern") else { return };
    let (done, verdict) = program.args(["--health-allow", "("]).json(["--", "true"]);
    done.exits(125).says("invalid health pattern \"(\"");
    assert_eq!(verdict["outcome"], "could-not-test", "{verdict}");
    assert_eq!(verdict.get("qemu"), None, "{verdict}");
}

#[test]
fn an_overwritten_log_is_reported_and_the_console_is_used_instead() {
    let Some(builder) = builder("an_overwritten_log_is_reported") else { return };
    let flood = "echo on >/proc/sys/kernel/printk_devkmsg; echo warn >$HOW; echo 1 >/proc/sys/kernel/printk; \
                 X=$(head -c 900 /dev/zero | tr '\\0' x); i=0; \
                 while [ $i -lt 600 ]; do echo $X; i=$((i + 1)); done >/dev/kmsg";
    let output = builder.run_with(&line(flood)).expect("an output");
    assert_eq!(kinds(&output.health), [Kind::Warning], "{output:#?}");
    assert!(output.notes.iter().any(|note| note.contains("overwritten")), "{:?}", output.notes);
}

#[test]
fn findings_of_a_base_are_reported_for_every_guest_restored_from_it() {
    let test = "findings_of_a_base";
    let Some((module, package)) = misbehave::or_skip(test) else { return };
    let builder = Vm::builder().kernel(package).cache(build_dir().join("test-cache")).timeout(LIMIT);
    let builder = builder.base_kmod(module, "how=warn");
    let mut ages = Vec::new();
    for _ in 0..2 {
        let output = builder.run(["true"]).expect("an output");
        assert_eq!(kinds(&output.health), [Kind::Warning], "{output:#?}");
        ages.push(output.age);
    }
    assert!(ages.iter().all(Option::is_some), "{ages:?}");
    // The finding is reported once.
    let mut vm = builder.start().expect("a guest");
    assert_eq!(kinds(&vm.run(["true"]).expect("an output").health), [Kind::Warning]);
    assert_eq!(vm.run(["true"]).expect("an output").health, []);
}

#[test]
fn a_hundred_healthy_guests_have_no_findings() {
    let test = "a_hundred_healthy_guests_have_no_findings";
    let fail = HealthSpec { policy: Policy::Fail, deny: vec![Kind::Leaked], ..HealthSpec::default() };
    let healthy = move |builder: &Builder| {
        let output = builder.run(["sh", "-c", "ls /proc | wc -l; (echo x | cat) >/dev/null"]).expect("an output");
        assert!(output.success() && output.health.is_empty(), "{output:#?}");
    };
    let of = |package: PathBuf| {
        let builder = Vm::builder().kernel(package).cache(build_dir().join("test-cache")).timeout(LIMIT);
        builder.health(fail.clone())
    };
    for kernel in [Kernel::Generic61, Kernel::Generic612, Kernel::Cloud612] {
        let Some(package) = kernel.or_skip(test) else { return };
        healthy(&of(package.clone()).cold());
        healthy(&of(package).append("quiet").smp(2).cold());
    }
    let Some(package) = Kernel::Cloud612.or_skip(test) else { return };
    let builder = of(package);
    healthy(&builder);
    let half = || {
        for _ in 0..47 {
            healthy(&builder);
        }
    };
    thread::scope(|scope| {
        scope.spawn(half);
        half();
    });
}

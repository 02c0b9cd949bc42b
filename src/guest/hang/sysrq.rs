//! Requests backtraces and tasks from a guest whose verdict is in, and that will be killed next.
//!
//! The console's UART passes a BREAK and a key to sysrq (`Documentation/admin-guide/sysrq.rst`), if a processor accepts its
//! interrupts and a process in the guest has the console open. Most distributions disable the dumps in `kernel.sysrq`. An
//! NMI follows, at which a kernel with `unknown_nmi_panic` prints a backtrace.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cpus::Course;
use super::inspect::Findings;
use super::tasks::{running, tasks};
use crate::format::guest_text;
use crate::guest::monitor::{Monitor, MonitorError};

/// How long the monitor may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a guest may take to begin. This and the next two are time that QEMU has had ([`Pace`]).
const FIRST: Duration = Duration::from_millis(2500);
/// What says something within this has not ended.
const QUIET: Duration = Duration::from_millis(400);
/// And in all.
const LONGEST: Duration = Duration::from_secs(10);
/// And in all by the clock, whatever QEMU has had of it.
const END: Duration = Duration::from_secs(60);
/// From one look whether the guest speaks to the next.
const LOOK: Duration = Duration::from_millis(50);
/// What the last words to sysrq t begin with (Linux 4.1 and later, `kernel/workqueue.c`): before them it has not ended.
const LAST_WORDS: &str = "Showing busy workqueues and worker pools";
/// How long writing a guest's memory to a file may go without getting on, of the time that QEMU has had.
const CORE: Duration = Duration::from_secs(10);
/// The name that QEMU knows our file by.
const CORE_NAME: &str = "bootling-core";
/// What cannot be done then.
const DOING: &str = "writing the guest's memory to a file";
/// When an NMI makes a kernel print a backtrace.
const NMI_BACKTRACE: &str = "the kernel prints one only with --append unknown_nmi_panic, or kernel.unknown_nmi_panic=1";
/// The console, as it is called on QEMU's command line.
const CONSOLE: &str = "console";

/// Makes the guest say what it is doing, if it can.
pub(crate) fn request_sysrq(monitor: &mut Monitor<'_>, findings: &mut Findings) {
    if !findings.is_running {
        return;
    }
    if let Err(why) = backtraces(monitor, findings) {
        findings.could_not("making the guest tell what it does", &why);
    }
    let lines: Vec<String> = findings.said.iter().flat_map(|(_, lines)| lines.iter().cloned()).collect();
    findings.tasks = tasks(&lines);
    findings.running = running(&lines);
}

/// Writes the guest's memory and registers to `core`, if given.
///
/// QEMU stops the machine for it, and does that only after its disk requests have finished.
pub(crate) fn dump_core(monitor: &mut Monitor<'_>, findings: &mut Findings, core: Option<&File>) {
    let Some(core) = core else { return };
    if findings.has_requests {
        findings.could_not(DOING, &"QEMU would wait for the requests that are in flight inside it");
        return;
    }
    if let Err(why) = dump(monitor, core, findings.is_running) {
        findings.could_not(DOING, &why);
        // An incomplete core is useless.
        let _ = core.set_len(0);
    }
}

fn dump(monitor: &mut Monitor<'_>, core: &File, was_running: bool) -> Result<(), MonitorError> {
    let fd = core.try_clone().map_err(|error| MonitorError::Refused(error.to_string()))?;
    monitor.send_fd(CORE_NAME, fd.into(), PATIENCE)?;
    let arguments = json!({"paging": false, "protocol": format!("fd:{CORE_NAME}"), "detach": true});
    // It stops the machine first.
    monitor.execute("dump-guest-memory", &arguments, CORE)?;
    let (mut before, mut timeout) = (0, monitor.timeout(CORE));
    loop {
        let progress = monitor.execute("query-dump", &json!({}), CORE)?;
        let done = progress.get("completed").and_then(Value::as_u64).unwrap_or(0);
        match progress.get("status").and_then(Value::as_str) {
            Some("completed") => break,
            Some("active") => {}
            Some(_) | None => return Err(MonitorError::Refused("QEMU failed".to_owned())),
        }
        monitor.wait_for(LOOK)?;
        if done > before {
            (before, timeout) = (done, monitor.timeout(CORE));
        }
        timeout.check()?;
    }
    if was_running { goes_on(monitor) } else { Ok(()) }
}

/// QEMU says that the memory is written before it has made the machine go on: waits for that.
fn goes_on(monitor: &mut Monitor<'_>) -> Result<(), MonitorError> {
    let start = Instant::now();
    while start.elapsed() < CORE {
        let status = monitor.execute("query-status", &json!({}), PATIENCE)?;
        if status.get("status").and_then(Value::as_str) == Some("running") {
            break;
        }
        monitor.wait_for(LOOK)?;
    }
    Ok(())
}

fn backtraces(monitor: &mut Monitor<'_>, findings: &mut Findings) -> Result<(), MonitorError> {
    // A UART interrupt that no processor accepts has no effect.
    let all_deaf = findings.courses.iter().all(Course::is_deaf);
    if !all_deaf && sysrq(monitor, findings, b'l', "sysrq l: what the processors do", "")? {
        sysrq(monitor, findings, b'w', "sysrq w: tasks that are blocked", "")?;
        sysrq(monitor, findings, b't', "sysrq t: all tasks", LAST_WORDS)?;
        return Ok(());
    }
    let from = monitor.console.len();
    monitor.execute("inject-nmi", &json!({}), PATIENCE)?;
    let (said, _) = listen(monitor, from, "")?;
    if said.is_empty() {
        findings.notes.push(format!("no output after an NMI: {NMI_BACKTRACE}"));
    } else {
        if !said.iter().any(|line| line.contains("Call Trace") || line.contains("RIP: ")) {
            findings.notes.push(format!("no backtrace after an NMI: {NMI_BACKTRACE}"));
        }
        findings.said.push(("an NMI".to_owned(), said));
    }
    Ok(())
}

/// Gives a command by BREAK and a key; whether the guest did as it was told.
fn sysrq(
    monitor: &mut Monitor<'_>,
    findings: &mut Findings,
    key: u8,
    what: &str,
    last_words: &str,
) -> Result<bool, MonitorError> {
    let from = monitor.console.len();
    monitor.execute("chardev-send-break", &json!({"id": CONSOLE}), PATIENCE)?;
    if let Err(why) = monitor.guest.keys.write_all(&[key]) {
        findings.could_not("typing on the console", &why);
        return Ok(false);
    }
    let (said, is_cut) = listen(monitor, from, last_words)?;
    let is_refused = said.iter().any(|line| line.contains("This sysrq operation is disabled"));
    let is_done = said.iter().any(|line| line.contains("sysrq: ")) && !is_refused;
    if is_refused {
        findings.notes.push(
            "sysrq is disabled in the guest: enable it with --append sysrq_always_enabled, or with kernel.sysrq=1"
                .to_owned(),
        );
    }
    if is_cut {
        findings
            .notes
            .push(format!("{what}: the guest still spoke when its time for that was up, and the rest is missing"));
    }
    if is_done {
        findings.said.push((what.to_owned(), said));
    }
    Ok(is_done)
}

/// What the console says from `from` on, until it is quiet for as long as QEMU had time to say more; and whether it was cut
/// off. What has not come to its last words may make longer pauses.
fn listen(monitor: &mut Monitor<'_>, from: usize, last_words: &str) -> Result<(Vec<String>, bool), MonitorError> {
    let (start, mut pace) = (Instant::now(), monitor.scheduled_time());
    let [mut quiet, mut all] = [Duration::ZERO; 2];
    let mut heard = from;
    let is_cut = loop {
        let said = monitor.console.get(from..).unwrap_or_default();
        let is_last = heard > from && contains(said, last_words);
        if quiet >= if is_last { QUIET } else { FIRST } {
            break false;
        }
        if all >= LONGEST || start.elapsed() >= END {
            break heard > from;
        }
        match monitor.wait_for(LOOK) {
            Ok(()) => {}
            // After a panic it resets, and QEMU ends: what it has said is there.
            Err(MonitorError::Gone) => {
                monitor.read_console();
                break false;
            }
            Err(MonitorError::Late) => break heard > from,
            Err(why) => return Err(why),
        }
        let had = pace.lap();
        (quiet, all) = (quiet + had, all + had);
        if monitor.console.len() > heard {
            (heard, quiet) = (monitor.console.len(), Duration::ZERO);
        }
    };
    let said = monitor.console.get(from..).unwrap_or_default();
    let lines = said.split(|byte| *byte == b'\n').map(guest_text::line).filter(|line| !line.is_empty());
    Ok((lines.collect(), is_cut))
}

fn contains(said: &[u8], words: &str) -> bool {
    words.is_empty() || said.windows(words.len()).any(|window| window == words.as_bytes())
}

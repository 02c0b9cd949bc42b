//! Requests backtraces and the list of tasks from a guest whose outcome is determined, and that is killed afterwards.
//!
//! The console's UART passes a BREAK and a key to sysrq (`Documentation/admin-guide/sysrq.rst`), if a processor accepts
//! its interrupts and a process in the guest has the console open. Most distributions disable the dumps in
//! `kernel.sysrq`. If sysrq prints nothing, an NMI is injected: a kernel with `unknown_nmi_panic` prints a backtrace.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cpus::Course;
use super::inspect::Findings;
use super::tasks::{running, tasks};
use crate::format::guest_text;
use crate::guest::monitor::{Monitor, MonitorError};

/// Timeout for a reply of the monitor.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum time until the guest starts to print. This limit, [`QUIET`] and [`LONGEST`] count the time that the host
/// schedules QEMU ([`ScheduledTime`](crate::guest::qemu_process::ScheduledTime)).
const FIRST: Duration = Duration::from_millis(2500);
/// Time without output after which the output is complete.
const QUIET: Duration = Duration::from_millis(400);
/// Maximum duration of the output.
const LONGEST: Duration = Duration::from_secs(10);
/// Maximum duration of the output in wall-clock time, even if the host does not schedule QEMU.
const END: Duration = Duration::from_secs(60);
/// Interval between two checks for output.
const LOOK: Duration = Duration::from_millis(50);
/// Start of the last part of sysrq t's output (Linux 4.1 and later, `kernel/workqueue.c`). Output without it is
/// incomplete.
const LAST_WORDS: &str = "Showing busy workqueues and worker pools";
/// Maximum time without progress while the guest's memory is written, in time that the host schedules QEMU.
const CORE: Duration = Duration::from_secs(10);
/// QEMU's name of the file for the core.
const CORE_NAME: &str = "bootling-core";
/// Operation in notes about a core that could not be written.
const DOING: &str = "writing the guest's memory to a file";
/// Condition under which a kernel prints a backtrace at an NMI.
const NMI_BACKTRACE: &str = "the kernel prints one only with --append unknown_nmi_panic, or kernel.unknown_nmi_panic=1";
/// ID of the console's character device on QEMU's command line.
const CONSOLE: &str = "console";

/// Requests backtraces and the list of tasks from the guest, if its machine is running.
pub(crate) fn request_sysrq(monitor: &mut Monitor<'_>, findings: &mut Findings) {
    if !findings.is_running {
        return;
    }
    if let Err(why) = backtraces(monitor, findings) {
        findings.could_not("failed to request backtraces", &why);
    }
    let lines: Vec<String> = findings.said.iter().flat_map(|(_, lines)| lines.iter().cloned()).collect();
    findings.tasks = tasks(&lines);
    findings.running = running(&lines);
}

/// Writes the guest's memory and registers to `core`, if given.
///
/// QEMU stops the machine before it writes the memory, and does so only after the disk requests have finished.
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
    // QEMU stops the machine before it replies.
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

/// Waits until the machine runs again: QEMU reports that the memory is written before it resumes the machine.
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
    if !all_deaf && sysrq(monitor, findings, b'l', "sysrq l: backtraces of active CPUs", "")? {
        sysrq(monitor, findings, b'w', "sysrq w: blocked tasks", "")?;
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

/// Sends a BREAK and a key. Returns true if the guest carried out the command. `last_words`: start of the last part of
/// its output.
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
        findings.could_not("failed to send a key to the console", &why);
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
            .push(format!("{what}: output truncated, because the guest was still printing at the time limit"));
    }
    if is_done {
        findings.said.push((what.to_owned(), said));
    }
    Ok(is_done)
}

/// Returns the console output from offset `from` until the guest is quiet, and true if it was truncated. Longer pauses
/// are permitted before `last_words`.
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
            // A panic resets the machine, and QEMU exits: the output so far is complete.
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

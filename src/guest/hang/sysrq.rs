//! Requests backtraces and the list of tasks from a guest whose outcome is determined, and that is killed afterwards.
//!
//! The console's UART passes a BREAK and a key to sysrq (`Documentation/admin-guide/sysrq.rst`), if a processor accepts
//! its interrupts and a process in the guest has the console open. Most distributions disable the dumps in
//! `kernel.sysrq`. If sysrq prints nothing, an NMI is injected: a kernel with `unknown_nmi_panic` prints a backtrace.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cpus::CpuSamples;
use super::inspect::Findings;
use super::tasks::{running, tasks};
use crate::format::guest_text;
use crate::guest::monitor::{Monitor, MonitorError};

/// Timeout for a reply of the monitor.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time until the guest starts to print. This limit, [`QUIET_TIME`] and [`OUTPUT_LIMIT`] count the time that the host
/// schedules QEMU ([`ScheduledTime`](crate::guest::qemu_process::ScheduledTime)).
const FIRST_OUTPUT_LIMIT: Duration = Duration::from_millis(2500);
/// Time without output after which the output is complete.
const QUIET_TIME: Duration = Duration::from_millis(400);
/// Maximum duration of the output.
const OUTPUT_LIMIT: Duration = Duration::from_secs(10);
/// Maximum duration of the output in wall-clock time, even if the host does not schedule QEMU.
const WALL_CLOCK_LIMIT: Duration = Duration::from_secs(60);
/// Interval between two checks for output.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Start of the last part of sysrq t's output (Linux 4.1 and later, `kernel/workqueue.c`). Output without it is
/// incomplete.
const LAST_PART: &str = "Showing busy workqueues and worker pools";
/// Maximum time without progress while the guest's memory is written, in time that the host schedules QEMU.
const DUMP_TIMEOUT: Duration = Duration::from_secs(10);
/// QEMU's name of the file for the core.
const CORE_NAME: &str = "bootling-core";
/// Operation in notes about a core that could not be written.
const DUMP_FAILED: &str = "failed to write the guest's memory to a file";
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
        findings.note_failure("failed to request backtraces", &why);
    }
    let lines: Vec<String> = findings.output.iter().flat_map(|(_, lines)| lines.iter().cloned()).collect();
    findings.tasks = tasks(&lines);
    findings.running = running(&lines);
}

/// Writes the guest's memory and registers to `core`, if given.
///
/// QEMU stops the machine before it writes the memory, and does so only after the disk requests have finished.
pub(crate) fn dump_core(monitor: &mut Monitor<'_>, findings: &mut Findings, core: Option<&File>) {
    let Some(core) = core else { return };
    if findings.has_requests {
        findings.note_failure(DUMP_FAILED, &"QEMU would wait for the requests that are in flight inside it");
        return;
    }
    if let Err(why) = dump(monitor, core, findings.is_running) {
        findings.note_failure(DUMP_FAILED, &why);
        // An incomplete core is useless.
        let _ = core.set_len(0);
    }
}

fn dump(monitor: &mut Monitor<'_>, core: &File, was_running: bool) -> Result<(), MonitorError> {
    let fd = core.try_clone().map_err(|error| MonitorError::Refused(error.to_string()))?;
    monitor.send_fd(CORE_NAME, fd.into(), REPLY_TIMEOUT)?;
    let arguments = json!({"paging": false, "protocol": format!("fd:{CORE_NAME}"), "detach": true});
    // QEMU stops the machine before it replies.
    monitor.execute("dump-guest-memory", &arguments, DUMP_TIMEOUT)?;
    let (mut before, mut timeout) = (0, monitor.timeout(DUMP_TIMEOUT));
    loop {
        let progress = monitor.execute("query-dump", &json!({}), DUMP_TIMEOUT)?;
        let done = progress.get("completed").and_then(Value::as_u64).unwrap_or(0);
        match progress.get("status").and_then(Value::as_str) {
            Some("completed") => break,
            Some("active") => {}
            Some(_) | None => return Err(MonitorError::Refused("QEMU failed".to_owned())),
        }
        monitor.wait_for(POLL_INTERVAL)?;
        if done > before {
            (before, timeout) = (done, monitor.timeout(DUMP_TIMEOUT));
        }
        timeout.check()?;
    }
    if was_running { wait_until_running(monitor) } else { Ok(()) }
}

/// Waits until the machine runs again: QEMU reports that the memory is written before it resumes the machine.
fn wait_until_running(monitor: &mut Monitor<'_>) -> Result<(), MonitorError> {
    let start = Instant::now();
    while start.elapsed() < DUMP_TIMEOUT {
        let status = monitor.execute("query-status", &json!({}), REPLY_TIMEOUT)?;
        if status.get("status").and_then(Value::as_str) == Some("running") {
            break;
        }
        monitor.wait_for(POLL_INTERVAL)?;
    }
    Ok(())
}

fn backtraces(monitor: &mut Monitor<'_>, findings: &mut Findings) -> Result<(), MonitorError> {
    // A UART interrupt that no processor accepts has no effect.
    let is_uninterruptible = findings.cpu_samples.iter().all(CpuSamples::has_interrupts_off);
    if !is_uninterruptible && sysrq(monitor, findings, b'l', "sysrq l: backtraces of active CPUs", "")? {
        sysrq(monitor, findings, b'w', "sysrq w: blocked tasks", "")?;
        sysrq(monitor, findings, b't', "sysrq t: all tasks", LAST_PART)?;
        return Ok(());
    }
    let from = monitor.console.len();
    monitor.execute("inject-nmi", &json!({}), REPLY_TIMEOUT)?;
    let (output, _) = read_output(monitor, from, "")?;
    if output.is_empty() {
        findings.notes.push(format!("no output after an NMI: {NMI_BACKTRACE}"));
    } else {
        if !output.iter().any(|line| line.contains("Call Trace") || line.contains("RIP: ")) {
            findings.notes.push(format!("no backtrace after an NMI: {NMI_BACKTRACE}"));
        }
        findings.output.push(("an NMI".to_owned(), output));
    }
    Ok(())
}

/// Sends a BREAK and a key. Returns true if the guest carried out the command. `last_part`: start of the last part of
/// its output.
fn sysrq(
    monitor: &mut Monitor<'_>,
    findings: &mut Findings,
    key: u8,
    what: &str,
    last_part: &str,
) -> Result<bool, MonitorError> {
    let from = monitor.console.len();
    monitor.execute("chardev-send-break", &json!({"id": CONSOLE}), REPLY_TIMEOUT)?;
    if let Err(why) = monitor.guest.keys.write_all(&[key]) {
        findings.note_failure("failed to send a key to the console", &why);
        return Ok(false);
    }
    let (output, is_cut) = read_output(monitor, from, last_part)?;
    let is_refused = output.iter().any(|line| line.contains("This sysrq operation is disabled"));
    let is_done = output.iter().any(|line| line.contains("sysrq: ")) && !is_refused;
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
        findings.output.push((what.to_owned(), output));
    }
    Ok(is_done)
}

/// Returns the console output from offset `from` until the guest is quiet, and true if it was truncated. Longer pauses
/// are permitted before `last_part`.
fn read_output(monitor: &mut Monitor<'_>, from: usize, last_part: &str) -> Result<(Vec<String>, bool), MonitorError> {
    let (start, mut pace) = (Instant::now(), monitor.scheduled_time());
    let [mut quiet, mut all] = [Duration::ZERO; 2];
    let mut read = from;
    let is_cut = loop {
        let output = monitor.console.get(from..).unwrap_or_default();
        let is_last = read > from && contains(output, last_part);
        if quiet >= if is_last { QUIET_TIME } else { FIRST_OUTPUT_LIMIT } {
            break false;
        }
        if all >= OUTPUT_LIMIT || start.elapsed() >= WALL_CLOCK_LIMIT {
            break read > from;
        }
        match monitor.wait_for(POLL_INTERVAL) {
            Ok(()) => {}
            // A panic resets the machine, and QEMU exits: the output so far is complete.
            Err(MonitorError::Gone) => {
                monitor.read_console();
                break false;
            }
            Err(MonitorError::Late) => break read > from,
            Err(why) => return Err(why),
        }
        let had = pace.lap();
        (quiet, all) = (quiet + had, all + had);
        if monitor.console.len() > read {
            (read, quiet) = (monitor.console.len(), Duration::ZERO);
        }
    };
    let output = monitor.console.get(from..).unwrap_or_default();
    let lines = output.split(|byte| *byte == b'\n').map(guest_text::line).filter(|line| !line.is_empty());
    Ok((lines.collect(), is_cut))
}

fn contains(output: &[u8], words: &str) -> bool {
    words.is_empty() || output.windows(words.len()).any(|window| window == words.as_bytes())
}

//! Inspection of a guest without changing it.

use std::time::Duration;

use serde_json::{Value, json};

use super::HangInput;
use super::cpus::{CpuSamples, cpu_samples};
use super::registers::{self, Cpu};
use super::stack::{PATIENCE, Trace, trace, words};
use super::tasks::{Running, Task};
use super::virtio::{Device, Queue};
use crate::guest::monitor::{Monitor, MonitorError};
use crate::guest::qemu_process;
use crate::root::kernel::symbols::Symbols;

/// Timeout for a response of QEMU's main loop, which takes milliseconds unless it hangs.
const ALIVE: Duration = Duration::from_secs(2);
/// Number of register samples; number of samples if a processor is idle only in some of them; interval between samples.
const SAMPLES: usize = 5;
const MORE_SAMPLES: usize = 20;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(60);
/// Maximum number of devices, and of queues per device.
const DEVICES: usize = 32;
const QUEUES: u64 = 64;
/// Vector of page faults, and its entry point in the kernel: in Linux 5.8 and later, and in earlier versions.
const PAGE_FAULT: u64 = 14;
const PAGE_FAULTS: [&str; 2] = ["asm_exc_page_fault", "page_fault"];

/// Step of the inspection.
type Step = fn(&mut Monitor<'_>, &HangInput, &mut Findings) -> Result<(), MonitorError>;

/// Result of the inspection.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Findings about QEMU's state, the most significant first.
    pub(super) qemu: Vec<String>,
    /// QEMU's threads, if it does not respond.
    pub(super) threads: Vec<String>,
    /// True if the machine is running.
    pub(super) is_running: bool,
    pub(super) cpu_samples: Vec<CpuSamples>,
    pub(super) traces: Vec<Trace>,
    /// True if QEMU has requests in flight: it does not stop the machine before they are finished.
    pub(super) has_requests: bool,
    /// Findings about the queues.
    pub(super) requests: Vec<String>,
    /// Report lines about the queues.
    pub(super) devices: Vec<String>,
    pub(super) symbols: Option<Symbols>,
    pub(super) tasks: Vec<Task>,
    pub(super) running: std::collections::BTreeMap<u64, Running>,
    /// Output that the guest printed on request: the request, and the lines.
    pub(super) output: Vec<(String, Vec<String>)>,
    /// Information that could not be obtained.
    pub(super) notes: Vec<String>,
}

impl Findings {
    /// Returns true if QEMU responds.
    pub(crate) fn answers(&self) -> bool {
        self.threads.is_empty()
    }

    /// Returns true if a processor executed a program, or waited for an interrupt, in one of the samples.
    pub(crate) fn is_alive(&self) -> bool {
        self.cpu_samples.iter().flat_map(|course| &course.samples).any(|(cpu, _)| cpu.is_alive())
    }

    /// Records that information could not be obtained, and the reason.
    pub(crate) fn note_failure(&mut self, doing: &str, why: &impl std::fmt::Display) {
        self.notes.push(format!("{doing}: {why}"));
    }
}

/// Inspects the guest.
pub(crate) fn inspect(monitor: &mut Monitor<'_>, hang_input: &HangInput) -> Findings {
    let mut findings = Findings::default();
    let status = match monitor.execute("query-status", &json!({}), ALIVE) {
        Ok(status) => status,
        Err(why) => {
            report_unresponsive(monitor, &why, &mut findings);
            return findings;
        }
    };
    let word = status.get("status").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    findings.is_running = word == "running";
    findings.qemu.extend(state_sentence(&word));
    let steps: [Step; 4] = [find_vcpu_process, processors, devices, stacks];
    for step in steps {
        match step(monitor, hang_input, &mut findings) {
            Ok(()) => {}
            Err(why @ MonitorError::Refused(_)) => findings.note_failure("failed to inspect the guest", &why),
            Err(why) => {
                findings.note_failure("failed to inspect the guest", &why);
                break;
            }
        }
    }
    findings
}

/// Reports QEMU's threads if it does not respond.
fn report_unresponsive(monitor: &Monitor<'_>, why: &MonitorError, findings: &mut Findings) {
    let pid = monitor.guest.pid();
    let threads = qemu_process::threads(pid);
    let how = if !threads.is_empty() && threads.iter().all(|thread| thread.is_stopped) {
        "all its threads are stopped, by a signal (SIGSTOP) or a debugger".to_owned()
    } else {
        why.to_string()
    };
    findings.threads = threads.into_iter().map(|thread| thread.line).collect();
    if findings.threads.is_empty() {
        findings.threads.push("no information about its threads".to_owned());
    }
    findings.qemu.push(match why {
        MonitorError::Gone => "QEMU exited before the inspection".to_owned(),
        MonitorError::Interrupted(_) => "a signal interrupted the inspection".to_owned(),
        MonitorError::Timeout(_) | MonitorError::Late | MonitorError::Refused(_) => {
            format!("QEMU's main loop does not respond: {how}")
        }
    });
}

/// Describes a machine state other than `running` (QEMU `qapi/run-state.json`).
fn state_sentence(word: &str) -> Option<String> {
    let what = match word {
        "running" => return None,
        "paused" => "stopped by QMP's stop command, or by a debugger on QEMU's -gdb",
        "prelaunch" => "never started (-S)",
        "io-error" => "a disk image failed, and its drive is configured to stop the machine (werror=stop, rerror=stop)",
        "internal-error" => "KVM or QEMU cannot continue (internal error)",
        "guest-panicked" => "the guest kernel reported a panic",
        "inmigrate" => "waiting for incoming migration data",
        "postmigrate" | "finish-migrate" | "save-vm" | "colo" => "its state was saved or migrated",
        "restore-vm" => "its state is being restored",
        "debug" => "stopped by a debugger",
        "watchdog" => "stopped by a watchdog device",
        "shutdown" => "powered off",
        "suspended" => "suspended to RAM, without a wakeup",
        _ => "unknown state",
    };
    Some(format!("the machine is not running, its state is \"{word}\": {what}"))
}

/// Finds the host process that runs the vCPUs.
fn find_vcpu_process(monitor: &mut Monitor<'_>, _: &HangInput, _: &mut Findings) -> Result<(), MonitorError> {
    monitor.find_qemu_thread(PATIENCE)
}

/// Samples the registers, and resolves their addresses.
fn processors(monitor: &mut Monitor<'_>, hang_input: &HangInput, findings: &mut Findings) -> Result<(), MonitorError> {
    let mut samples = vec![registers::read(&monitor.hmp("info registers -a", None, PATIENCE)?)];
    // An idle processor has timer ticks. On a busy host a tick may take so long that a few samples all fall into one.
    while findings.is_running && (samples.len() < SAMPLES || samples.len() < MORE_SAMPLES && is_mixed(&samples)) {
        match monitor.wait_for(SAMPLE_INTERVAL) {
            Ok(()) => {}
            // Fewer samples are better than none.
            Err(MonitorError::Late) => break,
            Err(why) => return Err(why),
        }
        samples.push(registers::read(&monitor.hmp("info registers -a", None, PATIENCE)?));
    }
    findings.cpu_samples = cpu_samples(&samples, None);
    let kernel = samples.iter().flatten().find(|cpu| cpu.long && cpu.idt >> 63 != 0).copied();
    if let (Some(cpu), Some(source)) = (kernel, &hang_input.symbols) {
        match source.load() {
            Ok(Some(symbols)) => findings.symbols = place(monitor, symbols, cpu, hang_input)?,
            Ok(None) => {
                findings.note_failure(
                    "failed to resolve function names",
                    &"the kernel image contains no symbols, and its directory no System.map",
                );
            }
            Err(why) => findings.note_failure("failed to resolve function names", &why),
        }
        if findings.symbols.is_none() && findings.notes.is_empty() {
            findings.note_failure("failed to resolve function names", &"unknown load address of the kernel");
        }
    }
    findings.cpu_samples = cpu_samples(&samples, findings.symbols.as_ref());
    Ok(())
}

/// Returns true if a processor was halted in some samples and not in others.
fn is_mixed(samples: &[Vec<Cpu>]) -> bool {
    let halted = |index: u64| samples.iter().flatten().filter(move |cpu| cpu.index == index && cpu.halted).count();
    samples.iter().flatten().any(|cpu| !cpu.halted && halted(cpu.index) > 0)
}

/// Relocates the symbols to the kernel's load address; `None` if it cannot be determined.
///
/// The entry point of page faults has a known name, and the processor's interrupt descriptor table contains its address
/// (Intel SDM volume 3, 7.14.1).
fn place(
    monitor: &mut Monitor<'_>,
    mut symbols: Symbols,
    cpu: Cpu,
    hang_input: &HangInput,
) -> Result<Option<Symbols>, MonitorError> {
    let at = cpu.idt.wrapping_add(16 * PAGE_FAULT);
    let gate = words(monitor, &format!("x /2gx {at:#x}"), Some(cpu.index))?;
    let entry =
        gate.first().zip(gate.get(1)).map(|(low, high)| (low & 0xffff) | (low >> 32 & 0xffff_0000) | high << 32);
    let is_placed = entry.is_some_and(|entry| PAGE_FAULTS.iter().any(|name| symbols.slide_by(name, entry)));
    // Early in the boot another table is active; then only an unrelocated kernel can be resolved.
    Ok((is_placed || !hang_input.may_move).then_some(symbols))
}

/// Inspects the queues of virtio devices.
fn devices(monitor: &mut Monitor<'_>, _: &HangInput, findings: &mut Findings) -> Result<(), MonitorError> {
    let list = match monitor.execute("x-query-virtio", &json!({}), PATIENCE) {
        Ok(list) => list,
        Err(MonitorError::Refused(_)) => {
            findings.note_failure("failed to inspect virtio queues", &"not supported by this QEMU (requires 7.2)");
            return Ok(());
        }
        Err(why) => return Err(why),
    };
    let paths = list.as_array().map(Vec::as_slice).unwrap_or_default();
    for path in paths.iter().take(DEVICES).filter_map(|device| device.get("path")?.as_str()) {
        let status = monitor.execute("x-query-virtio-status", &json!({"path": path}), PATIENCE)?;
        let device = Device::read(path, &status);
        findings.devices.push(format!("{}: {}", device.title(), device.state.phrase()));
        if let Some(sentence) = device.sentence() {
            findings.requests.push(sentence);
        }
        for index in 0..device.queues.min(QUEUES) {
            let arguments = json!({"path": path, "queue": index});
            let status = match monitor.execute("x-query-virtio-queue-status", &arguments, PATIENCE) {
                Ok(status) => status,
                // A queue that the driver does not use.
                Err(MonitorError::Refused(_)) => continue,
                Err(why) => return Err(why),
            };
            let Some(queue) = Queue::read(&status) else { continue };
            let queue = guest_side(monitor, &device, queue)?;
            findings.devices.push(format!("  {}", device.line(&queue)));
            findings.has_requests |= device.counts() && queue.in_flight > 0;
            findings.requests.extend(device.judge(&queue));
        }
    }
    Ok(())
}

/// Adds the counters from guest memory to a queue.
fn guest_side(monitor: &mut Monitor<'_>, device: &Device, queue: Queue) -> Result<Queue, MonitorError> {
    if !device.counts() {
        return Ok(queue);
    }
    let mut word = |at: u64| -> Result<Option<u16>, MonitorError> {
        Ok(words(monitor, &format!("xp /1hx {at:#x}"), None)?.first().map(|word| *word as u16))
    };
    let put = word(queue.put_at())?;
    let wants = if device.event_index { word(queue.wants_at())? } else { None };
    Ok(Queue { put, wants, ..queue })
}

/// Reads the stacks of processors in the kernel. The machine keeps running meanwhile: QEMU would stop it only after its
/// disk requests have finished, and a kernel that hangs stays in the same code.
fn stacks(monitor: &mut Monitor<'_>, _: &HangInput, findings: &mut Findings) -> Result<(), MonitorError> {
    let Some(symbols) = &findings.symbols else { return Ok(()) };
    let busy: Vec<u64> =
        findings.cpu_samples.iter().filter(|course| course.is_in_kernel()).map(|course| course.index).collect();
    if busy.is_empty() {
        return Ok(());
    }
    let cpus = registers::read(&monitor.hmp("info registers -a", None, PATIENCE)?);
    let cpus = cpus.iter().filter(|cpu| busy.contains(&cpu.index) && cpu.cpl == 0 && !cpu.halted);
    findings.traces = cpus.map(|cpu| trace(monitor, cpu, symbols)).collect::<Result<_, _>>()?;
    Ok(())
}

//! Everything that can be seen of a guest without changing it.

use std::time::Duration;

use serde_json::{Value, json};

use super::asking::{Asking, Unanswered};
use super::cpus::{Course, courses};
use super::registers::{self, Cpu};
use super::stack::{Trace, trace};
use super::tasks::{Running, Task};
use super::virtio::{Device, Queue};
use super::{Inquest, host};
use crate::root::kernel::symbols::Symbols;

/// How long QEMU's main loop may take to answer: it answers within milliseconds unless it hangs.
const ALIVE: Duration = Duration::from_secs(2);
/// The same for everything after that.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often registers are looked at, and how far apart; and how often where some looks find a processor idle and others do not.
const LOOKS: usize = 5;
const MORE_LOOKS: usize = 20;
const APART: Duration = Duration::from_millis(60);
/// Devices and queues that are looked at.
const DEVICES: usize = 32;
const QUEUES: u64 = 64;
/// The vector of page faults, and what the kernel enters by it: that of Linux 5.8 and later, that of earlier ones.
const PAGE_FAULT: u64 = 14;
const PAGE_FAULTS: [&str; 2] = ["asm_exc_page_fault", "page_fault"];

/// One thing to look at.
type Step = fn(&mut Asking<'_>, &Inquest, &mut Findings) -> Result<(), Unanswered>;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// What QEMU's state comes to, the most telling first.
    pub(super) qemu: Vec<String>,
    /// Its threads, where it does not answer.
    pub(super) threads: Vec<String>,
    /// Whether the machine runs.
    pub(super) is_running: bool,
    pub(super) courses: Vec<Course>,
    pub(super) traces: Vec<Trace>,
    /// Whether QEMU has requests in flight: it does not stop the machine before they are done.
    pub(super) has_requests: bool,
    /// What the queues come to.
    pub(super) requests: Vec<String>,
    /// The queues, line by line.
    pub(super) devices: Vec<String>,
    pub(super) symbols: Option<Symbols>,
    pub(super) tasks: Vec<Task>,
    pub(super) running: std::collections::BTreeMap<u64, Running>,
    /// What the guest was made to say: how, and its lines.
    pub(super) said: Vec<(String, Vec<String>)>,
    /// What could not be found out.
    pub(super) notes: Vec<String>,
}

impl Findings {
    /// Whether QEMU answers.
    pub fn answers(&self) -> bool {
        self.threads.is_empty()
    }

    /// Something could not be found out, and why.
    pub fn could_not(&mut self, doing: &str, why: &impl std::fmt::Display) {
        self.notes.push(format!("{doing}: {why}"));
    }
}

/// Looks.
pub fn look(asking: &mut Asking<'_>, inquest: &Inquest) -> Findings {
    let mut findings = Findings::default();
    let status = match asking.ask("query-status", &json!({}), ALIVE) {
        Ok(status) => status,
        Err(why) => {
            silent(asking, &why, &mut findings);
            return findings;
        }
    };
    let word = status.get("status").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    findings.is_running = word == "running";
    findings.qemu.extend(state_sentence(&word));
    let steps: [Step; 4] = [whose_time, processors, devices, stacks];
    for step in steps {
        match step(asking, inquest, &mut findings) {
            Ok(()) => {}
            Err(why @ Unanswered::Refused(_)) => findings.could_not("looking at the guest", &why),
            Err(why) => {
                findings.could_not("looking at the guest", &why);
                break;
            }
        }
    }
    findings
}

/// QEMU does not answer: what its threads do.
fn silent(asking: &Asking<'_>, why: &Unanswered, findings: &mut Findings) {
    let pid = asking.guest.pid();
    let threads = host::threads(pid);
    let how = if !threads.is_empty() && threads.iter().all(|thread| thread.is_stopped) {
        "all its threads are stopped, by a signal (SIGSTOP) or a debugger".to_owned()
    } else {
        why.to_string()
    };
    findings.threads = threads.into_iter().map(|thread| thread.line).collect();
    if findings.threads.is_empty() {
        findings.threads.push("its threads cannot be seen".to_owned());
    }
    findings.qemu.push(match why {
        Unanswered::Gone => "QEMU was gone before it could be asked".to_owned(),
        Unanswered::Interrupted(_) => "a signal ended the inquiry".to_owned(),
        Unanswered::TooSlow(_) | Unanswered::Refused(_) => format!("QEMU's main loop does not answer: {how}"),
    });
}

/// What a state of the machine that is not `running` means (QEMU `qapi/run-state.json`).
fn state_sentence(word: &str) -> Option<String> {
    let what = match word {
        "running" => return None,
        "paused" => "somebody has stopped it (QMP's stop, or a debugger on QEMU's -gdb)",
        "prelaunch" => "it was never started (-S)",
        "io-error" => {
            "a disk's image gave an error, and its drive is set to stop the machine (werror=stop, rerror=stop)"
        }
        "internal-error" => "KVM or QEMU cannot go on with it (internal error)",
        "guest-panicked" => "its kernel has reported a panic",
        "inmigrate" => "it waits for a state that is being sent to it",
        "postmigrate" | "finish-migrate" | "save-vm" | "colo" => "its state was saved or sent elsewhere",
        "restore-vm" => "its state is being restored",
        "debug" => "a debugger has stopped it",
        "watchdog" => "a watchdog device has stopped it",
        "shutdown" => "it has powered off",
        "suspended" => "it is suspended to RAM, and nothing wakes it up",
        _ => "that is not one of the states that are known here",
    };
    Some(format!("the machine does not run, its state is \"{word}\": {what}"))
}

/// Which of the host's processes runs the guest.
fn whose_time(asking: &mut Asking<'_>, _: &Inquest, _: &mut Findings) -> Result<(), Unanswered> {
    asking.learn_thread(PATIENCE)
}

/// Registers, a few times; and names for what they point at.
fn processors(asking: &mut Asking<'_>, inquest: &Inquest, findings: &mut Findings) -> Result<(), Unanswered> {
    let mut looks = vec![registers::read(&asking.hmp("info registers -a", None, PATIENCE)?)];
    // An idle processor has a tick from time to time. Where the host has no time for that, it is in it for long, and few
    // looks may all fall into one.
    while findings.is_running && (looks.len() < LOOKS || looks.len() < MORE_LOOKS && is_mixed(&looks)) {
        asking.nap(APART)?;
        looks.push(registers::read(&asking.hmp("info registers -a", None, PATIENCE)?));
    }
    let kernel = looks.iter().flatten().find(|cpu| cpu.long && cpu.idt >> 63 != 0).copied();
    if let (Some(cpu), Some(source)) = (kernel, &inquest.symbols) {
        match source.load() {
            Ok(Some(symbols)) => findings.symbols = place(asking, symbols, cpu, inquest)?,
            Ok(None) => {
                findings.could_not("naming functions", &"the kernel has no symbols in it, and no System.map beside it");
            }
            Err(why) => findings.could_not("naming functions", &why),
        }
        if findings.symbols.is_none() && findings.notes.is_empty() {
            findings
                .could_not("naming functions", &"the kernel runs at an unknown distance from where it was linked to");
        }
    }
    findings.courses = courses(&looks, findings.symbols.as_ref());
    Ok(())
}

/// Whether a processor was halted at some looks and not at others.
fn is_mixed(looks: &[Vec<Cpu>]) -> bool {
    let halted = |index: u64| looks.iter().flatten().filter(move |cpu| cpu.index == index && cpu.halted).count();
    looks.iter().flatten().any(|cpu| !cpu.halted && halted(cpu.index) > 0)
}

/// Symbols that know where the kernel runs; `None` where that cannot be found out.
///
/// Page faults enter at a place of which the name is known, and the processor knows the address: its table of interrupts
/// says (Intel SDM volume 3, 7.14.1).
fn place(
    asking: &mut Asking<'_>,
    mut symbols: Symbols,
    cpu: Cpu,
    inquest: &Inquest,
) -> Result<Option<Symbols>, Unanswered> {
    let at = cpu.idt.wrapping_add(16 * PAGE_FAULT);
    let gate = words(asking, &format!("x /2gx {at:#x}"), Some(cpu.index))?;
    let entry =
        gate.first().zip(gate.get(1)).map(|(low, high)| (low & 0xffff) | (low >> 32 & 0xffff_0000) | high << 32);
    let is_placed = entry.is_some_and(|entry| PAGE_FAULTS.iter().any(|name| symbols.slide_by(name, entry)));
    // Early in the boot there is another table; then only what cannot be moved is known.
    Ok((is_placed || !inquest.may_move).then_some(symbols))
}

/// Words of memory, as the monitor prints them: `ADDRESS: WORD WORD`.
pub(super) fn words(asking: &mut Asking<'_>, line: &str, cpu: Option<u64>) -> Result<Vec<u64>, Unanswered> {
    let said = asking.hmp(line, cpu, PATIENCE)?;
    let rows = said.lines().filter_map(|row| Some(row.split_once(':')?.1));
    let words = rows.flat_map(str::split_whitespace);
    Ok(words.filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect())
}

/// The queues of virtio devices.
fn devices(asking: &mut Asking<'_>, _: &Inquest, findings: &mut Findings) -> Result<(), Unanswered> {
    let list = match asking.ask("x-query-virtio", &json!({}), PATIENCE) {
        Ok(list) => list,
        Err(Unanswered::Refused(_)) => {
            findings.could_not("looking at virtio queues", &"this QEMU cannot (QEMU 7.2 and later can)");
            return Ok(());
        }
        Err(why) => return Err(why),
    };
    let paths = list.as_array().map(Vec::as_slice).unwrap_or_default();
    for path in paths.iter().take(DEVICES).filter_map(|device| device.get("path")?.as_str()) {
        let status = asking.ask("x-query-virtio-status", &json!({"path": path}), PATIENCE)?;
        let device = Device::read(path, &status);
        findings.devices.push(format!("{}: {}", device.title(), device.state.phrase()));
        if let Some(sentence) = device.sentence() {
            findings.requests.push(sentence);
        }
        for index in 0..device.queues.min(QUEUES) {
            let arguments = json!({"path": path, "queue": index});
            let status = match asking.ask("x-query-virtio-queue-status", &arguments, PATIENCE) {
                Ok(status) => status,
                // A queue that its driver does not use.
                Err(Unanswered::Refused(_)) => continue,
                Err(why) => return Err(why),
            };
            let Some(queue) = Queue::read(&status) else { continue };
            let queue = guest_side(asking, &device, queue)?;
            findings.devices.push(format!("  {}", device.line(&queue)));
            findings.has_requests |= device.counts() && queue.in_flight > 0;
            findings.requests.extend(device.judge(&queue));
        }
    }
    Ok(())
}

/// A queue with what the guest's own memory says of it.
fn guest_side(asking: &mut Asking<'_>, device: &Device, queue: Queue) -> Result<Queue, Unanswered> {
    if !device.counts() {
        return Ok(queue);
    }
    let mut word = |at: u64| -> Result<Option<u16>, Unanswered> {
        Ok(words(asking, &format!("xp /1hx {at:#x}"), None)?.first().map(|word| *word as u16))
    };
    let put = word(queue.put_at())?;
    let wants = if device.event_index { word(queue.wants_at())? } else { None };
    Ok(Queue { put, wants, ..queue })
}

/// The stacks of processors that are in the kernel. The machine goes on meanwhile: QEMU would stop it only once its disks
/// are at rest, and what hangs in the kernel does not go far.
fn stacks(asking: &mut Asking<'_>, _: &Inquest, findings: &mut Findings) -> Result<(), Unanswered> {
    let Some(symbols) = &findings.symbols else { return Ok(()) };
    let busy: Vec<u64> =
        findings.courses.iter().filter(|course| course.is_in_kernel()).map(|course| course.index).collect();
    if busy.is_empty() {
        return Ok(());
    }
    let cpus = registers::read(&asking.hmp("info registers -a", None, PATIENCE)?);
    let cpus = cpus.iter().filter(|cpu| busy.contains(&cpu.index) && cpu.cpl == 0 && !cpu.halted);
    findings.traces = cpus.map(|cpu| trace(asking, cpu, symbols)).collect::<Result<_, _>>()?;
    Ok(())
}

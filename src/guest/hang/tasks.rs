//! Parser of kernel output for sysrq and NMI: backtraces of processors, and tasks with their wait functions
//! (`kernel/sched/core.c`, `sched_show_task`; `lib/nmi_backtrace.c`; `arch/x86/kernel/dumpstack.c`).
//!
//! The console output of a guest is not authenticated. Lines are already limited in length, and their number is limited
//! here.

use std::collections::{BTreeMap, HashSet};

use regex::Regex;

/// Functions on the stack of every waiting task, which carry no information.
const PLUMBING: [&str; 8] = [
    "__schedule",
    "schedule",
    "preempt_schedule",
    "__cond_resched",
    "schedule_timeout",
    "schedule_hrtimeout_range_clock",
    "schedule_hrtimeout_range",
    "context_switch",
];
/// Maximum number of functions in a sentence.
const FUNCTIONS: usize = 4;
/// Maximum number of tasks kept.
const TASKS: usize = 4096;

/// Task that is not running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Name.
    pub(crate) name: String,
    /// Process ID.
    pub(crate) pid: u32,
    /// Process ID of the parent.
    pub(crate) parent: u32,
    /// `S`, `D`, ...
    pub(crate) state: char,
    /// Functions on its stack, innermost first, without uninformative ones.
    pub(crate) functions: Vec<String>,
}

/// Current task of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Name of the task.
    pub(crate) name: String,
    /// Process ID.
    pub(crate) pid: u32,
    /// Kernel function with its module name: `spin+0x12/0x20 [misbehave]`; `None` in user space.
    pub(crate) function: Option<String>,
}

impl Task {
    /// Returns true for a process, false for a kernel thread.
    pub(crate) fn is_process(&self) -> bool {
        self.pid != 2 && self.parent != 2
    }

    /// Describes the task in a sentence.
    pub(crate) fn sentence(&self) -> String {
        let waits = match self.state {
            'D' => "is blocked (state D)",
            'S' => "sleeps",
            'T' | 't' => "is stopped",
            'R' => "is runnable",
            'Z' => "is a zombie",
            _ => "is not running",
        };
        let kind = if self.is_process() { "process" } else { "kernel thread" };
        let place = match self.functions.as_slice() {
            [] => String::new(),
            functions => format!(" in {}", functions[..functions.len().min(FUNCTIONS)].join(" < ")),
        };
        format!("{kind} {} (pid {}) {waits}{place}", self.name, self.pid)
    }
}

/// Removes the timestamp and the caller (`CONFIG_PRINTK_CALLER`) from a line.
fn plain(line: &str) -> &str {
    let mut rest = line;
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        rest = after;
    }
    rest.strip_prefix(' ').unwrap_or(rest)
}

/// Parses the printed tasks, without duplicates: blocked tasks are printed again in the list of all tasks.
pub(crate) fn tasks(lines: &[String]) -> Vec<Task> {
    // `stack:0` may have blanks before its number.
    let Ok(head) = Regex::new(r"^task:(.{1,32}?)\s+state:(\S)\s.*\bpid:\s*(\d+).*\bppid:\s*(\d+)") else {
        return Vec::new();
    };
    let mut tasks: Vec<Task> = Vec::new();
    let mut is_inside = false;
    for line in lines.iter().map(|line| plain(line)) {
        if let Some(found) = head.captures(line) {
            let number = |at: usize| found.get(at).and_then(|digits| digits.as_str().parse().ok()).unwrap_or(0);
            let state = found.get(2).and_then(|state| state.as_str().chars().next()).unwrap_or('?');
            let name = found.get(1).map_or("", |name| name.as_str()).to_owned();
            if tasks.len() == TASKS {
                break;
            }
            tasks.push(Task { name, pid: number(3), parent: number(4), state, functions: Vec::new() });
            is_inside = true;
        } else if !(line.starts_with(' ') || line == "Call Trace:") {
            is_inside = false;
        } else if let Some(task) = tasks.last_mut().filter(|_| is_inside)
            && let Some(function) = function(line)
            && task.functions.len() < 64
            && !PLUMBING.contains(&function)
        {
            task.functions.push(function.to_owned());
        }
    }
    let mut known = HashSet::new();
    tasks.retain(|task| known.insert(task.pid));
    tasks
}

/// Returns the function in a call trace line such as `  io_schedule+0x42/0x70`; `None` for unreliable entries, which are
/// marked `?`.
fn function(line: &str) -> Option<&str> {
    let (name, _) = line.trim().split_once("+0x")?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)).then_some(name)
}

/// Parses the current task of each processor, by vCPU index; the first occurrence counts.
pub(crate) fn running(lines: &[String]) -> BTreeMap<u64, Running> {
    let mut running: BTreeMap<u64, Running> = BTreeMap::new();
    let (Ok(head), Ok(place)) = (
        Regex::new(r"^CPU: (\d+) (?:UID: \d+ )?PID: (\d+) Comm: (.{1,32}?) (?:Not t|T)ainted"),
        Regex::new(r"^RIP: ([0-9a-f]{4}):(.*)$"),
    ) else {
        return running;
    };
    let mut current = None;
    for line in lines.iter().map(|line| plain(line)) {
        if let Some(found) = head.captures(line) {
            let text = |at: usize| found.get(at).map_or("", |part| part.as_str());
            let cpu = text(1).parse().unwrap_or(0);
            let at = Running { name: text(3).to_owned(), pid: text(2).parse().unwrap_or(0), function: None };
            current = (!running.contains_key(&cpu)).then(|| {
                running.insert(cpu, at);
                cpu
            });
        } else if let Some(found) = place.captures(line)
            && let Some(at) = current.take().and_then(|cpu| running.get_mut(&cpu))
        {
            // Kernel code segment (`__KERNEL_CS`).
            let is_kernel = found.get(1).is_some_and(|segment| segment.as_str() == "0010");
            at.function = found.get(2).map(|place| place.as_str().trim().to_owned()).filter(|_| is_kernel);
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::{Running, running, tasks};

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn tasks_are_parsed_with_their_wait_functions() {
        let said = lines(
            "[   12.1] sysrq: Show Blocked State
[   12.2] task:dd              state:D stack:0     pid:82    ppid:42     flags:0x00004002
[   12.2] Call Trace:
[   12.2]  <TASK>
[   12.2]  __schedule+0x34d/0x9e0
[   12.2]  schedule+0x5a/0xd0
[   12.2]  ? something+0x1/0x2
[   12.2]  io_schedule+0x42/0x70
[   12.2]  folio_wait_bit_common+0x133/0x390
[   12.2] RIP: 0033:0x530945
[   12.2]  </TASK>
[   12.3] task:my prog         state:S stack:    0 pid:  149 tgid:  149 ppid:     2 flags:0x00000002
[   12.3][   T3]  kthread+0x2/0x3
[   13.1] sysrq: Show State
[   13.2] task:dd              state:D stack:0     pid:82    ppid:42     flags:0x00004002
[   13.2]  other+0x42/0x70
",
        );
        let tasks = tasks(&said);
        assert_eq!(tasks.len(), 2);
        assert_eq!(
            tasks[0].sentence(),
            "process dd (pid 82) is blocked (state D) in io_schedule < folio_wait_bit_common"
        );
        assert_eq!(tasks[1].sentence(), "kernel thread my prog (pid 149) sleeps in kthread");
    }

    #[test]
    fn processors_are_parsed_with_their_interrupted_function() {
        let said = lines(
            "[ 1.0] NMI backtrace for cpu 0
[ 1.0] CPU: 0 PID: 80 Comm: sh Not tainted 6.1.0-56-amd64 #1  Debian 6.1.192-2
[ 1.0] RIP: 0010:spin+0x12/0x20 [misbehave]
[ 1.0] RIP: 0033:0x530945
[ 1.1] CPU: 1 UID: 0 PID: 81 Comm: a b Tainted: G           OE      6.12
[ 1.1] RIP: 0033:0x530945
[ 1.2] CPU: 0 PID: 99 Comm: later Not tainted
",
        );
        let running = running(&said);
        let spin = Some("spin+0x12/0x20 [misbehave]".to_owned());
        assert_eq!(running[&0], Running { name: "sh".to_owned(), pid: 80, function: spin });
        assert_eq!(running[&1], Running { name: "a b".to_owned(), pid: 81, function: None });
    }
}

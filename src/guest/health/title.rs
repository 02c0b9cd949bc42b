//! Classifies kernel log lines that start a report.
//!
//! A pattern must match at the start of a line: elsewhere it may be a quotation. The patterns cover kernels 5.10 to
//! 6.19 (`git grep` for them in the kernel tree).

use super::Kind;

/// Prefixes of sanitizer reports.
const SANITIZERS: [(&str, Kind); 5] = [
    ("BUG: KASAN: ", Kind::Kasan),
    ("BUG: KMSAN: ", Kind::Kmsan),
    ("BUG: KFENCE: ", Kind::Kfence),
    ("BUG: KCSAN: ", Kind::Kcsan),
    ("UBSAN: ", Kind::Ubsan),
];

/// Prefixes of fault reports (`arch/x86/mm/fault.c`, `arch/x86/kernel/traps.c`; also arm64 and others).
const FAULTS: [&str; 8] = [
    "BUG: kernel NULL pointer dereference",
    "BUG: unable to handle ",
    "BUG: stack guard page was hit",
    "BUG: TASK stack guard page was hit",
    "BUG: IRQ stack guard page was hit",
    "Unable to handle kernel ",
    "general protection fault",
    "PANIC: double fault",
];

/// Messages of `kernel/locking/lockdep.c` and related code after `WARNING: `, or in brackets.
const LOCKING: [&str; 14] = [
    "possible circular locking dependency detected",
    "possible recursive locking detected",
    "possible irq lock inversion dependency detected",
    "possible bad bit-lock",
    "inconsistent lock state",
    "bad unlock balance detected",
    "bad contention detected",
    "held lock freed!",
    "lock held when returning to user space!",
    "suspicious RCU usage",
    "Nested lock was not taken",
    "Invalid wait context",
    "still has locks held!",
    "unsafe lock order detected",
];

/// Returns the kind of report that a line starts, if any. `is_cut` is true directly after a `---[ cut here ]---` line.
pub(super) fn kind(text: &str, is_cut: bool) -> Option<Kind> {
    let text = without_prefix(text);
    // Most lines start no report.
    if !text.starts_with(['B', 'C', 'G', 'I', 'K', 'M', 'N', 'O', 'P', 'U', 'W', '[', 'g', 'k'])
        && !text.contains("[#")
        && !text.contains("oom-killer")
    {
        return None;
    }
    if text.starts_with("Kernel panic - not syncing") {
        return Some(Kind::Panic);
    }
    if let Some((_, kind)) = SANITIZERS.iter().find(|(words, _)| text.starts_with(words)) {
        return Some(*kind);
    }
    if text.starts_with("kernel BUG at ") {
        return Some(Kind::Bug);
    }
    if is_hard_lockup(text) {
        return Some(Kind::HardLockup);
    }
    if text.starts_with("BUG: soft lockup - ") {
        return Some(Kind::SoftLockup);
    }
    if FAULTS.iter().any(|words| text.starts_with(words)) || is_oops_header(text) {
        return Some(Kind::Oops);
    }
    info(text).or_else(|| warning(text, is_cut)).or_else(|| memory(text)).or_else(|| bug(text))
}

/// Strips the subsystem prefix (`pr_fmt`).
fn without_prefix(text: &str) -> &str {
    let names = ["watchdog: ", "NMI watchdog: ", "rcu: ", "traps: "];
    names.iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text)
}

/// `Watchdog detected hard LOCKUP on cpu 0`; since 6.5 with the prefix `CPU1: `.
fn is_hard_lockup(text: &str) -> bool {
    let text = match text.strip_prefix("CPU").and_then(|rest| rest.split_once(": ")) {
        Some((cpu, rest)) if cpu.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        Some(_) | None => text,
    };
    text.starts_with("Watchdog detected hard LOCKUP on cpu ")
}

/// `Oops: 0000 [#1] PREEMPT SMP`, `Oops: general protection fault, ...: 0000 [#1]`, `invalid opcode: 0000 [#1]`.
pub(super) fn is_oops_header(text: &str) -> bool {
    let Some((before, behind)) = text.split_once(" [#") else { return false };
    let counted = behind.split(']').next().is_some_and(|count| count.parse::<u32>().is_ok());
    let code = before.rsplit(' ').next().unwrap_or_default();
    counted && before.contains(": ") && code.len() >= 4 && code.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reports with the prefix `INFO: `.
fn info(text: &str) -> Option<Kind> {
    let text = text.strip_prefix("INFO: ")?;
    if text.starts_with("task ") && text.contains(" blocked for more than ") {
        return Some(Kind::HungTask);
    }
    if text.starts_with("rcu") && (text.contains("detected stall") || text.contains("detected expedited stall")) {
        return Some(Kind::RcuStall);
    }
    text.starts_with("trying to register non-static key").then_some(Kind::Lockdep)
}

/// `WARNING: CPU: 0 PID: 1 at FILE:LINE FUNCTION`, since 6.19 `WARNING: FILE:LINE at FUNCTION, CPU#0: NAME/1`.
fn warning(text: &str, is_cut: bool) -> Option<Kind> {
    let inner = text.strip_prefix("WARNING: ").or_else(|| text.strip_prefix("[ BUG: "))?;
    if LOCKING.iter().any(|words| inner.contains(words)) {
        return Some(Kind::Lockdep);
    }
    let is_newer = inner.split_once(", CPU#").is_some_and(|(before, _)| before.contains(" at "));
    let is_warning = text.starts_with("WARNING: ") && (is_cut || inner.starts_with("CPU: ") || is_newer);
    is_warning.then_some(Kind::Warning)
}

/// `NAME invoked oom-killer: ...`, or only its result if the rest is missing.
fn memory(text: &str) -> Option<Kind> {
    let begins = text.contains(" invoked oom-killer: ") || killed(text);
    begins.then_some(Kind::OutOfMemory)
}

/// `Out of memory: Killed process 1 (NAME) ...`, the last line of such a report.
pub(super) fn killed(text: &str) -> bool {
    let is_oom = text.starts_with("Out of memory") || text.starts_with("Memory cgroup out of memory");
    is_oom && (text.contains("Killed process ") || text.contains("Kill process "))
}

/// Any other `BUG: ` line, or a slab report `BUG NAME (Not tainted): ...` (`mm/slub.c`).
fn bug(text: &str) -> Option<Kind> {
    let is_slab = text.starts_with("BUG ") && text.contains("ainted");
    if text.starts_with("BUG: MAX_LOCK") || text.starts_with("BUG: key ") {
        return Some(Kind::Lockdep);
    }
    (is_slab || text.starts_with("BUG: ")).then_some(Kind::OtherBug)
}

//! Facts from `/proc` about processes started by tests: children, memory, and whether they still run.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Time limit for an event on a host that is slow or has other load. It ends a test that would otherwise never end.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Returns the PIDs of the children of `parent` whose command name starts with `name`.
pub(crate) fn children(parent: u32, name: &str) -> Vec<u32> {
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| stat(*pid).is_some_and(|(comm, ppid, _)| ppid == parent && comm.starts_with(name)))
        .collect()
}

/// Returns command name, parent and state of a process; `None` if it does not exist.
fn stat(pid: u32) -> Option<(String, u32, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let mut rest = text[close + 1..].split_whitespace();
    let state = rest.next()?.chars().next()?;
    Some((text[open + 1..close].to_owned(), rest.next()?.parse().ok()?, state))
}

/// Returns the processor time of a process, or of a thread (a path below `/proc`), and its state.
fn usage(directory: &Path) -> Option<(Duration, char)> {
    let text = fs::read_to_string(directory.join("stat")).ok()?;
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    // utime and stime, fields 14 and 15, in ticks of 10 ms (USER_HZ).
    let ticks = fields.skip(10).take(2).map_while(|field| field.parse::<u64>().ok()).sum::<u64>();
    Some((Duration::from_millis(ticks * 10), state))
}

/// Returns the processor time of a process; `None` if it does not exist. Unlike elapsed time, it advances only with the
/// work of the process, at any load of the host.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    usage(Path::new(&format!("/proc/{pid}"))).map(|(time, _)| time)
}

/// Waits until a process is idle or gone: in several consecutive checks, all of its threads sleep and use no processor
/// time. A thread that waits for a processor does not sleep.
pub(crate) fn wait_until_idle(pid: u32) {
    let (mut last, mut rests) = (None, 0);
    wait_for("an idle process", LIMIT, || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        let all: Option<Vec<_>> = threads.map(|thread| usage(&thread.ok()?.path())).collect();
        let time: Duration = all.iter().flatten().map(|(time, _)| *time).sum();
        let sleeps = all.is_some_and(|all| all.iter().all(|(_, state)| *state != 'R'));
        rests = if sleeps && last == Some(time) { rests + 1 } else { 0 };
        last = Some(time);
        (rests == 40 || !runs(pid)).then_some(())
    });
}

/// Returns true if a process runs, that is, it exists and is not a zombie.
pub(crate) fn runs(pid: u32) -> bool {
    stat(pid).is_some_and(|(_, _, state)| state != 'Z' && state != 'X')
}

/// Waits until `check` returns a value.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for the QEMU process of `parent` that runs a guest, as opposed to one that only prints its version.
pub(crate) fn qemu_of(parent: u32) -> u32 {
    let has_monitor = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == b"-mon")
    };
    let guest = || children(parent, "qemu-system").into_iter().find(has_monitor);
    wait_for("a QEMU child", LIMIT, guest)
}

/// Waits until a process is gone. Without a reason to end, the processes of the tests run for longer than the limit.
pub(crate) fn wait_until_gone(pid: u32) {
    wait_for("a process to be gone", LIMIT, || (!runs(pid)).then_some(()));
}

/// Returns true if a signal was sent to a process, and not delivered yet (`ShdPnd` in `proc_pid_status(5)`).
pub(crate) fn is_pending(pid: u32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("ShdPnd:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

/// Largest resident set of a running process so far, KiB.
pub(crate) fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok())
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(to_pid(pid), signal).expect("running process");
}

/// Converts a process ID to rustix's type.
pub(crate) fn to_pid(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a positive process ID")
}

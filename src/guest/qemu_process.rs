//! State of QEMU's process from the host's `/proc`: processor time used, and wait channels of its threads.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Unit of times in `/proc`: `USER_HZ`, which is 100 on all architectures but one (`asm-generic/param.h`).
const TICK: Duration = Duration::from_millis(10);
/// Maximum number of threads reported.
const THREADS: usize = 64;
/// Maximum time that counts between two checks: a longer delay of bootling probably delayed QEMU, too.
const LAP: Duration = Duration::from_millis(200);

/// Thread of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thread {
    /// Report line: thread ID, state, wait channel in the kernel.
    pub(crate) line: String,
    /// True if it was stopped by a signal or a debugger.
    pub(crate) is_stopped: bool,
}

/// Returns the processor time used by the process of this thread since its start; `None` if unknown.
///
/// `/proc/TID/stat` contains the time of the whole process for each of its threads (`fs/proc/array.c`).
pub(crate) fn cpu_time(thread: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    ticks_of(&stat).map(|ticks| TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))
}

/// Returns true if a thread of this thread's process needs a processor or a disk of the host: it is running, runnable,
/// or in uninterruptible sleep. False if unknown.
pub(crate) fn is_runnable(thread: u32) -> bool {
    tasks(thread).iter().any(|task| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        fields(&stat).is_some_and(|(_, state, _)| matches!(state, "R" | "D"))
    })
}

/// Measures the time for which the host has scheduled a process: elapsed time minus the time that it waited for a
/// processor.
///
/// A host with other load, or that is a guest itself, may stall QEMU for seconds, which must not count in timeouts for
/// QEMU and its guest. For a process with a runnable thread, the processor time that it used counts; for a sleeping
/// process, all of the elapsed time.
#[derive(Debug)]
pub(crate) struct ScheduledTime {
    thread: u32,
    at: Instant,
    used: Option<Duration>,
}

impl ScheduledTime {
    /// Starts measuring the process of this thread.
    pub(crate) fn new(thread: u32) -> Self {
        Self { thread, at: Instant::now(), used: cpu_time(thread) }
    }

    /// Returns the scheduled time since the last call.
    pub(crate) fn lap(&mut self) -> Duration {
        let (now, used) = (Instant::now(), cpu_time(self.thread));
        let gone = now - self.at;
        let spent = used.zip(self.used).map(|(used, before)| used.saturating_sub(before));
        (self.at, self.used) = (now, used);
        scheduled_time(gone, spent, || is_runnable(self.thread))
    }
}

/// Returns the scheduled time of a process in the elapsed time `gone`, with the processor time `spent`.
fn scheduled_time(gone: Duration, spent: Option<Duration>, is_runnable: impl FnOnce() -> bool) -> Duration {
    let gone = gone.min(LAP);
    match spent {
        Some(spent) if is_runnable() => spent.min(gone),
        // An unknown time counts as elapsed time.
        Some(_) | None => gone,
    }
}

/// Splits a `stat` line: the name in parentheses, which may contain any characters, the state, and the remaining
/// fields.
fn fields(stat: &str) -> Option<(&str, &str, std::str::SplitAsciiWhitespace<'_>)> {
    let (before, fields) = stat.rsplit_once(')')?;
    let name = before.split_once('(').map_or("", |(_, name)| name);
    let mut fields = fields.split_ascii_whitespace();
    Some((name, fields.next()?, fields))
}

/// Returns the sum of utime and stime, fields 14 and 15; the state is field 3.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, _, mut fields) = fields(stat)?;
    let number = |field: Option<&str>| field.and_then(|field| field.parse::<u64>().ok());
    number(fields.nth(10))?.checked_add(number(fields.next())?)
}

/// Directories of a process's threads.
fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut paths: Vec<_> = tasks.filter_map(|task| Some(task.ok()?.path())).collect();
    paths.sort();
    paths.truncate(THREADS);
    paths
}

/// Returns the threads of a process.
pub(crate) fn threads(pid: u32) -> Vec<Thread> {
    tasks(pid).iter().filter_map(|path| thread(path)).collect()
}

fn thread(path: &Path) -> Option<Thread> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (name, state, _) = fields(&stat)?;
    let wchan = fs::read_to_string(path.join("wchan")).unwrap_or_default();
    let wchan =
        if wchan.is_empty() || wchan == "0" { String::new() } else { format!(", in {wchan} of the host's kernel") };
    let id = path.file_name()?.to_string_lossy().into_owned();
    let line = format!("thread {id} ({name}) {}{wchan}", state_name(state));
    Some(Thread { line, is_stopped: matches!(state, "T" | "t") })
}

/// Name of a state in proc(5), field 3 of `stat`.
fn state_name(state: &str) -> &str {
    match state {
        "R" => "is running",
        "S" => "is sleeping",
        "D" => "is in uninterruptible sleep",
        "T" => "is stopped by a signal",
        "t" => "is stopped by a tracer",
        "Z" => "is a zombie",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ScheduledTime, cpu_time, fields, is_runnable, scheduled_time, threads, ticks_of};

    #[test]
    fn times_are_found_after_any_name() {
        let stat = "19103 (CPU ) 0/TCG) S 1 2 3 4 5 6 7 8 9 10 250 30 0 0 20 0 4 0";
        assert_eq!(ticks_of(stat), Some(280));
        let (name, state, _) = fields(stat).expect("all there");
        assert_eq!((name, state), ("CPU ) 0/TCG", "S"));
        assert_eq!(ticks_of("19103 (x) S 1"), None);
    }

    #[test]
    fn this_process_runs_and_has_used_time() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_some());
        let threads = threads(pid);
        assert!(!threads.is_empty() && !threads.iter().all(|thread| thread.is_stopped), "{threads:?}");
        // The test itself is running.
        assert!(is_runnable(pid));
    }

    #[test]
    fn a_stalled_process_has_had_no_more_time_than_it_used() {
        let ms = Duration::from_millis;
        for (gone, spent, is_runnable, wanted) in [
            (ms(50), Some(ms(0)), false, ms(50)),
            (ms(50), Some(ms(10)), false, ms(50)),
            (ms(50), Some(ms(10)), true, ms(10)),
            (ms(50), Some(ms(0)), true, ms(0)),
            // Two threads were running.
            (ms(50), Some(ms(100)), true, ms(50)),
            // The host was stalled for three seconds.
            (ms(3000), Some(ms(0)), false, super::LAP),
            (ms(50), None, true, ms(50)),
        ] {
            assert_eq!(scheduled_time(gone, spent, || is_runnable), wanted, "{gone:?} {spent:?} {is_runnable}");
        }
        assert!(ScheduledTime::new(std::process::id()).lap() <= super::LAP);
    }
}

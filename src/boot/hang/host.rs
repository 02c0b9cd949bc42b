//! QEMU's own process, as the host's kernel tells it: how much processor time it has used, what its threads wait for.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// What times are counted in there: `USER_HZ`, which is 100 on all but one architecture (`asm-generic/param.h`).
const TICK: Duration = Duration::from_millis(10);
/// Threads that are told of.
const THREADS: usize = 64;

/// Processor time that the process of this thread has used since it began; `None` where that cannot be told.
///
/// `/proc/TID/stat` tells the whole process's, whichever of its threads is named (`fs/proc/array.c`).
pub fn cpu_time(thread: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    ticks_of(&stat).map(|ticks| TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))
}

/// utime and stime: the 14th and the 15th field, counted behind the name in parentheses, which may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let number = |field: Option<&str>| field.and_then(|field| field.parse::<u64>().ok());
    number(fields.next())?.checked_add(number(fields.next())?)
}

/// A line for each thread of a process: number, state, what it waits for in the kernel.
pub fn threads(pid: u32) -> Vec<String> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut paths: Vec<_> = tasks.filter_map(|task| Some(task.ok()?.path())).collect();
    paths.sort();
    paths.iter().take(THREADS).filter_map(|path| thread(path)).collect()
}

fn thread(path: &Path) -> Option<String> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (before, fields) = stat.rsplit_once(')')?;
    let state = fields.split_ascii_whitespace().next()?;
    let name = before.split_once('(').map_or("", |(_, name)| name);
    let wchan = fs::read_to_string(path.join("wchan")).unwrap_or_default();
    let wchan = if wchan.is_empty() || wchan == "0" { String::new() } else { format!(", in the host's {wchan}") };
    let id = path.file_name()?.to_string_lossy().into_owned();
    Some(format!("thread {id} ({name}) {}{wchan}", state_name(state)))
}

/// proc(5), the third field of `stat`.
fn state_name(state: &str) -> &str {
    match state {
        "R" => "runs",
        "S" => "sleeps",
        "D" => "waits in the host's kernel, uninterruptibly",
        "T" => "is stopped by a signal",
        "t" => "is stopped by a tracer",
        "Z" => "is dead",
        other => other,
    }
}

/// Whether every thread of a process was stopped by a signal or a debugger.
pub fn is_stopped(pid: u32) -> bool {
    let threads = threads(pid);
    !threads.is_empty() && threads.iter().all(|thread| thread.contains(" is stopped by "))
}

#[cfg(test)]
mod tests {
    use super::{cpu_time, is_stopped, threads, ticks_of};

    #[test]
    fn times_stand_behind_a_name_that_may_hold_anything() {
        let stat = "19103 (CPU ) 0/TCG) S 1 2 3 4 5 6 7 8 9 10 250 30 0 0 20 0 4 0";
        assert_eq!(ticks_of(stat), Some(280));
        assert_eq!(ticks_of("19103 (x) S 1"), None);
    }

    #[test]
    fn this_process_runs_and_has_used_time() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_some());
        assert!(!threads(pid).is_empty() && !is_stopped(pid), "{:?}", threads(pid));
    }
}

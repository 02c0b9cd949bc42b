//! QEMU's own process, as the host's kernel tells it: how much processor time it has used, what its threads wait for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What times are counted in there: `USER_HZ`, which is 100 on all but one architecture (`asm-generic/param.h`).
const TICK: Duration = Duration::from_millis(10);
/// Threads that are told of.
const THREADS: usize = 64;
/// Most of the time between two looks that counts: where we ourselves came back later than that, so did QEMU.
const LAP: Duration = Duration::from_millis(200);

/// A thread of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// A line about it: number, state, what it waits for in the kernel.
    pub line: String,
    /// Whether it was stopped by a signal or a debugger.
    pub is_stopped: bool,
}

/// Processor time that the process of this thread has used since it began; `None` where that cannot be told.
///
/// `/proc/TID/stat` tells the whole process's, whichever of its threads is named (`fs/proc/array.c`).
pub fn cpu_time(thread: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    ticks_of(&stat).map(|ticks| TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))
}

/// Whether a thread of this thread's process would use a processor of the host if it had one, or its disk: it runs, waits
/// for its turn, or waits uninterruptibly. Where that cannot be told it would not.
pub fn is_wanting(thread: u32) -> bool {
    tasks(thread).iter().any(|task| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        fields(&stat).is_some_and(|(_, state, _)| matches!(state, "R" | "D"))
    })
}

/// The time that a process has had: what has gone by, less what the host did not give it.
///
/// A host that runs other things beside QEMU, or is a guest itself, may let it stand for seconds; whoever judges QEMU and
/// its guest by how long they are silent must not count those. A thread that wants to run has had the processor time that
/// was used, and one that sleeps has had all that it wanted.
#[derive(Debug)]
pub struct Pace {
    thread: u32,
    at: Instant,
    used: Option<Duration>,
}

impl Pace {
    /// Of this thread's process, from now on.
    pub fn new(thread: u32) -> Self {
        Self { thread, at: Instant::now(), used: cpu_time(thread) }
    }

    /// What it has had since the last time this was asked.
    pub fn lap(&mut self) -> Duration {
        let (now, used) = (Instant::now(), cpu_time(self.thread));
        let gone = now - self.at;
        let spent = used.zip(self.used).map(|(used, before)| used.saturating_sub(before));
        (self.at, self.used) = (now, used);
        had(gone, spent, || is_wanting(self.thread))
    }
}

/// What a process has had of the time that has gone by, in which it has used so much of a processor.
fn had(gone: Duration, spent: Option<Duration>, is_wanting: impl FnOnce() -> bool) -> Duration {
    let gone = gone.min(LAP);
    match spent {
        Some(spent) if is_wanting() => spent.min(gone),
        // What cannot be told is believed of the clock.
        Some(_) | None => gone,
    }
}

/// What stands in a `stat`: the name in parentheses, which may hold anything, the state behind it, and the fields behind that.
fn fields(stat: &str) -> Option<(&str, &str, std::str::SplitAsciiWhitespace<'_>)> {
    let (before, fields) = stat.rsplit_once(')')?;
    let name = before.split_once('(').map_or("", |(_, name)| name);
    let mut fields = fields.split_ascii_whitespace();
    Some((name, fields.next()?, fields))
}

/// utime and stime: the 14th and the 15th field, of which the state is the third.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, _, mut fields) = fields(stat)?;
    let number = |field: Option<&str>| field.and_then(|field| field.parse::<u64>().ok());
    number(fields.nth(10))?.checked_add(number(fields.next())?)
}

/// The directories of a process's threads.
fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut paths: Vec<_> = tasks.filter_map(|task| Some(task.ok()?.path())).collect();
    paths.sort();
    paths.truncate(THREADS);
    paths
}

/// The threads of a process.
pub fn threads(pid: u32) -> Vec<Thread> {
    tasks(pid).iter().filter_map(|path| thread(path)).collect()
}

fn thread(path: &Path) -> Option<Thread> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (name, state, _) = fields(&stat)?;
    let wchan = fs::read_to_string(path.join("wchan")).unwrap_or_default();
    let wchan = if wchan.is_empty() || wchan == "0" { String::new() } else { format!(", in the host's {wchan}") };
    let id = path.file_name()?.to_string_lossy().into_owned();
    let line = format!("thread {id} ({name}) {}{wchan}", state_name(state));
    Some(Thread { line, is_stopped: matches!(state, "T" | "t") })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, cpu_time, fields, had, is_wanting, threads, ticks_of};

    #[test]
    fn times_stand_behind_a_name_that_may_hold_anything() {
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
        // Whoever asks runs.
        assert!(is_wanting(pid));
    }

    #[test]
    fn a_process_that_the_host_lets_stand_has_had_no_more_time_than_it_used() {
        let ms = Duration::from_millis;
        for (gone, spent, is_wanting, wanted) in [
            (ms(50), Some(ms(0)), false, ms(50)),
            (ms(50), Some(ms(10)), false, ms(50)),
            (ms(50), Some(ms(10)), true, ms(10)),
            (ms(50), Some(ms(0)), true, ms(0)),
            // Two threads of it ran.
            (ms(50), Some(ms(100)), true, ms(50)),
            // Nobody ran for three seconds.
            (ms(3000), Some(ms(0)), false, super::LAP),
            (ms(50), None, true, ms(50)),
        ] {
            assert_eq!(had(gone, spent, || is_wanting), wanted, "{gone:?} {spent:?} {is_wanting}");
        }
        let mut pace = Pace::new(std::process::id());
        std::thread::sleep(ms(20));
        assert!(pace.lap() <= super::LAP);
    }
}

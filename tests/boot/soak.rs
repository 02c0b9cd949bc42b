//! Hundreds of warm runs, runs that are killed at random times, and runs with a damaged cache. `make test` runs a few of
//! each, `make soak` many: `BOOTLING_SOAK_RUNS`, `BOOTLING_SOAK_KILLS` and `BOOTLING_SOAK_DAMAGES` set the counts,
//! `BOOTLING_SOAK_SEED` the random seed.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal, kill_process};

use super::cache::OwnCache;
use crate::support::Kernel;
use crate::support::processes::{LIMIT, children, to_pid, wait_for};

/// Number of parallel runs; more than there are processors.
const AT_ONCE: u64 = 3;

/// Returns the number in an environment variable, or `usual`.
fn number(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Prints a line to standard error, visible with `--nocapture`.
fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").expect("standard error is open");
}

/// A reproducible random number generator (splitmix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
        let seed = number("BOOTLING_SOAK_SEED", u64::from(time));
        tell(&format!("BOOTLING_SOAK_SEED={seed}"));
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// One of many runs, with unique input, output and status.
fn one(cache: &OwnCache, number: u64) -> Duration {
    let line = format!("read it; echo \"$it out\"; echo {number} err >&2; exit {}", number % 100);
    let program = cache.program().stdin(format!("{number}\n")).args(["--quiet", "--run", &line]);
    let done = program.done().exits(i32::try_from(number % 100).expect("small"));
    assert_eq!(done.text(), format!("{number} out\n"), "run {number}: {}", done.stderr);
    assert_eq!(done.stderr, format!("{number} err\n"), "run {number}");
    done.took
}

#[test]
fn many_warm_runs_all_succeed() {
    let Some(cache) = OwnCache::new(Kernel::Cloud612, "many_warm_runs_all_succeed") else { return };
    cache.runs();
    let (runs, next, times) = (number("BOOTLING_SOAK_RUNS", 24), AtomicU64::new(0), Mutex::new(Vec::new()));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        break;
                    }
                    let took = one(&cache, number);
                    times.lock().expect("not poisoned").push(took);
                }
            });
        }
    });
    let all = start.elapsed();
    let mut times = times.into_inner().expect("not poisoned");
    times.sort();
    assert_eq!(times.len() as u64, runs);
    let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1000];
    #[expect(clippy::cast_precision_loss, reason = "thousands of runs")]
    let rate = runs as f64 / all.as_secs_f64();
    tell(&format!(
        "{runs} runs, {AT_ONCE} at a time: {:.2} a second; fastest {:?}, median {:?}, 99 of 100 below {:?}, slowest {:?}",
        rate,
        at(0),
        at(500),
        at(990),
        at(1000)
    ));
    // All runs used one snapshot.
    cache.snapshot();
    assert!(cache.unfinished().is_empty(), "{:?}", cache.unfinished());
    assert_eq!(processes_of_cache(cache.path()), Vec::<String>::new());
}

/// Flips a bit of, truncates or removes a random file or tree of the cache, without a change of the times of the last
/// write in half of the cases. Returns a description.
fn damage(cache: &Path, random: &mut Random) -> String {
    let mut pick = |all: &[PathBuf]| all[usize::try_from(random.below(all.len() as u64)).expect("small")].clone();
    let below = |path: &Path, depth| -> Vec<PathBuf> {
        let found = walkdir::WalkDir::new(path).min_depth(1).max_depth(depth).sort_by_file_name().into_iter();
        found.map(|item| item.expect("listed").into_path()).collect()
    };
    let entries = below(cache, 1);
    if entries.is_empty() {
        return "nothing left".to_owned();
    }
    // Most files are modules in one entry, so the entry is chosen first.
    let entry = pick(&entries);
    let inside = below(&entry, usize::MAX);
    let path = if inside.is_empty() { entry } else { pick(&inside) };
    let found = fs::symlink_metadata(&path).expect("exists");
    let keeps_time = random.below(2) == 0;
    let done = match random.below(3) {
        _ if found.is_dir() => {
            fs::remove_dir_all(&path).expect("removed");
            "removed, a tree"
        }
        0 => {
            fs::remove_file(&path).expect("removed");
            "removed"
        }
        1 => {
            let file = File::options().write(true).open(&path).expect("opened");
            file.set_len(random.below(found.len().max(1))).expect("truncated");
            "truncated"
        }
        _ => {
            let file = File::options().read(true).write(true).open(&path).expect("opened");
            let (at, mut byte) = (random.below(found.len().max(1)), [0]);
            let _ = file.read_at(&mut byte, at).expect("read");
            file.write_all_at(&[byte[0] ^ (1 << random.below(8))], at).expect("written");
            "flipped"
        }
    };
    if keeps_time && let Ok(file) = File::options().write(true).open(&path) {
        file.set_modified(found.modified().expect("a time")).expect("set");
    }
    format!("{} {done}{}", path.display(), if keeps_time { ", same time" } else { "" })
}

#[test]
fn random_damage_to_the_cache_loses_no_run() {
    /// Number of damages before each run.
    const EACH: u64 = 5;
    let Some(cache) = OwnCache::new(Kernel::Cloud612, "random_damage_to_the_cache_loses_no_run") else { return };
    let line = "read it; echo \"$it $(cat /sys/module/dm_mod/initstate)\"; exit 7";
    let run = |said: &[String]| {
        let program = cache.program().stdin("in\n").args(["--kmod", "dm_mod", "--run", line]);
        let done = program.done();
        let is_right = done.status == Some(7) && done.text() == "in live\n";
        assert!(is_right, "{said:#?}\n{:?} {:?}\n{}", done.status, done.text(), done.stderr);
        done.stderr
    };
    run(&[]);
    let mut random = Random::new();
    let (damages, mut retries) = (number("BOOTLING_SOAK_DAMAGES", 60), 0);
    let start = Instant::now();
    for _ in 0..damages.div_ceil(EACH) {
        let said: Vec<String> = (0..EACH).map(|_| damage(cache.path(), &mut random)).collect();
        retries += u32::from(run(&said).contains("making an entry of the cache again"));
    }
    tell(&format!("{damages} damages, 0 runs lost, {retries} retries, {:?}", start.elapsed()));
    assert_eq!(processes_of_cache(cache.path()), Vec::<String>::new());
}

/// Returns the processes with this cache in their environment: bootling and QEMU.
fn processes_of_cache(cache: &Path) -> Vec<String> {
    let mark = format!("BOOTLING_CACHE_DIR={}", cache.display());
    let processes = fs::read_dir("/proc").expect("/proc is mounted").filter_map(Result::ok);
    let ours = processes.filter_map(|process| {
        let environment = fs::read(process.path().join("environ")).ok()?;
        let is_ours = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
        let command = fs::read(process.path().join("cmdline")).ok()?;
        // A zombie process has neither.
        is_ours.then(|| format!("{}: {}", process.path().display(), String::from_utf8_lossy(&command)))
    });
    ours.collect()
}

#[test]
fn killed_runs_leave_nothing_behind() {
    let test = "killed_runs_leave_nothing_behind";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    cache.runs();
    let mut random = Random::new();
    let scratch = crate::support::program::scratch();
    let files = || fs::read_dir(scratch.path()).expect("exists").count();
    let mut endings = std::collections::BTreeMap::new();
    for kill in 0..number("BOOTLING_SOAK_KILLS", 10) {
        let (victim, name) =
            [("bootling", Signal::KILL), ("bootling", Signal::TERM), ("bootling", Signal::INT), ("QEMU", Signal::KILL)]
                [usize::try_from(random.below(4)).expect("small")];
        let moment = Duration::from_micros(random.below(900_000));
        let program = cache.program().env("TMPDIR", scratch.path()).args(["--quiet", "--run", "sleep 0.1; exit 7"]);
        let running = program.start();
        thread::sleep(moment);
        let pid = match victim {
            "QEMU" => children(running.pid(), "qemu-system").pop(),
            _ => Some(running.pid()),
        };
        // The run may have ended.
        let hit = pid.is_some_and(|pid| kill_process(to_pid(pid), name).is_ok());
        let what = format!("kill {kill}: {name:?} to {victim} after {moment:?}");
        let done = running.done();
        let expected = match (victim, name, done.status) {
            (_, _, Some(7)) => true,
            _ if !hit => false,
            // QEMU was killed after the first message from the guest, or while the snapshot was remade.
            ("QEMU", _, Some(118)) => true,
            (_, Signal::KILL, None) => done.signal == Some(9),
            // Before bootling installs its handler, signals have their default action.
            (_, Signal::TERM, status) => status == Some(143) || done.signal == Some(15),
            (_, Signal::INT, status) => status == Some(130) || done.signal == Some(2),
            _ => false,
        };
        assert!(expected, "{what}: status {:?}, signal {:?}\n{}", done.status, done.signal, done.stderr);
        *endings.entry((victim, format!("{name:?}"), done.status, done.signal)).or_insert(0) += 1;
        wait_for(&format!("processes to be gone, {what}"), LIMIT, || {
            processes_of_cache(cache.path()).is_empty().then_some(())
        });
        assert_eq!(files(), 0, "{what}: temporary files left");
        one(&cache, kill);
    }
    tell(&format!("{endings:#?}"));
    // Unfinished entries are left for the next run to remove; all other entries are complete.
    let (age, said) = cache.runs();
    assert!(age > 0.0, "{said}");
    cache.snapshot();
    tell(&format!("unfinished entries left: {}", cache.unfinished().len()));
}

//! State inside restored guests: unique random numbers, clocks, timers, and private memory.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cache::OwnCache;
use crate::support::{Kernel, Program};

/// Returns the output of a shell line in a restored guest.
#[track_caller]
fn says(test: &str, kernel: Kernel, options: &[&str], line: &str) -> Option<String> {
    let done = Program::run(kernel, test)?.args(["--warm", "--quiet"]).args(options).args(["--run", line]).done();
    Some(done.exits(0).text())
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

#[test]
fn restored_guests_have_different_random_numbers() {
    let test = "restored_guests_have_different_random_numbers";
    // The pool through both devices and in the kernel (uuid); the boot ID; AT_RANDOM (type 25), the source of stack
    // canaries; the stack address of a new process; the names of temporary files.
    let line = "od -An -tx8 -N16 -w16 /dev/urandom; od -An -tx8 -N16 -w16 /dev/random; cat /proc/sys/kernel/random/uuid; \
        cat /proc/sys/kernel/random/boot_id; od -An -tx8 -w16 /proc/self/auxv | grep '^ 0*19 '; \
        grep -e stack /proc/self/maps; mktemp";
    for (kernel, options) in
        [(Kernel::Generic61, &[][..]), (Kernel::Cloud612, &[]), (Kernel::Cloud612, &["--smp", "2"])]
    {
        let mut seen = HashSet::new();
        for _ in 0..3 {
            let Some(said) = says(test, kernel, options, line) else { return };
            assert_eq!(said.lines().count(), 7, "{said}");
            for drawn in said.lines() {
                assert!(seen.insert(drawn.to_owned()), "{kernel:?} {options:?}: {drawn} came twice: {said}");
            }
        }
    }
}

#[test]
fn clocks_are_correct_and_timers_run() {
    let test = "clocks_are_correct_and_timers_run";
    let line = "date +%s; cat /sys/class/rtc/rtc0/since_epoch; cut -d' ' -f1 /proc/uptime; \
        sleep 2; date +%s; cut -d' ' -f1 /proc/uptime; awk '/^cpu /{print 1}' /proc/stat; sleep 0.01; echo";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        // Let a new snapshot age, so that a stopped clock is detected.
        let Some(program) = Program::run(kernel, test) else { return };
        let (done, verdict) = program.args(["--warm", "--quiet"]).json(["--", "true"]);
        done.exits(0);
        let age = verdict["snapshot_age_ms"].as_f64().expect("an age");
        std::thread::sleep(Duration::from_secs_f64((3000.0 - age).max(0.0) / 1000.0));
        let before = now();
        let Some(said) = says(test, kernel, &[], line) else { return };
        let after = now();
        let numbers: Vec<f64> = said.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [date, rtc, uptime, later, grown, _] = numbers[..] else { panic!("{said}") };
        // `date` truncates to whole seconds.
        for (what, clock) in [("date", date), ("rtc", rtc)] {
            assert!(clock > before - 2.0 && clock < after, "{kernel:?} {what} {clock}: {before} to {after}");
        }
        assert!(later - date >= 1.0 && later <= after, "{kernel:?}: {said}");
        let slept = grown - uptime;
        assert!((1.9..after - before + 0.1).contains(&slept), "{kernel:?}: slept {slept} s");
        assert!(uptime > 0.5 && uptime < 300.0, "{kernel:?}: up for {uptime} s");
    }
}

#[test]
fn a_restored_guest_has_the_same_environment_as_a_cold_guest() {
    let test = "a_restored_guest_has_the_same_environment";
    // None of this may depend on the time or on how the guest was started.
    let line = "ip addr show lo | grep -o 'inet6* [^ ]*'; nc -l -p 7 </dev/null & \
        until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':0007 [0-9A-F:]* 0A '; do :; done; \
        echo through | nc -w 3 127.0.0.1 7; wait; hostname; id; pwd; umask; env | sort; stat -c '%A %u %g %n' / /dev /tmp /proc /sys /run; \
        ls / /dev; grep -v -e cpu_cap /proc/mounts; cat /proc/cmdline; ulimit -a; cat /proc/1/comm; \
        ls -l /proc/self/fd | sed 's/.*[0-9] //; s/[0-9][0-9]*]//'; cat /proc/sys/kernel/printk; readlink /proc/self/ns/mnt; \
        grep -e Sig -e Cap -e Groups /proc/self/status; cat /proc/self/oom_score_adj; nproc";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        let mut texts = Vec::new();
        for how in ["--warm=no", "--warm", "--warm"] {
            let Some(program) = Program::run(kernel, test) else { return };
            let done = program.args([how, "--quiet", "--env", "MINE=1", "--run", line]).done();
            texts.push(done.exits(0).text());
        }
        assert!(texts[0].contains("MINE=1") && texts[0].contains("inet 127.0.0.1/8"), "{}", texts[0]);
        for warm in &texts[1..] {
            similar(&texts[0], warm);
        }
    }
}

/// Compares two listings, except for limits that the kernel derives from the free memory at boot, which depends on the
/// size of the initrd.
#[track_caller]
fn similar(cold: &str, warm: &str) {
    let bare = |text: &str| {
        let lines = text.lines().filter(|line| !["SigQ", "(-i)", "(-u)"].iter().any(|limit| line.contains(limit)));
        let words = |line: &str| {
            let words =
                line.split([' ', ',']).filter(|word| !word.starts_with("size=") && !word.starts_with("nr_inodes="));
            words.collect::<Vec<_>>().join(" ")
        };
        lines.map(words).collect::<Vec<_>>().join("\n")
    };
    let (cold, warm) = (bare(cold), bare(warm));
    let different: Vec<_> = cold.lines().zip(warm.lines()).filter(|(cold, warm)| cold != warm).collect();
    assert!(different.is_empty(), "cold and warm: {different:#?}");
    assert_eq!(cold.lines().count(), warm.lines().count(), "cold {cold}\nwarm {warm}");
}

#[test]
fn a_guest_that_overwrites_its_memory_leaves_the_snapshot_unchanged() {
    let test = "a_guest_that_overwrites_its_memory";
    let Some(cache) = OwnCache::new(Kernel::Cloud612, test) else { return };
    let run = |line: &str| cache.program().args(["--memory", "384", "--quiet", "--run", line]).done();
    run("exit 0").exits(0);
    let snapshot = cache.snapshot();
    let digest = || {
        let sums = std::process::Command::new("sha256sum").args(["ram", "state"]).current_dir(&snapshot).output();
        String::from_utf8(sums.expect("coreutils").stdout).expect("ASCII")
    };
    let before = digest();
    // Fill all free memory until the guest runs out of it.
    let done = run("mount -t tmpfs -o size=100% none /mnt || mkdir -p /mnt && mount -t tmpfs -o size=100% none /mnt; \
        yes scribble | dd of=/mnt/all bs=1M 2>/dev/null; echo survived");
    assert!(
        done.status.is_some_and(|status| [0, 120, 122, 137].contains(&status)),
        "{:?} {}",
        done.status,
        done.stderr
    );
    let done = run("head -c 600000000 /dev/zero | tail -n 1 | wc -c; exit ${PIPESTATUS:-77}").exits(77);
    assert_eq!(done.text(), "0\n");
    assert_eq!(digest(), before);
    assert_eq!(run("echo fine").exits(0).text(), "fine\n");
    assert_eq!(cache.snapshot(), snapshot);
}

/// Creates files that are hard to unpack into a running guest: files below mount points, hard links across mount
/// points, and special modes.
fn plant(tree: &std::path::Path) -> Vec<String> {
    let write = |name: &str, bytes: &[u8]| {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().expect("below the tree")).expect("writable directory");
        fs::write(path, bytes).expect("writable directory");
    };
    for name in ["dev/mine", "proc/mine", "run/mine", "etc/passwd", "tmp/deep/mine", "many/first"] {
        write(name, name.as_bytes());
    }
    for name in ["many/second", "many/third"] {
        fs::hard_link(tree.join("many/first"), tree.join(name)).expect("writable directory");
    }
    fs::set_permissions(tree.join("tmp/deep"), fs::Permissions::from_mode(0o700)).expect("writable directory");
    fs::set_permissions(tree.join("run/mine"), fs::Permissions::from_mode(0o6755)).expect("writable directory");
    let copies = [
        ("dev/mine", "/dev/mine"),
        ("proc/mine", "/proc/mine"),
        ("run/mine", "/run/mine"),
        ("etc/passwd", "/etc/passwd"),
        ("tmp", "/tmp"),
        // Hard links of one file on both sides of mount points.
        ("many/first", "/dev/first"),
        ("many/second", "/tmp/second"),
        ("many/third", "/usr/third"),
        ("many", "/many"),
    ];
    let options =
        copies.iter().flat_map(|(from, to)| ["--copy".to_owned(), format!("{}={to}", tree.join(from).display())]);
    options.collect()
}

#[test]
fn a_payload_is_unpacked_like_an_initrd() {
    let test = "a_payload_is_unpacked_like_an_initrd";
    let dir = crate::support::program::scratch();
    let copies = plant(dir.path());
    // Except for the times of directories (their creation) and link counts (which include hidden names).
    let line = "find / -xdev ! -path '/proc/*' | sort | while read -r name; do stat -c '%A %u %g %t %T %N' \"$name\"; \
        done | grep -v -e /usr/bin -e \\.bootling -e /init; find / -xdev -type f ! -path '/.bootling/*' ! -name init -exec \
        sha256sum {} + | sort; find / -xdev -type f -exec stat -c '%Y %n' {} + | sort | grep -v bootling; \
        grep -e rootfs -e tmpfs /proc/mounts; ls /dev/mine /proc/mine /dev/first 2>&1; stat -c %i /tmp/second /usr/third /many/* | uniq | wc -l";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        for options in [&copies[..], &[]] {
            let mut texts = Vec::new();
            for how in ["--warm=no", "--warm"] {
                let Some(program) = Program::run(kernel, test) else { return };
                texts.push(program.args([how, "--quiet"]).args(options).args(["--run", line]).done());
            }
            assert_eq!(texts[0].status, texts[1].status, "{}\n{}", texts[0].stderr, texts[1].stderr);
            assert!(texts[0].stdout.len() > 200, "{}", texts[0].stderr);
            similar(&texts[0].text(), &texts[1].text());
        }
    }
}

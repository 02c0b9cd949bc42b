//! The documented uses of make-tiny-image, with `bootling run` and with its own command line under plain QEMU.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::support::program::{build_dir, scratch};
use crate::support::{Kernel, Program, qemu};

/// Builds an image with bootling, called as `make-tiny-image`.
fn tiny_image(dir: &tempfile::TempDir, args: &[&str]) -> PathBuf {
    let name = dir.path().join("make-tiny-image");
    symlink(env!("CARGO_BIN_EXE_bootling"), &name).expect("writable directory");
    let output = Command::new(&name)
        .args(args)
        .current_dir(dir.path())
        .env("BOOTLING_CACHE_DIR", build_dir().join("test-cache"))
        .output()
        .expect("bootling was built");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    dir.path().join("tiny-initrd.img")
}

#[test]
fn use_1_the_default_image_is_a_shell_that_powers_off_at_end_of_file() {
    let test = "use_1_the_default_image_is_a_shell";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        if kernel.or_skip(test).is_none() {
            return;
        }
        let dir = scratch();
        let image = tiny_image(&dir, &[]);
        let booted = qemu::boot(kernel, &image, &[], "# ", b"echo $((6 * 7)) forty-two; tty\n\x04");
        let booted = booted.powered_off_after("42 forty-two");
        // A terminal of the guest, not the console device, which has no job control.
        assert!(booted.console.contains("/dev/ttyS0"), "{}", booted.console);
        assert!(!booted.console.contains("job control turned off"), "{}", booted.console);
    }
}

#[test]
fn use_2_poweroff_is_run() {
    if Kernel::Cloud612.or_skip("use_2_poweroff_is_run").is_none() {
        return;
    }
    let dir = scratch();
    let image = tiny_image(&dir, &["--run", "poweroff"]);
    assert_eq!(qemu::boot(Kernel::Cloud612, &image, &[], "", b"").status, Some(0));

    let Some(program) = Program::run(Kernel::Generic61, "use_2_poweroff_is_run") else { return };
    program.args(["--run", "poweroff"]).done().exits(122);
}

#[test]
fn use_3_cpu_flags_are_read() {
    let flags = |cpu: &str| {
        let program = Program::run(Kernel::Cloud612, "use_3_cpu_flags_are_read")?;
        let done = program.args(["--accel", "tcg", "--cpu", cpu, "--run", "cat /proc/cpuinfo"]).done().exits(0);
        let text = done.text();
        let line = text.lines().find(|line| line.starts_with("flags"))?;
        Some(line.split_whitespace().skip(2).map(str::to_owned).collect::<Vec<_>>())
    };
    let Some(max) = flags("max") else { return };
    let Some(less) = flags("max,-rdrand,-aes") else { return };
    let lost: Vec<_> = max.iter().filter(|flag| !less.contains(flag)).map(String::as_str).collect();
    assert!(lost.contains(&"rdrand") && lost.contains(&"aes"), "{lost:?}");
    assert!(less.iter().any(|flag| flag == "sse2"), "{less:?}");
}

#[test]
fn use_4_hwloc_runs_in_the_guest() {
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        let Some(program) = Program::run(kernel, "use_4_hwloc_runs_in_the_guest") else { return };
        let line = "hwloc-info && lstopo-no-graphics --of console";
        let options = ["--smp", "2,sockets=2", "--with", "hwloc-info", "--with", "lstopo-no-graphics"];
        let text = program.args(options).args(["--run", line]).done().exits(0).text();
        assert!(text.contains("2 PU (type"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("Machine (")), "{text}");
        assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("Package L#")).count(), 2, "{text}");
    }
}

#[test]
fn use_5_a_copied_file_is_read_in_the_guest() {
    let host = fs::read("/etc/os-release").expect("os-release exists");
    let test = "use_5_a_copied_file_is_read_in_the_guest";
    let Some(program) = Program::run(Kernel::Generic61, test) else { return };
    let done = program.args(["--copy", "/etc/os-release", "--copy", "/etc/os-release=/there/it is"]);
    let done = done.args(["--run", "cat '/there/it is' && cmp /etc/os-release '/there/it is'"]).done().exits(0);
    assert_eq!(done.stdout, host);

    let dir = scratch();
    let image = tiny_image(&dir, &["--copy", "/etc/os-release=/told", "--run", "cat /told"]);
    let name = String::from_utf8_lossy(&host).lines().next().expect("not empty").to_owned();
    qemu::boot(Kernel::Generic61, &image, &[], "", b"").powered_off_after(&name);
}

#[test]
fn use_6_an_expired_watchdog_has_its_own_exit_code() {
    for kernel in [Kernel::Generic61, Kernel::Generic612] {
        let test = "use_6_an_expired_watchdog";
        let Some(program) = Program::run(kernel, test) else { return };
        let dir = scratch();
        let log = dir.path().join("trace.log");
        let modules = ["--kmod", "lpc_ich", "--kmod", "iTCO_wdt heartbeat=4", "--kmod", "i2c_i801"];
        let machine = ["--machine", "q35", "--qemu-arg=-global", "--qemu-arg=ICH9-LPC.noreboot=false"];
        let action = ["--qemu-arg=-watchdog-action", "--qemu-arg=poweroff"];
        let trace = ["--qemu-arg=-trace", "--qemu-arg=tco_timer_*", "--qemu-arg=-D", "--qemu-arg"];
        let program = program.args(modules).args(machine).args(action).args(trace).arg(&log);
        let (done, verdict) = program.json(["--run", "echo armed; exec 3>/dev/watchdog0; echo >&3; sleep 1000"]);
        let done = done.exits(123);
        assert_eq!(done.text(), "armed\n", "{kernel:?}");
        done.says("watchdog");
        assert_eq!(verdict["exit_code"], 123, "{verdict}");
        let traced = fs::read_to_string(&log).expect("QEMU wrote the trace");
        assert!(traced.contains("tco_timer_expired"), "{traced}");
    }
}

#[test]
fn two_modules_that_share_a_dependency_are_loaded_in_order() {
    // make-tiny-image fails here. Some of these modules share dependencies; all must be loaded at the end.
    let Some(program) = Program::run(Kernel::Generic612, "two_modules_that_share_a_dependency") else { return };
    let modules = ["--kmod", "i2c_i801", "--kmod", "i2c_piix4", "--kmod", "dm_mod", "--kmod", "loop max_loop=3"];
    let line = "cd /sys/module && ls -d i2c_i801 i2c_piix4 i2c_smbus dm_mod && cat loop/parameters/max_loop";
    let text = program.args(modules).args(["--run", line]).done().exits(0).text();
    assert_eq!(text, "dm_mod\ni2c_i801\ni2c_piix4\ni2c_smbus\n3\n");
}

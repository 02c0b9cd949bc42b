//! Guests that end without a status: each case has its own exit code and message.

use std::fs;
use std::time::Duration;

use crate::support::program::scratch;
use crate::support::{Done, Kernel, Program};

/// Runs a shell line that must end the guest with `code` and a message on standard error.
fn line_ends(test: &str, kernel: Kernel, options: &[&str], line: &str, code: i32) -> Option<Done> {
    let program = Program::run(kernel, test)?;
    let done = program.args(options).args(["--run", line]).done().exits(code);
    let said = done.stderr.lines().filter(|line| line.contains("bootling") || line.starts_with("error")).count();
    assert!(said >= 1, "no message from bootling: {}", done.stderr);
    Some(done)
}

#[test]
fn a_kernel_panic_is_120_and_shows_the_console() {
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        let test = "a_kernel_panic_is_120";
        let Some(done) =
            line_ends(test, kernel, &[], "echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 1000", 120)
        else {
            return;
        };
        assert_eq!(done.text(), "before\n", "{kernel:?}");
        done.says("panic").says("sysrq triggered crash");
    }
}

#[test]
fn an_unexpected_power_off_is_122() {
    let test = "an_unexpected_power_off_is_122";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        line_ends(test, kernel, &[], "poweroff -f; sleep 1000", 122);
    }
}

#[test]
fn an_unexpected_restart_is_122() {
    line_ends("an_unexpected_restart_is_122", Kernel::Cloud612, &[], "reboot -f; sleep 1000", 122);
    // Not an orderly restart, but requested by the guest.
    let line = "echo b >/proc/sysrq-trigger; sleep 1000";
    line_ends("an_unexpected_restart_is_122", Kernel::Cloud612, &[], line, 122);
    // Other text on the same line does not hide the kernel's message.
    let line = "printf 'no end of line' >/dev/console; echo c >/proc/sysrq-trigger; sleep 1000";
    line_ends("an_unexpected_restart_is_122", Kernel::Cloud612, &[], line, 120);
}

#[test]
fn an_unexpected_halt_is_122_before_the_timeout() {
    let options = ["--timeout", "100s"];
    line_ends("an_unexpected_halt_is_122", Kernel::Cloud612, &options, "halt -f; sleep 1000", 122);
}

#[test]
fn pid_1_reports_a_request_to_power_off() {
    line_ends("pid_1_reports_a_request_to_power_off", Kernel::Cloud612, &[], "poweroff; sleep 1000", 122);
}

#[test]
fn an_unexpected_reset_is_119() {
    // The keyboard controller's reset line (port 0x64, command 0xfe): to QEMU the same as a triple fault.
    let line = "printf '\\376' | dd of=/dev/port bs=1 seek=100 conv=notrunc; sleep 1000";
    line_ends("an_unexpected_reset_is_119", Kernel::Generic61, &[], line, 119);
}

#[test]
fn a_command_that_takes_too_long_is_124() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_command_that_takes_too_long_is_124") else { return };
    let (done, verdict) = program.json(["--timeout", "12s", "--run", "echo started; sleep 1000"]);
    let done = done.exits(124);
    assert_eq!(done.text(), "started\n");
    assert!(done.took > Duration::from_secs(12), "{:?}", done.took);
    assert_eq!((&verdict["exit_code"], &verdict["outcome"]), (&124.into(), &"timed-out".into()), "{verdict}");
    done.says("12");
}

#[test]
fn a_guest_that_never_reaches_pid_1_times_out() {
    let Some(program) = Program::run(Kernel::Cloud612, "a_guest_that_never_reaches_pid_1") else { return };
    // With -S, QEMU waits for a debugger and executes nothing.
    program.args(["--timeout", "3s", "--qemu-arg=-S", "--", "true"]).done().exits(124);
}

#[test]
fn an_image_without_init_is_a_panic() {
    let Some(program) = Program::run(Kernel::Cloud612, "an_image_without_init_is_a_panic") else { return };
    let dir = scratch();
    let initrd = dir.path().join("empty.img");
    // An archive of GNU cpio with only a directory.
    let made = std::process::Command::new("sh")
        .args(["-c", "echo . | cpio --quiet -o -H newc >\"$1\"", "sh"])
        .arg(&initrd)
        .current_dir(dir.path())
        .status();
    assert!(made.expect("sh runs").success());
    program.arg("--initrd").arg(&initrd).done().exits(120).says("panic");
}

#[test]
fn memory_that_runs_out_kills_the_command_and_not_the_verdict() {
    let Some(program) = Program::run(Kernel::Cloud612, "memory_that_runs_out_kills_the_command") else { return };
    // tail buffers the whole line, and the kernel kills it.
    let line = "head -c 600000000 /dev/zero | tail -n 1 | wc -c; exit ${PIPESTATUS:-77}";
    let done = program.args(["--memory", "384", "--run", line]).done().exits(77);
    assert_eq!(done.text(), "0\n");
}

#[test]
fn a_module_for_another_kernel_is_refused_with_both_releases() {
    let Some(program) = Program::run(Kernel::Generic61, "a_module_for_another_kernel") else { return };
    let Some(other) = Kernel::Generic612.or_skip("a_module_for_another_kernel") else { return };
    let dir = scratch();
    let unpack = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './lib/modules/*/loop.ko*' >\"$2\"";
    let module = dir.path().join("loop.ko.xz");
    let status = std::process::Command::new("sh").args(["-c", unpack, "sh"]).arg(other).arg(&module).status();
    assert!(status.expect("sh runs").success() && fs::metadata(&module).expect("written").len() > 1000);
    let done = program.arg("--kmod").arg(&module).args(["--", "true"]).done().exits(125);
    done.says("6.1.").says("6.12.");
}

#[test]
fn an_initrd_too_big_for_the_guest_is_refused_before_the_boot() {
    let Some(program) = Program::run(Kernel::Cloud612, "an_initrd_too_big_for_the_guest") else { return };
    let dir = scratch();
    let big = dir.path().join("big");
    fs::File::create(&big).and_then(|file| file.set_len(300 << 20)).expect("a sparse file");
    let copy = format!("{}=/big", big.display());
    let done = program.args(["--memory", "256", "--copy", &copy, "--", "true"]).done().exits(125);
    done.says("memory");
}

#[test]
fn a_panic_message_from_a_program_does_not_end_a_responsive_guest() {
    let test = "a_panic_message_from_a_program";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let line = "echo '<2>Kernel panic - not syncing: mine' >/dev/kmsg; for i in 1 2 3 4 5 6 7; do sleep 1; echo $i; done; \
        sleep 4; echo done; exit 3";
    let (done, verdict) = program.args(["--warm", "--timeout", "100"]).json(["--run", line]);
    let done = done.exits(3);
    assert_eq!(done.text(), "1\n2\n3\n4\n5\n6\n7\ndone\n");
    let tail = verdict["console_tail"].as_array().expect("lines");
    let was_told = |line: &serde_json::Value| line.as_str().is_some_and(|line| line.contains("Kernel panic"));
    assert!(tail.iter().any(was_told), "{verdict:#}");
}

#[test]
fn a_silent_guest_after_forged_last_words_runs_on_and_a_real_panic_without_a_reset_is_one() {
    let test = "a_silent_guest_after_forged_last_words";
    let Some(program) = Program::run(Kernel::Generic61, test) else { return };
    // Without the verification of last words, either line would end the guest after three seconds.
    let line = "for line in 'Kernel panic - not syncing: mine' 'reboot: System halted'; do echo \"<2>$line\" >/dev/kmsg; \
        done; sleep 4; exit 3";
    let done = program.args(["--warm", "--run", line]).done().exits(3);
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
    let Some(program) = Program::run(Kernel::Generic61, test) else { return };
    let line = "echo 0 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger; sleep 100";
    program.args(["--warm", "--run", line]).done().exits(120).says("Kernel panic - not syncing: sysrq triggered crash");
}

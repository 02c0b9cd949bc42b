//! Standard input, output and error: byte-exact, separate, complete, and never delaying the end of a run.

use std::fs::OpenOptions;

use crate::support::{Kernel, Program};

/// Returns pseudorandom bytes: they contain every value and do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn standard_input_reaches_the_command() {
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        let Some(program) = Program::run(kernel, "standard_input_reaches_the_command") else { return };
        let done = program.args(["--", "wc", "-c"]).stdin("hi\n").done().exits(0);
        assert_eq!(done.text(), "3\n", "{kernel:?}");
    }
}

#[test]
fn output_and_error_are_separate_and_byte_exact() {
    let Some(program) = Program::run(Kernel::Cloud612, "output_and_error_are_separate_and_byte_exact") else { return };
    let input = noise(200_000);
    let line = "cat >/tmp/x; cat /tmp/x; printf 'err\\377\\000\\n' >&2; head -c 3 /tmp/x; exit 9";
    let done = program.args(["--run", line]).stdin(input.clone()).done().exits(9);
    let mut expected = input.clone();
    expected.extend_from_slice(&input[..3]);
    assert!(done.stdout == expected, "{} bytes, expected {}", done.stdout.len(), expected.len());
    assert!(done.stderr.ends_with("err\u{fffd}\0\n"), "{:?}", done.stderr);
}

#[test]
fn output_right_before_the_end_is_not_lost() {
    let Some(program) = Program::run(Kernel::Generic61, "output_right_before_the_end_is_not_lost") else { return };
    let done = program.args(["--run", "head -c 100000 /dev/zero; echo end; kill -9 $$"]).done().exits(137);
    assert_eq!(done.stdout.len(), 100_004);
    assert!(done.stdout.ends_with(b"end\n"));
}

#[test]
fn children_that_outlive_the_command_do_not_delay_the_end() {
    let test = "children_that_outlive_the_command";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let done = program.args(["--run", "sleep 1000 & echo started"]).done().exits(0);
    assert_eq!(done.text(), "started\n");
}

#[test]
fn unread_input_does_not_delay_the_end() {
    let Some(program) = Program::run(Kernel::Cloud612, "unread_input") else { return };
    let done = program.args(["--", "true"]).stdin(vec![b'x'; 32 << 20]).done().exits(0);
    assert!(done.peak_kib < 200 << 10, "bootling used {} KiB", done.peak_kib);
}

#[test]
fn large_output_arrives_complete_and_is_not_buffered() {
    let Some(program) = Program::run(Kernel::Cloud612, "large_output_arrives_complete") else { return };
    let done = program.args(["--run", "head -c 40000000 /dev/zero | tr '\\0' x; echo >&2 done"]).done().exits(0);
    assert_eq!(done.stdout.len(), 40_000_000);
    assert!(done.stdout.iter().all(|byte| *byte == b'x'));
    // Kernel and initrd are mapped, not read: the remaining memory must not grow with the output.
    assert!(done.peak_kib < 200 << 10, "bootling used {} KiB", done.peak_kib);
}

#[test]
fn large_console_output_neither_blocks_bootling_nor_fills_its_memory() {
    let Some(program) = Program::run(Kernel::Cloud612, "large_console_output") else { return };
    let line = "head -c 1000000 /dev/zero | tr '\\0' '\\n' >/dev/console; echo end >/dev/console; exit 5";
    let (done, verdict) = program.json(["--run", line]);
    let done = done.exits(5);
    assert!(done.peak_kib < 200 << 10, "bootling used {} KiB", done.peak_kib);
    let tail = verdict["console_tail"].as_array().expect("its last lines").len();
    assert!((1..2000).contains(&tail), "{tail} lines");
}

#[test]
fn output_that_cannot_be_written_is_not_success() {
    let Some(program) = Program::run(Kernel::Cloud612, "output_that_cannot_be_written") else { return };
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full exists");
    let done = program.args(["--", "echo", "hi"]).output_to(full);
    assert_eq!(done.status, Some(125), "{}", done.stderr);
    done.says("standard output");
}

#[test]
fn output_to_a_closed_standard_output_is_not_success() {
    let test = "output_to_a_closed_standard_output_is_not_success";
    let Some(kernel) = Kernel::Cloud612.or_skip(test) else { return };
    // Runs the program without a standard output.
    let run = |words: &[&str]| {
        let program = Program::of("/bin/sh").args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_bootling")]);
        program.args(["run", "--kernel"]).arg(&kernel).args(words).done()
    };
    run(&["--", "echo", "hi"]).exits(125).says("standard output: it is closed");
    run(&["--json", "-", "--", "true"]).exits(125).says("error: failed to write to standard output: it is closed\n");
    run(&["--print-command", "--", "true"])
        .exits(125)
        .says("error: failed to write to standard output: it is closed\n");
    // Nothing is lost of a command without output, and a guest's failure has precedence.
    run(&["--", "true"]).exits(0);
    run(&["--json", "-", "--run", "exit 7"]).exits(7).says("standard output: it is closed");
}

#[test]
fn the_console_is_written_to_the_given_file() {
    let Some(program) = Program::run(Kernel::Cloud612, "the_console_is_written_to_the_given_file") else { return };
    let dir = crate::support::program::scratch();
    let file = dir.path().join("console");
    let done = program.args(["--warm=no", "--console"]).arg(&file).args(["--", "echo", "hi"]).done().exits(0);
    assert_eq!(done.text(), "hi\n");
    let console = std::fs::read(&file).expect("written");
    assert!(String::from_utf8_lossy(&console).contains("Linux version"), "{} bytes", console.len());
}

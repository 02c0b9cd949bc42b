//! Standard output that is full or closed: each verb that loses its output fails, with one sentence on standard error.

#[path = "support/case.rs"]
mod case;

use std::fs::{self, OpenOptions};
use std::process::{Command, Output, Stdio};

use case::Case;

/// An EFI program with sections, from systemd-boot-efi.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// How standard output is unusable.
#[derive(Debug, Clone, Copy)]
enum Broken {
    Full,
    Closed,
    /// Standard input is closed, too: its number is the lowest one that is free.
    BothClosed,
}

const ALL: [Broken; 3] = [Broken::Full, Broken::Closed, Broken::BothClosed];

/// Runs bootling with such an output, under any name.
fn run(case: &Case, broken: Broken, name: &str, words: &[&str]) -> Output {
    let program = case.path().join(name);
    if !program.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bootling"), &program).expect("a link");
    }
    let close = match broken {
        Broken::Full => "exec \"$0\" \"$@\"",
        Broken::Closed => "exec \"$0\" \"$@\" >&-",
        Broken::BothClosed => "exec \"$0\" \"$@\" <&- >&-",
    };
    let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let mut command = Command::new("sh");
    command.args(["-c", close]).arg(&program).args(words).current_dir(case.path()).env("HOME", case.path());
    command.env_remove("BOOTLING_KERNEL").env("XDG_CACHE_HOME", case.path().join("cache"));
    command.stdin(Stdio::null()).stdout(full).stderr(Stdio::piped()).output().expect("sh runs")
}

/// The sentence for such an output.
fn sentence(broken: Broken) -> &'static str {
    match broken {
        Broken::Full => "error: failed to write to standard output: No space left on device (os error 28)\n",
        Broken::Closed | Broken::BothClosed => "error: failed to write to standard output: it is closed\n",
    }
}

#[test]
fn every_verb_that_loses_its_output_fails_with_one_sentence() {
    let case = Case::new();
    case.write("m.toml", "[kernels]\na = \"k\"\n[[test]]\nname = \"t\"\nrun = \"true\"\n");
    case.write("k", "");
    case.bootling(&["build", "-o", "x.img"]).assert().success();
    case.bootling(&["disk", "--efi", STUB, "-o", "x.raw"]).assert().success();
    let verbs: [&[&str]; 22] = [
        &["--help"],
        &["--version"],
        &["run", "--help"],
        &["doctor"],
        &["doctor", "--json"],
        &["completions", "bash"],
        &["digest", STUB],
        &["digest", "--json", STUB],
        &["ls", STUB],
        &["ls", "--json", STUB],
        &["ls", "x.img"],
        &["ls", "--json", "x.img"],
        &["ls", "x.raw"],
        &["cat", STUB, ".sbat"],
        &["cat", "x.img", "init"],
        &["cat", "x.raw", "EFI/BOOT/BOOTX64.EFI"],
        &["check", "x.raw"],
        &["check", "--json", "x.raw"],
        &["check", "--rules"],
        &["build", "--dry-run"],
        &["test", "m.toml", "--list"],
        &["test", "m.toml", "--list", "--json"],
    ];
    let names = verbs.iter().map(|words| ("bootling", *words));
    let names = names.chain([("byebyebios", &["--help"][..]), ("make-tiny-image", &["--help"][..])]);
    let mut wrong = Vec::new();
    for (name, words) in names {
        for broken in ALL {
            let done = run(&case, broken, name, words);
            let said = String::from_utf8_lossy(&done.stderr);
            if done.status.code() != Some(125) || said != sentence(broken) {
                wrong.push(format!("{name} {words:?} {broken:?}: {}: {said}", done.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_verb_without_output_needs_no_standard_output() {
    let case = Case::new();
    for broken in ALL {
        let done = run(&case, broken, "bootling", &["build", "-o", "x.img"]);
        assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""), "{broken:?}");
        fs::remove_file(case.path().join("x.img")).expect("an image");
    }
}

#[test]
fn an_image_on_a_closed_standard_output_is_refused() {
    let case = Case::new();
    for broken in [Broken::Closed, Broken::BothClosed] {
        let done = run(&case, broken, "bootling", &["build", "-o", "-"]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(125), "{said}");
        assert_eq!(said, "error: failed to write standard output: it is closed\n");
    }
}

#[test]
fn a_closed_standard_error_changes_no_exit_code() {
    let case = Case::new();
    for (line, code) in [("build -o x.img", 0), ("ls x.img >/dev/null", 0), ("ls missing", 125), ("ls", 2)] {
        let line = format!("{} {line} 2>&-", env!("CARGO_BIN_EXE_bootling"));
        let done = Command::new("sh").args(["-c", &line]).current_dir(case.path()).output().expect("sh runs");
        assert_eq!(done.status.code(), Some(code), "{line}");
        assert_eq!(String::from_utf8_lossy(&done.stderr), "", "{line}");
    }
}

//! `bootling boot` with hand-made disks, whose behavior is known to the byte.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;

use super::firmware::uefi_or_skip;
use crate::support::processes::{qemu_of, signal, wait_until_gone, wait_until_idle};
use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Action of a boot sector after its message.
#[derive(Clone, Copy)]
enum Then {
    Halt,
    PowerOff,
    Reset,
}

/// Builds a boot sector that prints `words` through int 10h, one character at a time.
fn boot_sector(words: &str, then: Then) -> Vec<u8> {
    let tail: &[u8] = match then {
        Then::Halt => &[],
        // PM1a control register of q35 as mapped by SeaBIOS: sleep type 0, sleep enable.
        Then::PowerOff => b"\xba\x04\x06\xb8\x00\x20\xef",
        // The keyboard controller's reset line.
        Then::Reset => b"\xb0\xfe\xe6\x64",
    };
    let words_at = 0x7c00_u16 + 27 + u16::try_from(tail.len()).expect("short");
    let mut sector = b"\x31\xc0\x8e\xd8\x8e\xc0\xfc\xbe".to_vec(); // xor ax, ax; mov ds, ax; mov es, ax; cld; mov si,
    sector.extend(words_at.to_le_bytes());
    // 1: lodsb; test al, al; jz 2f; mov ah, 0x0e; mov bx, 7; int 0x10; jmp 1b
    sector.extend(b"\xac\x84\xc0\x74\x09\xb4\x0e\xbb\x07\x00\xcd\x10\xeb\xf2");
    sector.extend(tail);
    sector.extend(b"\xf4\xeb\xfd"); // hlt; jmp to it
    sector.extend(words.as_bytes());
    sector.resize(510, 0);
    sector.extend(b"\x55\xaa");
    sector
}

/// Creates a 1 MiB disk with that boot sector.
fn disk(dir: &Path, words: &str, then: Then) -> PathBuf {
    let path = dir.join("disk.img");
    let mut image = boot_sector(words, then);
    image.resize(1 << 20, 0);
    fs::write(&path, image).expect("written");
    path
}

/// Compresses `image` into a file next to it.
fn packed(image: &Path) -> PathBuf {
    let packed = image.with_extension("img.gz");
    let mut gzip = GzEncoder::new(File::create(&packed).expect("created"), Compression::fast());
    gzip.write_all(&fs::read(image).expect("readable")).and_then(|()| gzip.try_finish()).expect("written");
    packed
}

/// Returns `bootling boot --bios`; prints the reason and returns `None` if no guest can be booted.
fn bios(test: &str, image: &Path) -> Option<Program> {
    Kernel::Cloud612.or_skip(test)?;
    Some(Program::new().args(["boot", "--bios"]).arg(image))
}

#[test]
fn a_matching_console_ends_the_boot_with_success_and_leaves_the_image_unchanged() {
    let dir = scratch();
    let image = disk(dir.path(), "first words\r\nthen the last\r\n", Then::Halt);
    let Some(program) = bios("a_matching_console", &image) else { return };
    let before = fs::read(&image).expect("readable");
    let log = dir.path().join("console.log");
    let (done, verdict) = program.arg("--log").arg(&log).json(["--expect", "first w", "--expect", "the (last|least)$"]);
    let done = done.exits(0).says("through BIOS");
    assert!(done.text().contains("first words"), "{}", done.text());
    assert_eq!(fs::read(log).expect("written"), done.stdout, "the log contains the console");
    assert!(fs::read(&image).expect("readable") == before);
    assert_eq!((&verdict["outcome"], &verdict["line"]), (&"expected".into(), &"then the last".into()), "{verdict}");
    assert_eq!((&verdict["disk"], &verdict["format"]), (&"virtio".into(), &"raw".into()));
    assert!(verdict["expected_ms"].as_f64() <= verdict["duration_ms"].as_f64(), "{verdict}");
}

#[test]
fn a_screen_is_read_as_text_and_saved_as_a_picture() {
    let dir = scratch();
    let image = disk(dir.path(), "UEFI is required\r\n \x01 \u{1}\r\n", Then::Halt);
    let Some(program) = bios("a_screen_is_read_as_text", &image) else { return };
    let picture = dir.path().join("screen.png");
    let done = program
        .args(["--quiet", "--vga", "std", "--disk", "nvme", "--expect-screen", "(?m)^UEFI is required$"])
        .args(["--screen-text", "--screenshot"])
        .arg(&picture)
        .done()
        .exits(0);
    assert!(done.text().contains("\nUEFI is required\n ☺ ☺\n"), "{}", done.text());
    let png = fs::read(picture).expect("written");
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"));
    let size = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((size(16), size(20)), (720, 400), "a text screen of 80 columns and 25 rows, 9 pixels wide and 16 high");
    assert!(png.len() > 500);
}

#[test]
fn a_rejected_line_is_1_and_a_missing_line_is_124_or_122() {
    let dir = scratch();
    let image = disk(dir.path(), "this is a mistake, sadly\r\nthe end\r\n", Then::Halt);
    let test = "a_rejected_line_is_1";
    let Some(program) = bios(test, &image) else { return };
    let (done, verdict) = program.json(["--expect", "never", "--reject", "mistake"]);
    done.exits(1).says("--reject").says("this is a mistake, sadly").says("not matched: never");
    assert_eq!((&verdict["outcome"], &verdict["missing"][0]), (&"rejected".into(), &"never".into()), "{verdict}");

    // On a host with other load, the guest may print its text only after the first limit.
    for limit in ["5s", "100s"] {
        let Some(program) = bios(test, &image) else { return };
        let options = ["--quiet", "--expect", "the end", "--expect-screen", "never", "--timeout", limit];
        let done = program.args(options).done().exits(124).says("not matched: never");
        assert!(done.stdout.is_empty(), "{}", done.text());
        if limit == "100s" || done.stderr.contains("  | the end") {
            done.says("  | the end");
            break;
        }
    }

    let image = disk(dir.path(), "good bye\r\n", Then::PowerOff);
    let Some(program) = bios(test, &image) else { return };
    program.args(["--expect", "never"]).done().exits(122).says("powered off before").says("not matched: never");
}

#[test]
fn kernel_problems_on_the_console_are_reported_and_fail_the_boot_on_request() {
    let dir = scratch();
    let test = "kernel_problems_on_the_console";
    // The first line looks like a boot loader's: it has no kernel timestamp.
    let words = "WARNING: no kernel\r\n[    1.000000] BUG: Bad page state in process sh\r\n[    2.0";
    let image = disk(dir.path(), words, Then::PowerOff);
    let told = "bootling: the kernel has a bug: BUG: Bad page state in process sh";
    let cases: [(&[&str], i32, Option<&str>); 4] = [
        (&[], 0, Some(told)),
        (&["--health", "fail"], 121, Some("the run succeeded, but the kernel has a bug: BUG: Bad page")),
        (&["--health", "fail", "--health-allow", "Bad page"], 0, None),
        (&["--health", "fail", "--expect", "Bad page", "--quiet"], 121, Some("the kernel has a bug")),
    ];
    for (options, status, words) in cases {
        let Some(program) = bios(test, &image) else { return };
        let (done, verdict) = program.json(options);
        let done = done.exits(status);
        assert_eq!(verdict["outcome"] == "unhealthy", status == 121, "{verdict:#}");
        assert_eq!(words.is_some(), verdict["health"][0]["kind"] == "other-bug", "{verdict:#}");
        assert_eq!(verdict["health"][1], serde_json::Value::Null);
        match words {
            Some(words) => assert!(done.stderr.contains(words), "{}", done.stderr),
            None => assert!(!done.stderr.contains("BUG"), "{}", done.stderr),
        }
    }
}

#[test]
fn a_power_off_before_the_first_qmp_command_is_detected() {
    let dir = scratch();
    let image = disk(dir.path(), "good bye\r\n", Then::PowerOff);
    let Some(program) = bios("a_power_off_before_the_first_qmp_command", &image) else { return };
    let running = program.args(["--timeout", "100s"]).start();
    // Simulates a busy host.
    let qemu = qemu_of(running.pid());
    signal(running.pid(), Signal::STOP);
    wait_until_idle(qemu);
    signal(running.pid(), Signal::CONT);
    running.done().exits(0);
}

#[test]
fn a_guest_that_powers_off_is_0_without_expectations() {
    let dir = scratch();
    let image = disk(dir.path(), "good bye\r\n", Then::PowerOff);
    let test = "a_guest_that_powers_off_is_0";
    let Some(_) = bios(test, &image) else { return };
    let packed = packed(&image);
    // The last screen is still readable.
    let Some(program) = bios(test, &packed) else { return };
    let (done, verdict) = program.json(["--screen-text", "--reject", "panic"]);
    assert!(done.exits(0).text().ends_with("\ngood bye\n"));
    assert_eq!(verdict["outcome"], "powered-off");
    // An unwritable log is not success. If the verdict goes to standard output, nothing else does.
    let Some(program) = bios(test, &image) else { return };
    let done = program.args(["--json", "-", "--screen-text", "--log", "/dev/full"]).done().exits(125);
    let verdict: serde_json::Value = serde_json::from_slice(&done.stdout).expect("only JSON");
    assert_eq!(verdict["exit_code"], 125);
    // SeaBIOS delays the last characters of a line, and the machine is gone by then.
    assert!(done.stderr.matches("good b").count() >= 2, "{}", done.stderr);
    let Some(program) = bios(test, &image) else { return };
    let (_, verdict) = program.json(["--quiet"]);
    assert_eq!(verdict["outcome"], "powered-off");

    let image = disk(dir.path(), "again\r\n", Then::Reset);
    let Some(program) = bios(test, &image) else { return };
    let (done, verdict) = program.json(["--restarts", "1"]);
    done.exits(122).says("--restarts");
    // On a busy host the guest restarts again before bootling checks.
    assert!(verdict["restarts"].as_u64() >= Some(2), "{verdict}");
}

#[test]
fn an_iso_image_is_attached_as_a_dvd() {
    let dir = scratch();
    let sector = 2048;
    let mut iso = vec![0; 400 << 10];
    let mut put = |at: usize, bytes: &[u8]| iso[at..at + bytes.len()].copy_from_slice(bytes);
    // ECMA-119: primary volume descriptor, El Torito boot record, set terminator; then the El Torito 1.0 catalog and
    // image.
    put(16 * sector, b"\x01CD001\x01");
    put(17 * sector, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17 * sector + 0x47, &19_u32.to_le_bytes());
    put(18 * sector, b"\xffCD001\x01");
    put(19 * sector, &[1]);
    put(19 * sector + 0x1c, b"\xaa\x55\x55\xaa");
    put(19 * sector + 0x20, b"\x88\0\0\0\0\0\x04\0");
    put(19 * sector + 0x28, &20_u32.to_le_bytes());
    put(20 * sector, &boot_sector("from a disc\r\n", Then::Halt));
    let image = dir.path().join("disc.iso");
    fs::write(&image, iso).expect("written");
    let Some(program) = bios("an_iso_image_is_attached_as_a_dvd", &image) else { return };
    let (done, verdict) = program.json(["--expect", "from a disc"]);
    done.exits(0);
    assert_eq!(verdict["disk"], "cd");
}

#[test]
fn a_disk_is_booted_by_uefi_and_console_colors_are_ignored() {
    let test = "a_disk_is_booted_by_uefi";
    let (Some(_), Some(())) = (Kernel::Cloud612.or_skip(test), uefi_or_skip(test)) else { return };
    let dir = scratch();
    let image = disk(dir.path(), "no EFI program here\r\n", Then::Halt);
    let picture = dir.path().join("shell.png");
    let program = Program::new().args(["boot", "--sector-size", "4096", "--screenshot"]).arg(&picture).arg(&image);
    let (done, verdict) = program.json(["--screen-text", "--expect", "^UEFI Interactive Shell v"]);
    done.exits(0).says("through UEFI (").says("graphics mode");
    assert_eq!((&verdict["firmware"], &verdict["sector_size"]), (&"uefi".into(), &4096.into()), "{verdict}");
    assert!(fs::read(picture).expect("written").starts_with(b"\x89PNG"));
}

#[test]
fn a_boot_ends_on_a_signal_and_on_a_closed_pipe_without_leftovers() {
    let dir = scratch();
    let image = disk(dir.path(), "waiting\r\n", Then::Halt);
    let test = "a_boot_ends_on_a_signal";
    let Some(program) = bios(test, &image) else { return };
    let picture = dir.path().join("screen.png");
    let running = program.arg("--screenshot").arg(&picture).start();
    let qemu = qemu_of(running.pid());
    signal(running.pid(), Signal::TERM);
    running.done().exits(143).says("interrupted (SIGTERM)");
    wait_until_gone(qemu);

    let Some(program) = bios(test, &image) else { return };
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    drop(read);
    let done = program.output_to(File::from(write));
    assert_eq!(done.status, Some(141), "{}", done.stderr);
    wait_until_gone(qemu);
}

#[test]
fn an_image_that_cannot_be_booted_is_refused_before_qemu_starts() {
    let dir = scratch();
    let image = disk(dir.path(), "x", Then::Halt);
    let boot = |options: &[&str], image: &Path| Program::new().arg("boot").args(options).arg(image).done();
    boot(&[], &dir.path().join("missing")).exits(125).says("missing: No such file");
    boot(&[], Path::new("/dev/null")).exits(125).says("neither a file nor a block device");
    boot(&["--expect", "("], &image).exits(2).says("unclosed group");
    boot(&["--vga", "none", "--screen-text"], &image).exits(125).says("--vga none");
    boot(&["--disk", "ide", "--sector-size", "4096"], &image).exits(125).says("--disk virtio");
    boot(&["--firmware", "none"], &image).exits(125).says("a disk cannot boot without firmware");
    boot(&["--screenshot", "/no/such/dir.png"], &image).exits(125).says("/no/such/dir.png");
    let overlay = dir.path().join("overlay.qcow2");
    let mut head = b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0\0\0\0\x0b".to_vec();
    head.resize(4096, 0);
    fs::write(&overlay, &head).expect("written");
    let (done, verdict) = Program::new().arg("boot").arg(&overlay).json(Vec::<&str>::new());
    done.exits(125).says("--allow-backing");
    assert_eq!(verdict["outcome"], "could-not-test");
    boot(&["--print-command"], &packed(&image))
        .exits(125)
        .says("does not support compressed images")
        .says("decompress it first");
    head[8..20].fill(0);
    fs::write(&overlay, &head).expect("written");
    let Some(_) = Kernel::Cloud612.or_skip("an_image_that_cannot_be_booted") else { return };
    // Problems that only QEMU detects are reported with QEMU's message.
    boot(&["--bios"], &overlay).exits(125).says("QEMU failed to start");
}

#[test]
fn console_output_is_not_lost_while_bootling_is_stopped() {
    let dir = scratch();
    // SeaBIOS's output plus this text exceeds the 277 bytes that a socket buffers when written byte by byte.
    let line = format!("{}\r\n", "0123456789".repeat(6));
    let words = format!("{}the end\r\n", line.repeat(6));
    let image = disk(dir.path(), &words, Then::Halt);
    let Some(program) = bios("console_output_is_not_lost", &image) else { return };
    let running = program.args(["--expect", "the end"]).start();
    let qemu = qemu_of(running.pid());
    signal(running.pid(), Signal::STOP);
    wait_until_idle(qemu);
    signal(running.pid(), Signal::CONT);
    let done = running.done().exits(0);
    assert_eq!(done.text().matches(line.trim_end()).count(), 6, "{}", done.text());
}

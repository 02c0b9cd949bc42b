//! Boot sector code under SeaBIOS in plain QEMU: each console shows the message exactly once, and each ending works.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bootling::format::bootsector::Message;
use bootling::format::bootsector::Preset;
use bootling::format::bootsector::Then;
use bootling::format::bootsector::{boot_code, is_shown_twice};
use bootling::format::mbr::Mbr;
use serde_json::{Value, json};

use crate::support::kernels::qemu_or_skip;
use crate::support::processes::wait_for;
use crate::support::program::scratch;

/// Time limit for SeaBIOS, which takes seconds on a slow host under TCG.
const LIMIT: Duration = Duration::from_secs(90);
/// Disk size in bytes; only the first sector is read.
const DISK: usize = 1 << 20;
/// Address and size of the VGA text memory in mode 3: 80 x 25 cells of a character and an attribute.
const TEXT_MEMORY: (u64, usize) = (0xB8000, 80 * 25 * 2);

/// A QEMU process with one disk, booted by SeaBIOS; killed on drop.
struct Vm {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Drop for Vm {
    fn drop(&mut self) {
        // QEMU may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Vm {
    fn start(message: &Message, then: Then, options: &[&str]) -> Self {
        let dir = scratch();
        let code = boot_code(message, then).expect("presets fit");
        let mut disk = vec![0; DISK];
        disk[..512].copy_from_slice(&Mbr::protective(code, DISK as u64, None).encode());
        let image = dir.path().join("disk.raw");
        fs::write(&image, disk).expect("writable directory");
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg", "-m", "32", "-net", "none", "-no-reboot", "-qmp", "stdio"])
            .arg("-serial")
            .arg(format!("file:{}", dir.path().join("serial").display()))
            .arg("-drive")
            .arg(format!("file={},format=raw,snapshot=on", image.display()))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("qemu_or_skip checked for QEMU");
        let ask = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut vm = Self { child, ask, answers, dir };
        vm.command(&json!({ "execute": "qmp_capabilities" }));
        vm
    }

    /// Reads QMP messages up to the first one that `wanted` accepts.
    fn wait_for_message(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).expect("QMP messages are text");
            assert_ne!(read, 0, "QEMU closed the QMP connection");
            let said = serde_json::from_str(&line).expect("QMP messages are JSON");
            if wanted(&said) {
                return said;
            }
        }
    }

    fn command(&mut self, command: &Value) {
        writeln!(self.ask, "{command}").expect("open QMP connection");
        let answer = self.wait_for_message(|said| said.get("return").is_some() || said.get("error").is_some());
        assert!(answer.get("error").is_none(), "{command}: {answer}");
    }

    /// Waits for `needle` on the serial port and returns all output without SeaBIOS's escape sequences.
    fn serial(&self, needle: &str) -> String {
        wait_for(&format!("{needle:?} on the serial port"), LIMIT, || {
            let said = fs::read(self.dir.path().join("serial")).unwrap_or_default();
            let said = String::from_utf8(said).expect("all of it is ASCII");
            let said =
                ["\x1bc", "\x1b[?7l", "\x1b[2J", "\x1b[0m"].iter().fold(said, |text, code| text.replace(code, ""));
            said.contains(needle).then_some(said)
        })
    }

    /// Returns the text on the screen without trailing blanks and trailing empty rows.
    fn screen(&mut self) -> String {
        let file: PathBuf = self.dir.path().join("screen");
        let (from, size) = TEXT_MEMORY;
        let arguments = json!({ "val": from, "size": size, "filename": file });
        self.command(&json!({ "execute": "pmemsave", "arguments": arguments }));
        let memory = fs::read(file).expect("saved memory");
        let characters: Vec<char> = memory.iter().step_by(2).copied().map(char::from).collect();
        let rows = characters.chunks(80).map(|row| row.iter().collect::<String>().trim_end().to_owned() + "\n");
        rows.collect::<String>().trim_end().to_owned() + "\n"
    }
}

/// Returns the message as the stub prints it: an empty row, then the rows of the message.
fn shown(message: &Message, line_end: &str) -> String {
    format!("\n{}", message.text()).replace('\n', line_end)
}

#[test]
fn the_message_is_shown_once_on_the_screen_and_once_on_the_serial_port() {
    if !qemu_or_skip("the_message_is_shown_once") {
        return;
    }
    let message = Message::standard();
    let mut vm = Vm::start(&message, Then::Halt, &["-display", "none", "-vga", "std"]);
    assert_eq!(vm.serial("OVMF).\r\n"), shown(&message, "\r\n"));
    assert_eq!(vm.screen(), shown(&message, "\n"));
}

#[test]
fn text_that_does_not_compress_is_shown_by_the_smaller_code() {
    if !qemu_or_skip("text_that_does_not_compress") {
        return;
    }
    let mut seed = 1_u32;
    let mut character = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (seed >> 16) as u8 % 94)
    };
    let text: String = (0..6).map(|_| (0..65).map(|_| character()).collect::<String>() + "\n").collect();
    let message = Message::parse(format!("{text}STOP\n").as_bytes()).expect("it is a message");
    assert!(is_shown_twice(&boot_code(&message, Then::Halt).expect("it fits")));
    let mut vm = Vm::start(&message, Then::Halt, &["-display", "none", "-vga", "std"]);
    assert_eq!(vm.serial("STOP\r\n"), message.text().replace('\n', "\r\n"));
    let screen = vm.screen();
    assert!(screen.ends_with(&message.text()), "{screen}");
}

#[test]
fn with_a_mirrored_screen_the_message_is_shown_once_and_the_next_device_is_tried() {
    if !qemu_or_skip("with_a_mirrored_screen") {
        return;
    }
    let message = Preset::Libvirt.message();
    let vm = Vm::start(&message, Then::NextDevice, &["-nographic", "-machine", "q35"]);
    // SeaBIOS omits a carriage return if the cursor is in the first column.
    let serial = vm.serial("No bootable device.").replace('\r', "");
    let (before, after) = serial.split_once(&shown(&message, "\n")).unwrap_or_else(|| panic!("{serial:?}"));
    assert!(before.contains("Booting from Hard Disk"), "{before:?}");
    assert!(!after.contains("UEFI"), "{after:?}");
}

#[test]
fn without_a_screen_the_message_is_on_the_serial_port_and_a_key_restarts() {
    if !qemu_or_skip("without_a_screen") {
        return;
    }
    let message = Preset::Proxmox.message();
    let mut vm = Vm::start(&message, Then::KeyReboot, &["-display", "none", "-vga", "none"]);
    let prompt = "\r\n  Press any key to restart.\r\n";
    assert_eq!(vm.serial(prompt), format!("{}{prompt}", shown(&message, "\r\n")));
    let keys = json!({ "keys": [{ "type": "qcode", "data": "spc" }] });
    vm.command(&json!({ "execute": "send-key", "arguments": keys }));
    let end = vm.wait_for_message(|said| said["event"] == "SHUTDOWN");
    assert_eq!((&end["data"]["guest"], &end["data"]["reason"]), (&true.into(), &"guest-reset".into()), "{end}");
}

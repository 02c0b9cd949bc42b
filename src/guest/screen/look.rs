//! One read of the screen: QMP commands, and the evaluation of their replies, step by step.
//!
//! Memory and pictures are transferred through a file that QEMU has inherited, so that no path must be accessible in
//! its sandbox or to its user. The adapter's memory is read only in text mode: in graphics modes a read changes the
//! adapter's latches.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use serde_json::{Value, json};

use super::picture::Picture;
use super::registers::{CRTC, GRAPHICS, Layout, MEMORY, MEMORY_BYTES, READ, Registers};
use crate::qemu::qmp;

/// Maximum size of a picture file, in bytes.
const PICTURE_BYTES: u64 = 512 << 20;

/// Requested screen content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Text.
    pub text: bool,
    /// Picture.
    pub picture: bool,
}

impl Wanted {
    /// Returns true if nothing is requested.
    pub const fn is_nothing(self) -> bool {
        !self.text && !self.picture
    }
}

/// Screen content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Rows of text; `None` if the screen is not in text mode.
    pub text: Option<Vec<String>>,
    /// Picture, or the reason why there is none.
    pub picture: Option<Result<Picture, String>>,
}

/// Progress of a screen read.
#[derive(Debug)]
pub enum Progress {
    /// Further replies are expected.
    Waiting,
    /// Further commands for the monitor.
    Orders(Vec<u8>),
    /// Finished.
    Done(Seen),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Registers,
    Memory(Layout),
    Picture,
    Resume,
}

/// Screen read in progress.
#[derive(Debug)]
pub struct Look {
    wanted: Wanted,
    /// Path under which QEMU opens the inherited file.
    scratch: String,
    /// True if the machine was running, and must be resumed.
    running: bool,
    step: Step,
    /// ID of the first command of this step.
    first: u64,
    count: usize,
    replies: Vec<Result<Value, String>>,
    /// Previous values of the index registers.
    indices: Option<[u8; 2]>,
    seen: Seen,
}

impl Look {
    /// Starts a screen read; its commands are numbered from `first`.
    pub fn begin(wanted: Wanted, scratch: String, running: bool, first: u64) -> (Self, Vec<u8>) {
        let step = if wanted.text { Step::Registers } else { Step::Picture };
        let (replies, seen) = (Vec::new(), Seen::default());
        let mut look = Self { wanted, scratch, running, step, first, count: 0, replies, indices: None, seen };
        let mut orders = Vec::new();
        if running {
            orders.push(("stop", json!({})));
        }
        orders.extend(look.orders());
        let bytes = look.send(&orders);
        (look, bytes)
    }

    /// ID that follows those used so far.
    pub fn next(&self) -> u64 {
        self.first + self.count as u64
    }

    /// Handles the reply to a command; replies to commands of others are ignored.
    pub fn reply(&mut self, id: u64, reply: Result<Value, String>, scratch: &File) -> io::Result<Progress> {
        if id != self.first + self.replies.len() as u64 {
            return Ok(Progress::Waiting);
        }
        self.replies.push(reply);
        if self.replies.len() < self.count {
            return Ok(Progress::Waiting);
        }
        let replies = std::mem::take(&mut self.replies);
        self.step = match self.step {
            Step::Registers => {
                let values: Vec<u8> =
                    replies.iter().filter_map(|reply| value(reply.as_ref().ok()?.as_str()?)).collect();
                self.indices = values.first_chunk().copied();
                let registers = values.get(2..).and_then(|values| values.try_into().ok()).map(Registers);
                match registers.and_then(Registers::layout) {
                    Some(layout) => Step::Memory(layout),
                    None => self.after_text(),
                }
            }
            Step::Memory(layout) => {
                if matches!(replies.last(), Some(Ok(_))) {
                    let mut memory = vec![0; MEMORY_BYTES];
                    scratch.read_exact_at(&mut memory, 0)?;
                    self.seen.text = Some(layout.rows(&memory));
                }
                self.after_text()
            }
            Step::Picture => {
                self.seen.picture = Some(match replies.last() {
                    Some(Err(why)) => Err(why.clone()),
                    Some(Ok(_)) | None => picture(scratch)?,
                });
                Step::Resume
            }
            Step::Resume => return Ok(Progress::Done(std::mem::take(&mut self.seen))),
        };
        let mut orders: Vec<_> = self.indices.take().into_iter().flat_map(put_back).collect();
        orders.extend(self.orders());
        if orders.is_empty() {
            return Ok(Progress::Done(std::mem::take(&mut self.seen)));
        }
        Ok(Progress::Orders(self.send(&orders)))
    }

    /// Cancels the read; returns the commands that resume the machine if it was running.
    pub fn give_up(&mut self) -> Vec<u8> {
        self.step = Step::Resume;
        let orders = self.orders();
        self.send(&orders)
    }

    fn after_text(&self) -> Step {
        if self.wanted.picture { Step::Picture } else { Step::Resume }
    }

    fn orders(&self) -> Vec<(&'static str, Value)> {
        match self.step {
            Step::Registers => {
                let index = |port: u16| monitor(&format!("i /xb {port:#x}"));
                let mut orders = vec![index(CRTC), index(GRAPHICS)];
                orders.extend(READ.map(|(port, register)| monitor(&format!("i /xb {port:#x}.{register:#x}"))));
                orders
            }
            Step::Memory(_) => {
                let file = json!({"val": MEMORY, "size": MEMORY_BYTES, "filename": self.scratch});
                vec![("pmemsave", file)]
            }
            Step::Picture => vec![("screendump", json!({"filename": self.scratch}))],
            Step::Resume if self.running => vec![("cont", json!({}))],
            Step::Resume => Vec::new(),
        }
    }

    fn send(&mut self, orders: &[(&'static str, Value)]) -> Vec<u8> {
        self.first = self.next();
        self.count = orders.len();
        let numbered = orders.iter().zip(self.first..);
        numbered.flat_map(|((name, arguments), id)| qmp::order(id, name, arguments)).collect()
    }
}

/// Command for QEMU's human monitor.
fn monitor(line: &str) -> (&'static str, Value) {
    ("human-monitor-command", json!({"command-line": line}))
}

/// Commands that restore the index registers.
fn put_back(indices: [u8; 2]) -> [(&'static str, Value); 2] {
    let [crtc, graphics] = indices;
    [(CRTC, crtc), (GRAPHICS, graphics)].map(|(port, index)| monitor(&format!("o /b {port:#x} {index:#x}")))
}

/// Parses the value in `portb[0x03d5] = 0x4f`.
fn value(said: &str) -> Option<u8> {
    let (_, value) = said.trim().rsplit_once("= 0x")?;
    u8::from_str_radix(value, 16).ok()
}

fn picture(scratch: &File) -> io::Result<Result<Picture, String>> {
    let mut file = scratch;
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(PICTURE_BYTES).read_to_end(&mut bytes)?;
    Ok(Picture::from_ppm(&bytes).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{Look, Progress, Registers, Seen, Step, Wanted};
    use crate::guest::screen::registers::MEMORY_BYTES;
    use serde_json::{Value, json};
    use std::fs::File;
    use std::io::Write;

    /// Simulates QEMU: answers each command, and returns all of them.
    fn play(wanted: Wanted, running: bool, miscellaneous: u8, scratch: &File) -> (Vec<String>, Seen) {
        let (mut look, mut orders) = Look::begin(wanted, "/f".to_owned(), running, 7);
        let mut sent = Vec::new();
        for _ in 0..10 {
            let mut next = None;
            for line in String::from_utf8(orders).expect("JSON").lines() {
                let order: Value = serde_json::from_str(line).expect("JSON");
                let line = order["arguments"]["command-line"].as_str();
                let reply = match line {
                    Some("i /xb 0x3ce.0x6") => json!(format!("portb[0x03cf] = {miscellaneous:#04x}\r\n")),
                    Some("i /xb 0x3d4") => json!("portb[0x03d4] = 0x0f\r\n"),
                    Some(read) if read.starts_with('i') => json!(format!("portb[0x03d5] = {:#04x}\r\n", mode_3(read))),
                    Some(_) => json!(""),
                    None => json!({}),
                };
                sent.push(line.or(order["execute"].as_str()).expect("a command").to_owned());
                let id = order["id"].as_u64().expect("a number");
                next = Some(look.reply(id, Ok(reply), scratch).expect("the file is there"));
            }
            orders = match next.expect("commands") {
                Progress::Orders(more) => more,
                Progress::Done(seen) => return (sent, seen),
                Progress::Waiting => panic!("all commands of a step were answered"),
            };
        }
        panic!("it never ends: {sent:?}");
    }

    fn mode_3(read: &str) -> u8 {
        match read.rsplit_once('.').map(|(_, register)| register) {
            Some("0x1" | "0x9") => 0x4f,
            Some("0x7") => 0x1f,
            Some("0x12") => 0x8f,
            Some("0x13") => 0x28,
            _ => 0,
        }
    }

    fn scratch(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn text_is_read_while_the_machine_is_stopped_and_registers_are_restored() {
        let mut memory = vec![0; MEMORY_BYTES];
        memory[..4].copy_from_slice(b"H\x07i\x07");
        let (sent, seen) = play(Wanted { text: true, picture: false }, true, 0x0e, &scratch(&memory));
        assert_eq!(seen.text.expect("text")[0], "Hi");
        assert_eq!(sent.first().map(String::as_str), Some("stop"));
        let ends = ["o /b 0x3d4 0xf", "o /b 0x3ce 0x0", "pmemsave", "cont"];
        assert_eq!(sent[sent.len() - 4..], ends);
    }

    #[test]
    fn graphics_are_not_read_as_text_and_a_stopped_machine_stays_stopped() {
        let dump = b"P6\n1 1\n255\nabc";
        let (sent, seen) = play(Wanted { text: true, picture: true }, false, 0x05, &scratch(dump));
        assert_eq!(seen.text, None);
        assert_eq!(seen.picture.expect("asked for").expect("a picture").width, 1);
        assert!(!sent.iter().any(|order| order == "pmemsave" || order == "cont" || order == "stop"), "{sent:?}");
        assert_eq!(sent.last().map(String::as_str), Some("screendump"));
    }

    #[test]
    fn a_failed_read_does_not_leave_the_machine_stopped() {
        let short = scratch(b"too short");
        for (running, more) in [(true, 1), (false, 0)] {
            let (mut look, _) = Look::begin(Wanted { text: false, picture: true }, String::new(), running, 5);
            let mode_3 = Registers([0x0e, 0x4f, 0x1f, 0x4f, 0, 0, 0x8f, 0x28]);
            look.step = Step::Memory(mode_3.layout().expect("text"));
            let count = look.count as u64;
            let results: Vec<_> = (5..5 + count).map(|id| look.reply(id, Ok(json!({})), &short)).collect();
            assert!(results.last().is_some_and(Result::is_err), "{results:?}");
            let orders = String::from_utf8(look.give_up()).expect("JSON");
            assert_eq!(orders.matches("\"cont\"").count(), more, "{orders}");
            assert_eq!(look.next(), 5 + count + more as u64);
        }
    }

    #[test]
    fn replies_to_other_commands_are_ignored() {
        let file = scratch(b"");
        let (mut look, _) = Look::begin(Wanted { text: true, picture: false }, String::new(), false, 5);
        for id in [0, 4, 6, u64::MAX] {
            assert!(matches!(look.reply(id, Ok(json!({})), &file), Ok(Progress::Waiting)));
        }
        assert_eq!(look.next(), 15);
    }
}

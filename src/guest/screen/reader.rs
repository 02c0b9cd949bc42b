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
use crate::qemu::qmp::Reply;

/// Maximum size of a picture file, in bytes.
const PICTURE_BYTES: u64 = 512 << 20;

/// Requested screen content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScreenRequest {
    /// Text.
    pub text: bool,
    /// Picture.
    pub picture: bool,
}

impl ScreenRequest {
    /// Returns true if nothing is requested.
    pub(crate) const fn is_empty(self) -> bool {
        !self.text && !self.picture
    }
}

/// Screen content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScreenContent {
    /// Rows of text; `None` if the screen is not in text mode.
    pub text: Option<Vec<String>>,
    /// True if text was requested and the screen is in a graphics mode.
    pub is_graphical: bool,
    /// Picture, or the reason why there is none.
    pub picture: Option<Result<Picture, String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Registers,
    Memory(Layout),
    Picture,
    Resume,
}

/// Sends a QMP command, and returns its ID.
pub(crate) type Execute<'a> = dyn FnMut(&str, &Value) -> u64 + 'a;

/// Screen read in progress.
#[derive(Debug)]
pub(crate) struct ScreenReader {
    request: ScreenRequest,
    /// Path under which QEMU opens the inherited file.
    path: String,
    /// True if the machine was running, and must be resumed.
    running: bool,
    step: Step,
    /// IDs of the commands of this step, and their replies. QEMU replies in the order of the commands.
    ids: Vec<u64>,
    replies: Vec<Reply>,
    /// Previous values of the index registers.
    indices: Option<[u8; 2]>,
    content: ScreenContent,
}

impl ScreenReader {
    /// Starts a screen read.
    pub(crate) fn start(request: ScreenRequest, path: String, running: bool, execute: &mut Execute<'_>) -> Self {
        let step = if request.text { Step::Registers } else { Step::Picture };
        let (ids, replies, content) = (Vec::new(), Vec::new(), ScreenContent::default());
        let mut reader = Self { request, path, running, step, ids, replies, indices: None, content };
        if running {
            reader.ids.push(execute("stop", &json!({})));
        }
        reader.send_step(execute);
        reader
    }

    /// Handles the reply to a command; ignores replies to commands of others. Returns the content after the last step.
    pub(crate) fn handle_reply(
        &mut self,
        id: u64,
        reply: Reply,
        file: &File,
        execute: &mut Execute<'_>,
    ) -> io::Result<Option<ScreenContent>> {
        if self.ids.get(self.replies.len()) != Some(&id) {
            return Ok(None);
        }
        self.replies.push(reply);
        if self.replies.len() < self.ids.len() {
            return Ok(None);
        }
        self.ids.clear();
        let replies = std::mem::take(&mut self.replies);
        self.step = match self.step {
            Step::Registers => {
                let values: Vec<u8> =
                    replies.iter().filter_map(|reply| register_value(reply.as_ref().ok()?.as_str()?)).collect();
                self.indices = values.first_chunk().copied();
                let registers = values.get(2..).and_then(|values| values.try_into().ok()).map(Registers);
                self.content.is_graphical = registers.is_some_and(Registers::is_graphical);
                match registers.and_then(Registers::layout) {
                    Some(layout) => Step::Memory(layout),
                    None => self.step_after_text(),
                }
            }
            Step::Memory(layout) => {
                if matches!(replies.last(), Some(Ok(_))) {
                    let mut memory = vec![0; MEMORY_BYTES];
                    file.read_exact_at(&mut memory, 0)?;
                    self.content.text = Some(layout.rows(&memory));
                }
                self.step_after_text()
            }
            Step::Picture => {
                self.content.picture = Some(match replies.last() {
                    Some(Err(why)) => Err(why.clone()),
                    Some(Ok(_)) | None => read_picture(file)?,
                });
                Step::Resume
            }
            Step::Resume => return Ok(Some(std::mem::take(&mut self.content))),
        };
        if let Some([crtc, graphics]) = self.indices.take() {
            // Restore the index registers.
            for (port, index) in [(CRTC, crtc), (GRAPHICS, graphics)] {
                self.ids.push(execute_hmp(&format!("o /b {port:#x} {index:#x}"), execute));
            }
        }
        self.send_step(execute);
        Ok(self.ids.is_empty().then(|| std::mem::take(&mut self.content)))
    }

    /// Cancels the read, and resumes the machine if it was running.
    pub(crate) fn cancel(&mut self, execute: &mut Execute<'_>) {
        self.step = Step::Resume;
        self.send_step(execute);
    }

    fn step_after_text(&self) -> Step {
        if self.request.picture { Step::Picture } else { Step::Resume }
    }

    /// Sends the commands of a step.
    fn send_step(&mut self, execute: &mut Execute<'_>) {
        let path = &self.path;
        match self.step {
            Step::Registers => {
                let index = [CRTC, GRAPHICS].map(|port| format!("i /xb {port:#x}"));
                let values = READ.map(|(port, register)| format!("i /xb {port:#x}.{register:#x}"));
                self.ids.extend(index.iter().chain(&values).map(|line| execute_hmp(line, execute)));
            }
            Step::Memory(_) => {
                let range = json!({"val": MEMORY, "size": MEMORY_BYTES, "filename": path});
                self.ids.push(execute("pmemsave", &range));
            }
            Step::Picture => self.ids.push(execute("screendump", &json!({"filename": path}))),
            Step::Resume if self.running => self.ids.push(execute("cont", &json!({}))),
            Step::Resume => {}
        }
    }
}

/// Sends a command to QEMU's human monitor.
fn execute_hmp(line: &str, execute: &mut Execute<'_>) -> u64 {
    execute("human-monitor-command", &json!({"command-line": line}))
}

/// Parses the value in `portb[0x03d5] = 0x4f`.
fn register_value(line: &str) -> Option<u8> {
    let (_, value) = line.trim().rsplit_once("= 0x")?;
    u8::from_str_radix(value, 16).ok()
}

fn read_picture(mut file: &File) -> io::Result<Result<Picture, String>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(PICTURE_BYTES).read_to_end(&mut bytes)?;
    Ok(Picture::from_ppm(&bytes).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{Registers, ScreenContent, ScreenReader, ScreenRequest, Step};
    use crate::guest::screen::registers::MEMORY_BYTES;
    use serde_json::{Value, json};
    use std::fs::File;
    use std::io::Write;

    /// Commands that were sent, numbered from 7.
    #[derive(Default)]
    struct Sent(Vec<(String, Value)>);

    impl Sent {
        const FIRST: u64 = 7;

        fn execute(&mut self, name: &str, arguments: &Value) -> u64 {
            self.0.push((name.to_owned(), arguments.clone()));
            Self::FIRST + self.0.len() as u64 - 1
        }
    }

    /// Simulates QEMU: answers each command, and returns all of them.
    fn play(request: ScreenRequest, running: bool, miscellaneous: u8, file: &File) -> (Vec<String>, ScreenContent) {
        let mut sent = Sent::default();
        let mut reader = ScreenReader::start(request, "/f".to_owned(), running, &mut |name, arguments| {
            sent.execute(name, arguments)
        });
        let mut names = Vec::new();
        while let Some((name, arguments)) = sent.0.get(names.len()).cloned() {
            let line = arguments["command-line"].as_str();
            let reply = match line {
                Some("i /xb 0x3ce.0x6") => json!(format!("portb[0x03cf] = {miscellaneous:#04x}\r\n")),
                Some("i /xb 0x3d4") => json!("portb[0x03d4] = 0x0f\r\n"),
                Some(read) if read.starts_with('i') => json!(format!("portb[0x03d5] = {:#04x}\r\n", mode_3(read))),
                Some(_) => json!(""),
                None => json!({}),
            };
            let id = Sent::FIRST + names.len() as u64;
            names.push(line.unwrap_or(&name).to_owned());
            let mut execute = |name: &str, arguments: &Value| sent.execute(name, arguments);
            if let Some(content) = reader.handle_reply(id, Ok(reply), file, &mut execute).expect("the file is there") {
                return (names, content);
            }
        }
        panic!("all commands were answered: {names:?}");
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

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        file
    }

    #[test]
    fn text_is_read_while_the_machine_is_stopped_and_registers_are_restored() {
        let mut memory = vec![0; MEMORY_BYTES];
        memory[..4].copy_from_slice(b"H\x07i\x07");
        let (sent, content) = play(ScreenRequest { text: true, picture: false }, true, 0x0e, &file(&memory));
        assert!(!content.is_graphical);
        assert_eq!(content.text.expect("text")[0], "Hi");
        assert_eq!(sent.first().map(String::as_str), Some("stop"));
        let ends = ["o /b 0x3d4 0xf", "o /b 0x3ce 0x0", "pmemsave", "cont"];
        assert_eq!(sent[sent.len() - 4..], ends);
    }

    #[test]
    fn graphics_are_not_read_as_text_and_a_stopped_machine_stays_stopped() {
        let dump = b"P6\n1 1\n255\nabc";
        let (sent, content) = play(ScreenRequest { text: true, picture: true }, false, 0x05, &file(dump));
        assert_eq!((content.text, content.is_graphical), (None, true));
        assert_eq!(content.picture.expect("asked for").expect("a picture").width, 1);
        assert!(!sent.iter().any(|name| name == "pmemsave" || name == "cont" || name == "stop"), "{sent:?}");
        assert_eq!(sent.last().map(String::as_str), Some("screendump"));
    }

    #[test]
    fn a_failed_read_does_not_leave_the_machine_stopped() {
        let short = file(b"too short");
        for (running, more) in [(true, 1), (false, 0)] {
            let mut sent = Sent::default();
            let mut execute = |name: &str, arguments: &Value| sent.execute(name, arguments);
            let request = ScreenRequest { text: false, picture: true };
            let mut reader = ScreenReader::start(request, String::new(), running, &mut execute);
            let mode_3 = Registers([0x0e, 0x4f, 0x1f, 0x4f, 0, 0, 0x8f, 0x28]);
            reader.step = Step::Memory(mode_3.layout().expect("text"));
            let ids = reader.ids.clone();
            let results: Vec<_> =
                ids.iter().map(|id| reader.handle_reply(*id, Ok(json!({})), &short, &mut execute)).collect();
            assert!(results.last().is_some_and(Result::is_err), "{results:?}");
            reader.cancel(&mut execute);
            assert_eq!(sent.0.iter().filter(|(name, _)| name == "cont").count(), more, "{:?}", sent.0);
            assert_eq!(sent.0.len(), ids.len() + more);
        }
    }

    #[test]
    fn replies_to_other_commands_are_ignored() {
        let file = file(b"");
        let mut sent = Sent::default();
        let mut execute = |name: &str, arguments: &Value| sent.execute(name, arguments);
        let request = ScreenRequest { text: true, picture: false };
        let mut reader = ScreenReader::start(request, String::new(), false, &mut execute);
        for id in [0, 6, 8, u64::MAX] {
            assert!(matches!(reader.handle_reply(id, Ok(json!({})), &file, &mut execute), Ok(None)));
        }
        assert_eq!(sent.0.len(), 10);
    }
}

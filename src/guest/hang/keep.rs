//! What is kept of a conversation, should it not end well: the whole console, what was said on the monitor, the guest's
//! memory. Bounded, but for the memory; it goes to files that the caller has opened.

use std::fs::File;
use std::io::{self, Write};

/// Most of a console that is kept.
const CONSOLE_BYTES: usize = 256 << 20;
/// Most of what is said on the monitor.
const QMP_BYTES: usize = 16 << 20;
/// What stands where something is missing.
const CUT: &[u8] = b"\n[bootling: the rest was not kept]\n";

/// Files for all of it.
#[derive(Debug)]
pub struct Keep {
    console: Bounded,
    qmp: Bounded,
    /// What QEMU was told, and has said, of lines that are not over.
    asked: Vec<u8>,
    said: Vec<u8>,
    /// For the guest's memory and registers, where those are wanted.
    pub core: Option<File>,
}

#[derive(Debug)]
struct Bounded {
    file: File,
    room: usize,
}

impl Bounded {
    fn write(&mut self, bytes: &[u8]) {
        if self.room == 0 {
            return;
        }
        let fits = bytes.len().min(self.room);
        let written = self.file.write_all(&bytes[..fits]);
        self.room -= fits;
        if written.is_err() || self.room == 0 {
            self.room = 0;
            // The same disk: it is full, or this fits.
            let _ = self.file.write_all(CUT);
        }
    }
}

impl Keep {
    /// Keeps in these files.
    pub fn new(console: File, qmp: File, core: Option<File>) -> Self {
        let bounded = |file, room| Bounded { file, room };
        let (console, qmp) = (bounded(console, CONSOLE_BYTES), bounded(qmp, QMP_BYTES));
        Self { console, qmp, asked: Vec::new(), said: Vec::new(), core }
    }

    /// The same files, behind what is there.
    pub fn try_clone(&self) -> io::Result<Self> {
        let core = self.core.as_ref().map(File::try_clone).transpose()?;
        Ok(Self::new(self.console.file.try_clone()?, self.qmp.file.try_clone()?, core))
    }

    /// The console has said this.
    pub fn console(&mut self, bytes: &[u8]) {
        self.console.write(bytes);
    }

    /// QEMU was told this.
    pub fn asked(&mut self, bytes: &[u8]) {
        lines(&mut self.asked, &mut self.qmp, b"-> ", bytes);
    }

    /// QEMU has said this.
    pub fn said(&mut self, bytes: &[u8]) {
        lines(&mut self.said, &mut self.qmp, b"<- ", bytes);
    }
}

/// Writes the lines that are over with these bytes, each behind a mark of who says it.
fn lines(line: &mut Vec<u8>, file: &mut Bounded, mark: &[u8], bytes: &[u8]) {
    for part in bytes.split_inclusive(|byte| *byte == b'\n') {
        line.extend_from_slice(part);
        if part.ends_with(b"\n") || line.len() > QMP_BYTES {
            file.write(&[mark, &line[..]].concat());
            line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Keep;

    #[test]
    fn both_sides_of_a_conversation_are_kept_in_whole_lines_however_they_come() {
        let file = || tempfile::tempfile().expect("a file");
        let (qmp, read) = tempfile::NamedTempFile::new().expect("a file").into_parts();
        let mut keep = Keep::new(file(), qmp, None);
        keep.asked(b"{\"execute\":");
        keep.said(b"{\"ev");
        keep.asked(b"1}\n{\"execute\":2}\n");
        keep.said(b"ent\":3}\n");
        let kept = std::fs::read_to_string(&read).expect("written");
        assert_eq!(kept, "-> {\"execute\":1}\n-> {\"execute\":2}\n<- {\"event\":3}\n");
    }
}

//! Recording of a session for the case of a failure: the complete console, the QMP traffic, the guest's memory. The
//! size is bounded, except for the memory. The caller opens the files.

use std::fs::File;
use std::io::{self, Write};

/// Maximum size of the console file.
const CONSOLE_BYTES: usize = 256 << 20;
/// Maximum size of the QMP file.
const QMP_BYTES: usize = 16 << 20;
/// Marker of a truncated file.
const CUT: &[u8] = b"\n[bootling: truncated]\n";

/// Files of a recording.
#[derive(Debug)]
pub struct Keep {
    console: Bounded,
    qmp: Bounded,
    /// Incomplete lines to and from QEMU.
    asked: Vec<u8>,
    said: Vec<u8>,
    /// File for the guest's memory and registers, if requested.
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
            // The marker is on the same disk; if the disk is full, this fails too.
            let _ = self.file.write_all(CUT);
        }
    }
}

impl Keep {
    /// Records to these files.
    pub fn new(console: File, qmp: File, core: Option<File>) -> Self {
        let bounded = |file, room| Bounded { file, room };
        let (console, qmp) = (bounded(console, CONSOLE_BYTES), bounded(qmp, QMP_BYTES));
        Self { console, qmp, asked: Vec::new(), said: Vec::new(), core }
    }

    /// Returns a recording that appends to the same files.
    pub fn try_clone(&self) -> io::Result<Self> {
        let core = self.core.as_ref().map(File::try_clone).transpose()?;
        Ok(Self::new(self.console.file.try_clone()?, self.qmp.file.try_clone()?, core))
    }

    /// Records console output.
    pub fn console(&mut self, bytes: &[u8]) {
        self.console.write(bytes);
    }

    /// Records bytes sent to QEMU.
    pub fn asked(&mut self, bytes: &[u8]) {
        lines(&mut self.asked, &mut self.qmp, b"-> ", bytes);
    }

    /// Records bytes received from QEMU.
    pub fn said(&mut self, bytes: &[u8]) {
        lines(&mut self.said, &mut self.qmp, b"<- ", bytes);
    }
}

/// Writes the lines that these bytes complete, each after a direction mark.
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
    fn both_directions_are_recorded_in_complete_lines() {
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

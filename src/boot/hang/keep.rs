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
    /// What QEMU has said of a line that is not over.
    line: Vec<u8>,
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
        Self { console: bounded(console, CONSOLE_BYTES), qmp: bounded(qmp, QMP_BYTES), line: Vec::new(), core }
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

    /// QEMU was told this: whole lines.
    pub fn asked(&mut self, lines: &[u8]) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.qmp.write(&[b"-> ", line].concat());
        }
    }

    /// QEMU has said this.
    pub fn said(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() > QMP_BYTES {
                self.qmp.write(&[b"<- ", &self.line[..]].concat());
                self.line.clear();
            }
        }
    }
}

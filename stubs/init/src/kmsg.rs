//! The kernel's log (`/dev/kmsg`, Documentation/ABI/testing/dev-kmsg): what bears on its health, for the host; and what it said
//! last about a module.

use crate::channel::{Channel, Gone};
use crate::file::number;
use crate::line::Line;
use crate::protocol::frame::{Lost, MAX_PAYLOAD, ToHost};
use crate::syscall::Errno;
use crate::syscall::file::{Fd, NONBLOCKING, READ_ONLY, open, read};
use crate::syscall::memory::allocate;

/// Longer than any record: `PRINTK_MESSAGE_MAX`, with its letters written as `\x..` where need be.
const RECORD: usize = 8 * 1024;
/// What is sent in one frame.
const PIECE: usize = MAX_PAYLOAD - 1;
/// Bytes sent for one command: a kernel that warns for ever is known after less.
const MOST: usize = 256 * 1024;
/// Records read for one command: more than the largest of logs holds at once.
const RECORDS: u32 = 200_000;
/// `KERN_WARNING`: what is less than that bears on the kernel's health only within a report.
const WARNING: u64 = 4;
/// Records of a report that may be of any level behind its first line: the task's state and call trace of a hung task are
/// `KERN_INFO`, so are the lists of memory and tasks of the OOM killer.
const REPORT: u32 = 160;
/// What lines of that level say where a report follows.
const REPORTS: [&[u8]; 8] =
    [b"INFO: ", b"BUG", b"WARNING: ", b"oom-killer", b"LOCKUP", b"Oops", b"UBSAN", b"Kernel panic"];

/// The log, read once from its first record to its last. What a healthy kernel says is not sent, only looked at: sending it
/// all would make each boot longer.
pub struct Log {
    file: Option<Fd>,
    /// What is to be sent; it goes once there is no room for another record.
    buffer: &'static mut [u8],
    /// Records of any level that still belong to a report.
    report: u32,
}

impl Log {
    pub fn open() -> Self {
        let file = open(c"/dev/kmsg", READ_ONLY | NONBLOCKING).ok();
        Self { file, buffer: allocate(PIECE).unwrap_or_default(), report: 0 }
    }

    /// Sends what has come since the last time.
    pub fn send(&mut self, channel: &mut Channel) -> Result<(), Gone> {
        let Some(file) = &self.file else {
            return channel.send(&ToHost::Log { lost: Lost::Unreadable, records: b"" });
        };
        let (mut len, mut sent, mut lost) = (0, 0, Lost::Nothing);
        for count in 0.. {
            // A kernel that never stops talking must not keep the command's status back.
            if count >= RECORDS {
                lost = Lost::TooMany;
                break;
            }
            // It is none where there was no memory for it.
            let Some(room) = self.buffer.get_mut(len..).filter(|room| room.len() >= RECORD) else {
                lost = Lost::Unreadable;
                break;
            };
            match read(file, room) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(read) => {
                    let record = room.get(..read).unwrap_or_default();
                    let line = record.iter().position(|&byte| byte == b'\n').map_or(record.len(), |at| at + 1);
                    if !matters(record, &mut self.report) {
                        continue;
                    }
                    if sent + len + line > MOST {
                        lost = Lost::TooMany;
                        // What is left is read all the same: it is not the next command's.
                        continue;
                    }
                    len += line;
                }
                // Overwritten before it was read; the next read has the oldest that is left.
                Err(Errno::PIPE) => lost = Lost::Overwritten,
                // Longer than any: the next one is there.
                Err(Errno::INVAL | Errno::INTR) => {}
                Err(_) => {
                    lost = Lost::Unreadable;
                    break;
                }
            }
            if len + RECORD > PIECE {
                channel.send(&ToHost::Log { lost: Lost::Nothing, records: self.buffer.get(..len).unwrap_or_default() })?;
                sent += len;
                len = 0;
            }
        }
        if len > 0 || lost != Lost::Nothing {
            channel.send(&ToHost::Log { lost, records: self.buffer.get(..len).unwrap_or_default() })?;
        }
        Ok(())
    }
}

/// Whether a record is the kernel's own, and says that something is wrong or belongs to what does. Programs that write to
/// `/dev/kmsg` can claim any facility but the kernel's, which is 0 (`drivers/char/mem.c`, `devkmsg_write`).
fn matters(record: &[u8], report: &mut u32) -> bool {
    let Some(priority) = number(record) else { return false };
    let (facility, level) = (priority >> 3, priority & 7);
    if facility != 0 {
        return false;
    }
    *report = report.saturating_sub(1);
    if level > WARNING {
        return *report > 0;
    }
    let text = text(record).unwrap_or_default();
    if REPORTS.iter().any(|words| mentions(text, words)) {
        *report = REPORT;
    }
    true
}

/// The last message that names the module; else the last about modules at all, such as a refused signature's.
/// Empty if there is none. Time does not help: the log's clock and the system's start apart and drift.
pub fn about(module: &[u8]) -> Line {
    let mut named = None;
    let mut last = None;
    let Ok(log) = open(c"/dev/kmsg", READ_ONLY | NONBLOCKING) else {
        return Line::new(b"");
    };
    let mut buffer = [0_u8; 1024];
    loop {
        match read(&log, &mut buffer) {
            Ok(0) => break,
            Ok(len) => {
                let record = buffer.get(..len).unwrap_or_default();
                let text = text(record).unwrap_or_default();
                if mentions(text, module) {
                    named = Some(Line::new(text));
                } else if mentions(text, b"module") || mentions(text, b"Loading of ") {
                    last = Some(Line::new(text));
                }
            }
            // Overwritten while it was read (EPIPE), or too long for the buffer (EINVAL): the next one is there.
            Err(Errno::PIPE | Errno::INVAL) => {}
            Err(_) => break,
        }
    }
    named.or(last).unwrap_or(Line::new(b""))
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,...];TEXT NEWLINE [ DICTIONARY]`.
fn text(record: &[u8]) -> Option<&[u8]> {
    let semicolon = record.iter().position(|&byte| byte == b';')?;
    record.get(semicolon + 1..)?.split(|&byte| byte == b'\n').next()
}

/// Are the words in the text? `-` and `_` are one letter, as in a module's name.
fn mentions(text: &[u8], words: &[u8]) -> bool {
    let same = |a: &u8, b: &u8| a == b || matches!((a, b), (b'-', b'_') | (b'_', b'-'));
    !words.is_empty() && text.windows(words.len()).any(|part| part.iter().zip(words).all(|(a, b)| same(a, b)))
}

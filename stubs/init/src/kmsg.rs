//! The kernel log (`/dev/kmsg`, Documentation/ABI/testing/dev-kmsg): sends health-relevant records to the host, and
//! finds the last message about a module.

use crate::channel::{Channel, Gone};
use crate::file::number;
use crate::line::Line;
use crate::protocol::frame::{Lost, MAX_PAYLOAD, ToHost};
use crate::syscall::Errno;
use crate::syscall::file::{Fd, NONBLOCKING, READ_ONLY, open, read};
use crate::syscall::memory::allocate;

/// Larger than any record: `PRINTK_MESSAGE_MAX`, with characters escaped as `\x..`.
const RECORD: usize = 8 * 1024;
/// Maximum length of the records in one frame.
const PIECE: usize = MAX_PAYLOAD - 1;
/// Maximum number of bytes sent for one command; limits a kernel that warns forever.
const MOST: usize = 256 * 1024;
/// Maximum number of records read for one command; more than the largest log buffer contains.
const RECORDS: u32 = 200_000;
/// `KERN_WARNING`: less severe records are only relevant inside a report.
const WARNING: u64 = 4;
/// Number of records of any level that may follow the first line of a report: the call trace of a hung task and the OOM
/// killer's memory and task lists are `KERN_INFO`.
const REPORT: u32 = 160;
/// Patterns that announce a report.
const REPORTS: [&[u8]; 8] =
    [b"INFO: ", b"BUG", b"WARNING: ", b"oom-killer", b"LOCKUP", b"Oops", b"UBSAN", b"Kernel panic"];

/// The log, read once from its first to its last record. Records of a healthy kernel are read but not sent, to keep
/// boots short.
pub struct Log {
    file: Option<Fd>,
    /// Records to send; flushed when there is no room for another record.
    buffer: &'static mut [u8],
    /// Number of following records that belong to a report, at any level.
    report: u32,
}

impl Log {
    pub fn open() -> Self {
        let file = open(c"/dev/kmsg", READ_ONLY | NONBLOCKING).ok();
        Self { file, buffer: allocate(PIECE).unwrap_or_default(), report: 0 }
    }

    /// Sends the records since the last call.
    pub fn send(&mut self, channel: &mut Channel) -> Result<(), Gone> {
        let Some(file) = &self.file else {
            return channel.send(&ToHost::Log { lost: Lost::Unreadable, records: b"" });
        };
        let (mut len, mut sent, mut lost) = (0, 0, Lost::Nothing);
        for count in 0.. {
            // A kernel that logs endlessly must not delay the command's status.
            if count >= RECORDS {
                lost = Lost::TooMany;
                break;
            }
            // The buffer is empty if its allocation failed.
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
                        // Continue to read, so that the rest does not count for the next command.
                        continue;
                    }
                    len += line;
                }
                // Overwritten before it was read; the next read returns the oldest remaining record.
                Err(Errno::PIPE) => lost = Lost::Overwritten,
                // Too long, or interrupted; the next read returns the next record.
                Err(Errno::INVAL | Errno::INTR) => {}
                Err(_) => {
                    lost = Lost::Unreadable;
                    break;
                }
            }
            if len + RECORD > PIECE {
                channel
                    .send(&ToHost::Log { lost: Lost::Nothing, records: self.buffer.get(..len).unwrap_or_default() })?;
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

/// Returns true if the kernel wrote the record and it is a warning or part of a report. Programs cannot write to
/// `/dev/kmsg` with the kernel's facility 0 (`drivers/char/mem.c`, `devkmsg_write`).
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

/// Returns the last message that names the module; otherwise the last message about modules in general, such as a
/// rejected signature. Empty if no record matches. Timestamps do not help: the log's clock and the system clock start at
/// different times and drift.
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
            // Overwritten while it was read (EPIPE), or too long for the buffer (EINVAL): the next read returns the
            // next record.
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

/// Returns true if the text contains the words. `-` and `_` are equal, as in module names.
fn mentions(text: &[u8], words: &[u8]) -> bool {
    let same = |a: &u8, b: &u8| a == b || matches!((a, b), (b'-', b'_') | (b'_', b'-'));
    !words.is_empty() && text.windows(words.len()).any(|part| part.iter().zip(words).all(|(a, b)| same(a, b)))
}

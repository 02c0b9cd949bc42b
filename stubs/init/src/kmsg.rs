//! What the kernel said last about a module (`/dev/kmsg`, Documentation/ABI/testing/dev-kmsg).

use crate::line::Line;
use crate::syscall::Errno;
use crate::syscall::file::{NONBLOCKING, READ_ONLY, open, read};

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

/// Is the name in the text? `-` and `_` are one letter in a module's name.
fn mentions(text: &[u8], module: &[u8]) -> bool {
    let same = |a: &u8, b: &u8| a == b || matches!((a, b), (b'-', b'_') | (b'_', b'-'));
    !module.is_empty() && text.windows(module.len()).any(|part| part.iter().zip(module).all(|(a, b)| same(a, b)))
}

//! Minimal QMP client: commands to QEMU's monitor, replies and events from it.
//!
//! QMP messages are JSON objects, one per line (`docs/interop/qmp-spec.rst`). Unknown messages are ignored, because
//! newer versions of QEMU send more events. The guest cannot write to the monitor, but lines are limited in length
//! anyway.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::guest::transcript::Event;

/// Maximum line length in bytes; longer lines are dropped.
const LINE_BYTES: usize = 1 << 20;

/// Command that must follow the greeting.
pub const NEGOTIATE: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";
/// Command that makes QEMU flush its disks and exit.
pub const QUIT: &[u8] = b"{\"execute\":\"quit\"}\n";

/// Formats a command; its reply will contain the same ID.
pub fn order(id: u64, name: &str, arguments: &Value) -> Vec<u8> {
    let mut line = json!({"execute": name, "arguments": arguments, "id": id}).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Sends a line, with a descriptor if given. The socket buffer must be empty: a short line then always fits.
pub fn send(monitor: &UnixStream, line: &[u8], along: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let along = along.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !along.is_empty() {
        // The buffer has space for exactly one descriptor.
        ancillary.push(SendAncillaryMessage::ScmRights(along));
    }
    let sent = sendmsg(monitor, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Returns the thread ID of a vCPU (`query-cpus-fast`) and thus identifies QEMU's process, which is not the started
/// program if that is a wrapper script.
pub fn thread_of(cpus: &Value) -> Option<u32> {
    u32::try_from(cpus.pointer("/0/thread-id")?.as_u64()?).ok()
}

/// Message from QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Greeting with QEMU's version, such as `7.2.22`.
    Greeting {
        /// Major, minor and micro version.
        version: String,
    },
    /// A relevant event.
    Event(Event),
    /// Reply to a command.
    Reply {
        /// ID of the command.
        id: u64,
        /// Return value, or QEMU's error description.
        result: Result<Value, String>,
    },
}

/// Splits monitor output into lines and parses them.
#[derive(Debug, Default)]
pub struct Monitor {
    line: Vec<u8>,
    too_long: bool,
}

impl Monitor {
    /// Parses the next bytes and returns the complete messages.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                if !self.too_long {
                    said.extend(read_line(&self.line));
                }
                self.line.clear();
                self.too_long = false;
            } else if self.line.len() < LINE_BYTES {
                self.line.push(*byte);
            } else {
                self.too_long = true;
            }
        }
        said
    }
}

fn read_line(line: &[u8]) -> Option<Said> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if let Some(greeting) = value.get("QMP") {
        let number =
            |part: &str| greeting.pointer(&format!("/version/qemu/{part}")).and_then(Value::as_u64).unwrap_or(0);
        let version = format!("{}.{}.{}", number("major"), number("minor"), number("micro"));
        return Some(Said::Greeting { version });
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(id) = value.get("id").and_then(Value::as_u64) {
        let result = match value.get("return") {
            Some(value) => Ok(value.clone()),
            None => Err(text("/error/desc")),
        };
        return Some(Said::Reply { id, result });
    }
    let event = match value.get("event")?.as_str()? {
        "SHUTDOWN" => Event::Shutdown {
            guest: value.pointer("/data/guest").and_then(Value::as_bool).unwrap_or(false),
            reason: text("/data/reason"),
        },
        "RESET" => Event::Restarted { guest: value.pointer("/data/guest").and_then(Value::as_bool).unwrap_or(false) },
        "WATCHDOG" => Event::Watchdog { action: text("/data/action") },
        "GUEST_PANICKED" => Event::GuestPanicked,
        "VSERPORT_CHANGE" if value.pointer("/data/open") == Some(&Value::Bool(false)) => Event::ChannelClosed,
        _ => return None,
    };
    Some(Said::Event(event))
}

#[cfg(test)]
mod tests {
    use super::{Monitor, Said};
    use crate::guest::transcript::Event;

    #[test]
    fn greeting_and_events_are_read_across_chunks() {
        let stream = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}
{"return": {}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}
{"event": "SOMETHING_NEW", "data": {}}
{"event": "WATCHDOG", "data": {"action": "poweroff"}}
"#;
        for size in [1, 7, stream.len()] {
            let mut monitor = Monitor::default();
            let said: Vec<Said> = stream.chunks(size).flat_map(|chunk| monitor.feed(chunk)).collect();
            assert_eq!(
                said,
                [
                    Said::Greeting { version: "7.2.22".to_owned() },
                    Said::Event(Event::Shutdown { guest: true, reason: "guest-reset".to_owned() }),
                    Said::Event(Event::Watchdog { action: "poweroff".to_owned() }),
                ]
            );
        }
    }

    #[test]
    fn replies_contain_the_id_of_their_command() {
        let mut monitor = Monitor::default();
        let said = monitor.feed(
            b"{\"return\": \"x\", \"id\": 3}\n{\"id\": 4, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
        );
        let reply = |id, result| Said::Reply { id, result };
        assert_eq!(said, [reply(3, Ok("x".into())), reply(4, Err("no".to_owned()))]);
        let order = super::order(9, "stop", &serde_json::json!({}));
        assert_eq!(String::from_utf8_lossy(&order), "{\"arguments\":{},\"execute\":\"stop\",\"id\":9}\n");
    }

    #[test]
    fn an_endless_line_is_dropped_and_the_next_is_read() {
        let mut monitor = Monitor::default();
        for _ in 0..400 {
            assert!(monitor.feed(&[b'x'; 8 * 1024]).is_empty());
        }
        assert_eq!(monitor.feed(b"\n{\"event\": \"GUEST_PANICKED\"}\n"), [Said::Event(Event::GuestPanicked)]);
    }
}

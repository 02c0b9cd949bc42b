//! QEMU's monitor protocol, as little as is needed: orders out, replies and events in.
//!
//! QMP is JSON objects, one a line (`docs/interop/qmp-spec.rst`). Lines that are not understood are passed over:
//! newer QEMUs have more events. A guest cannot write here, but lines are bounded all the same.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::guest::transcript::Event;

/// Longest line that is read; longer ones are dropped.
const LINE_BYTES: usize = 1 << 20;

/// What to send once the greeting is there.
pub const NEGOTIATE: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";
/// Asks QEMU to end, flushing its disks.
pub const QUIT: &[u8] = b"{\"execute\":\"quit\"}\n";

/// One order; its reply will have the same number.
pub fn order(id: u64, name: &str, arguments: &Value) -> Vec<u8> {
    let mut line = json!({"execute": name, "arguments": arguments, "id": id}).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Sends a line, and a descriptor along with it if there is one. For a socket that is empty: one short line always fits.
pub fn send(monitor: &UnixStream, line: &[u8], along: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let along = along.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !along.is_empty() {
        // The room is for one.
        ancillary.push(SendAncillaryMessage::ScmRights(along));
    }
    let sent = sendmsg(monitor, &[IoSlice::new(line)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// A thread of QEMU's process, from what it says of its processors (`query-cpus-fast`): that need not be the program which
/// was started, which may be a script with QEMU as its child.
pub fn thread_of(cpus: &Value) -> Option<u32> {
    u32::try_from(cpus.pointer("/0/thread-id")?.as_u64()?).ok()
}

/// Something QEMU said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The greeting, with QEMU's version: `7.2.22`.
    Greeting {
        /// Major, minor, micro.
        version: String,
    },
    /// An event worth noting.
    Event(Event),
    /// What came of an order: its value, or why not.
    Reply {
        /// The order's number.
        id: u64,
        /// Its value, or QEMU's description of what is wrong.
        result: Result<Value, String>,
    },
}

/// Cuts a monitor's bytes into lines and reads them.
#[derive(Debug, Default)]
pub struct Monitor {
    line: Vec<u8>,
    too_long: bool,
}

impl Monitor {
    /// Takes the next bytes and tells what they said.
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
    fn replies_are_told_with_the_number_of_their_order() {
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

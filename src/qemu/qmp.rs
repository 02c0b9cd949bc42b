//! QMP client: sends commands to QEMU's monitor, and receives replies and events.
//!
//! QMP messages are JSON objects, one per line (`docs/interop/qmp-spec.rst`). Unknown messages are ignored, because
//! newer versions of QEMU send more events. The guest cannot write to the monitor, but lines are limited in length
//! anyway.
//!
//! The client never blocks: its socket is non-blocking, and the caller polls it. Commands are queued until QEMU has sent its
//! greeting.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};

use crate::output::bounded::BoundedFile;

/// Maximum line length in bytes; longer lines are dropped.
const LINE_BYTES: usize = 1 << 20;
/// Maximum size of a log.
const LOG_BYTES: usize = 16 << 20;
/// Number of bytes read at once.
const CHUNK: usize = 16 * 1024;
/// Command that must follow the greeting. Its reply has no ID.
const NEGOTIATE: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

/// Result of a command: the return value, or QEMU's error description.
pub(crate) type Reply = Result<Value, String>;

/// Message from QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// First message of QEMU, with its version, such as `7.2.22`.
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
        /// Result of the command.
        result: Reply,
    },
}

/// Event of the machine (QEMU `qapi/`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// `SHUTDOWN`
    Shutdown {
        /// True if the guest caused it.
        guest: bool,
        /// `guest-shutdown`, `guest-reset`, `host-signal`, ...
        reason: String,
    },
    /// `RESET`
    Reset {
        /// True if the guest caused it.
        guest: bool,
    },
    /// `WATCHDOG`
    Watchdog {
        /// `poweroff`, `reset`, ...
        action: String,
    },
    /// `GUEST_PANICKED`
    GuestPanicked,
    /// `VSERPORT_CHANGE`: the guest closed its virtio-serial port.
    PortClosed,
}

/// Returns the thread ID of a vCPU (`query-cpus-fast`) and thus identifies QEMU's process, which is not the started
/// program if that is a wrapper script.
pub(crate) fn vcpu_thread_id(cpus: &Value) -> Option<u32> {
    u32::try_from(cpus.pointer("/0/thread-id")?.as_u64()?).ok()
}

/// Log of a monitor: one line per message, with its direction.
#[derive(Debug)]
pub(crate) struct Log(BoundedFile);

impl Log {
    /// Writes a log to `file`.
    pub(crate) fn new(file: File) -> Self {
        Self(BoundedFile::new(file, LOG_BYTES))
    }

    /// Returns another log that appends to the same file.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Logs a line that was sent to QEMU.
    pub(crate) fn sent(&mut self, line: &[u8]) {
        self.0.write(&[b"-> ", line].concat());
    }

    /// Logs a line that was received from QEMU.
    pub(crate) fn received(&mut self, line: &[u8]) {
        self.0.write(&[b"<- ", line, b"\n"].concat());
    }
}

/// Client of one QEMU process.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    is_ready: bool,
    last_id: u64,
    queue: VecDeque<Outgoing>,
    lines: Lines,
    /// Log of all traffic, if requested.
    pub(crate) log: Option<Log>,
}

/// Command to be sent, with a descriptor if given.
#[derive(Debug)]
struct Outgoing {
    line: Vec<u8>,
    sent: usize,
    fd: Option<OwnedFd>,
}

impl Client {
    /// Creates a client for a non-blocking socket.
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, is_ready: false, last_id: 0, queue: VecDeque::new(), lines: Lines::default(), log: None }
    }

    /// Returns true if QEMU has sent its greeting.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Events to poll for. [`Client::receive`] handles them.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.is_ready && !self.queue.is_empty() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Queues a command. Returns its ID, which the reply will contain.
    pub(crate) fn execute(&mut self, name: &str, arguments: &Value) -> u64 {
        self.execute_with(name, arguments, None)
    }

    /// Queues a command with a descriptor.
    pub(crate) fn execute_with(&mut self, name: &str, arguments: &Value, fd: Option<OwnedFd>) -> u64 {
        self.last_id += 1;
        let mut line = json!({"execute": name, "arguments": arguments, "id": self.last_id}).to_string().into_bytes();
        line.push(b'\n');
        self.queue.push_back(Outgoing { line, sent: 0, fd });
        self.last_id
    }

    /// Sends as many queued commands as fit into the socket buffer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(command) = self.queue.front_mut().filter(|_| self.is_ready) {
            match send(&self.stream, &command.line[command.sent..], command.fd.as_ref()) {
                Ok(len) => command.sent += len,
                Err(error) if is_transient(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
            // The descriptor is sent with the first byte.
            command.fd = None;
            if command.sent == command.line.len() {
                if let Some(log) = &mut self.log {
                    log.sent(&command.line);
                }
                self.queue.pop_front();
            }
        }
        Ok(())
    }

    /// Sends queued commands, and reads once. Returns the complete messages. Errors: `UnexpectedEof` if QEMU has closed the
    /// monitor, `WouldBlock` if no data is available.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<Message>> {
        // If QEMU has exited, the read detects it.
        let _ = self.flush();
        let mut buffer = [0; CHUNK];
        let len = match self.stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => len,
        };
        let messages = self.lines.feed(&buffer[..len], &mut self.log);
        if !self.is_ready && messages.iter().any(|message| matches!(message, Message::Greeting { .. })) {
            self.is_ready = true;
            self.queue.push_front(Outgoing { line: NEGOTIATE.to_vec(), sent: 0, fd: None });
            let _ = self.flush();
        }
        Ok(messages)
    }

    /// Like [`Client::receive`], but returns only the reply to the command `id`, if it has arrived. Other messages are
    /// dropped.
    pub(crate) fn receive_reply(&mut self, id: u64) -> io::Result<Option<Reply>> {
        match self.receive() {
            Ok(messages) => Ok(messages.into_iter().find_map(|message| match message {
                Message::Reply { id: found, result } if found == id => Some(result),
                Message::Reply { .. } | Message::Greeting { .. } | Message::Event(_) => None,
            })),
            Err(error) if is_transient(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Returns true if an operation can be retried after the next `poll`.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Sends bytes, with a descriptor if given. Returns the number of bytes sent.
fn send(stream: &UnixStream, bytes: &[u8], fd: Option<&OwnedFd>) -> io::Result<usize> {
    let fds: Vec<BorrowedFd<'_>> = fd.map(AsFd::as_fd).into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        // The buffer has space for exactly one descriptor.
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Splits monitor output into lines and parses them.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    is_too_long: bool,
}

impl Lines {
    /// Parses the next bytes and returns the complete messages.
    fn feed(&mut self, bytes: &[u8], log: &mut Option<Log>) -> Vec<Message> {
        let mut messages = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                if !self.is_too_long {
                    messages.extend(parse_line(&self.line));
                    if let Some(log) = log {
                        log.received(&self.line);
                    }
                }
                self.line.clear();
                self.is_too_long = false;
            } else if self.line.len() < LINE_BYTES {
                self.line.push(*byte);
            } else {
                self.is_too_long = true;
            }
        }
        messages
    }
}

fn parse_line(line: &[u8]) -> Option<Message> {
    let value: Value = serde_json::from_slice(line).ok()?;
    if let Some(greeting) = value.get("QMP") {
        let number =
            |part: &str| greeting.pointer(&format!("/version/qemu/{part}")).and_then(Value::as_u64).unwrap_or(0);
        let version = format!("{}.{}.{}", number("major"), number("minor"), number("micro"));
        return Some(Message::Greeting { version });
    }
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if let Some(id) = value.get("id").and_then(Value::as_u64) {
        let result = value.get("return").cloned().ok_or_else(|| text("/error/desc"));
        return Some(Message::Reply { id, result });
    }
    let by_guest = value.pointer("/data/guest") == Some(&Value::Bool(true));
    let event = match value.get("event")?.as_str()? {
        "SHUTDOWN" => Event::Shutdown { guest: by_guest, reason: text("/data/reason") },
        "RESET" => Event::Reset { guest: by_guest },
        "WATCHDOG" => Event::Watchdog { action: text("/data/action") },
        "GUEST_PANICKED" => Event::GuestPanicked,
        "VSERPORT_CHANGE" if value.pointer("/data/open") == Some(&Value::Bool(false)) => Event::PortClosed,
        _ => return None,
    };
    Some(Message::Event(event))
}

#[cfg(test)]
mod tests {
    use super::{Client, Event, Lines, Log, Message};
    use rustix::event::PollFlags;
    use serde_json::json;
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;

    /// A client, and QEMU's end of its socket.
    fn client() -> (Client, UnixStream) {
        let (client, qemu) = UnixStream::pair().expect("a socket");
        client.set_nonblocking(true).expect("set");
        (Client::new(client), qemu)
    }

    fn read(qemu: &mut UnixStream, len: usize) -> String {
        let mut bytes = vec![0; len];
        qemu.read_exact(&mut bytes).expect("sent");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn greeting_and_events_are_read_across_chunks() {
        let stream = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}
{"return": {}}
{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}
{"event": "SOMETHING_NEW", "data": {}}
{"event": "WATCHDOG", "data": {"action": "poweroff"}}
"#;
        for size in [1, 7, stream.len()] {
            let mut lines = Lines::default();
            let messages: Vec<Message> = stream.chunks(size).flat_map(|chunk| lines.feed(chunk, &mut None)).collect();
            assert_eq!(
                messages,
                [
                    Message::Greeting { version: "7.2.22".to_owned() },
                    Message::Event(Event::Shutdown { guest: true, reason: "guest-reset".to_owned() }),
                    Message::Event(Event::Watchdog { action: "poweroff".to_owned() }),
                ]
            );
        }
    }

    #[test]
    fn replies_contain_the_id_of_their_command() {
        let (mut client, mut qemu) = client();
        qemu.write_all(b"{\"return\": \"x\", \"id\": 3}\n{\"id\": 4, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n")
            .expect("sent");
        let reply = |id, result| Message::Reply { id, result };
        assert_eq!(client.receive().expect("data"), [reply(3, Ok("x".into())), reply(4, Err("no".to_owned()))]);
        assert_eq!(client.receive().expect_err("no data").kind(), ErrorKind::WouldBlock);
        qemu.write_all(b"{\"return\": 1, \"id\": 5}\n{\"return\": 2, \"id\": 6}\n").expect("sent");
        assert_eq!(client.receive_reply(6).expect("data"), Some(Ok(2.into())));
        assert_eq!(client.receive_reply(7).expect("no data"), None);
        drop(qemu);
        assert_eq!(client.receive_reply(7).expect_err("end").kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn commands_wait_for_the_greeting_and_are_logged_with_the_replies() {
        let (mut client, mut qemu) = client();
        let (log, path) = tempfile::NamedTempFile::new().expect("a file").into_parts();
        client.log = Some(Log::new(log));
        let (file, _) = UnixStream::pair().expect("a socket");
        assert_eq!(client.execute_with("getfd", &json!({"fdname": "x"}), Some(file.into())), 1);
        assert_eq!(client.execute("stop", &json!({})), 2);
        client.flush().expect("nothing to do");
        assert_eq!(client.interest(), PollFlags::IN);
        qemu.write_all(b"{\"QM").expect("sent");
        assert_eq!(client.receive().expect("half a line"), []);
        assert!(!client.is_ready());
        qemu.write_all(b"P\":{}}\n{\"return\":{}}\n").expect("sent");
        client.receive().expect("the greeting");
        assert!(client.is_ready());
        let lines = "{\"execute\":\"qmp_capabilities\"}\n\
            {\"arguments\":{\"fdname\":\"x\"},\"execute\":\"getfd\",\"id\":1}\n\
            {\"arguments\":{},\"execute\":\"stop\",\"id\":2}\n";
        assert_eq!(read(&mut qemu, lines.len()), lines);
        let sent: String = lines.lines().flat_map(|line| ["-> ", line, "\n"]).collect();
        let received = "<- {\"QMP\":{}}\n<- {\"return\":{}}\n";
        assert_eq!(std::fs::read_to_string(&path).expect("written"), format!("{received}{sent}"));
    }

    #[test]
    fn a_full_socket_delays_commands_without_blocking() {
        let (mut client, mut qemu) = client();
        qemu.write_all(b"{\"QMP\":{}}\n").expect("sent");
        client.receive().expect("the greeting");
        let long = json!({"x": "y".repeat(1 << 20)});
        client.execute("first", &long);
        let last = client.execute("last", &json!({}));
        client.flush().expect("a part of it");
        assert!(client.interest().contains(PollFlags::OUT));
        let mut all = Vec::new();
        while !all.ends_with(format!("\"id\":{last}}}\n").as_bytes()) {
            let mut buffer = vec![0; 1 << 16];
            let len = qemu.read(&mut buffer).expect("sent");
            all.extend_from_slice(&buffer[..len]);
            client.flush().expect("more of it");
        }
        assert_eq!(client.interest(), PollFlags::IN);
        assert_eq!(all.split(|byte| *byte == b'\n').count(), 4);
    }

    #[test]
    fn an_endless_line_is_dropped_and_the_next_is_read() {
        let mut lines = Lines::default();
        for _ in 0..400 {
            assert!(lines.feed(&[b'x'; 8 * 1024], &mut None).is_empty());
        }
        let event = lines.feed(b"\n{\"event\": \"GUEST_PANICKED\"}\n", &mut None);
        assert_eq!(event, [Message::Event(Event::GuestPanicked)]);
    }
}

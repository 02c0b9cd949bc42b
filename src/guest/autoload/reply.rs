//! Sends messages to the guest's `modprobe`.

use crate::format::protocol::frame::{MAX_MESSAGE, ToGuest};
use crate::format::protocol::modules::{Answer, Status};
use crate::guest::talk::Outbox;

/// Sends the last message of an answer.
pub(super) fn end(outbox: &mut Outbox, id: u32, status: Status, text: &str) {
    send(outbox, id, &Answer::End { status, text: text.as_bytes().get(..400).unwrap_or(text.as_bytes()) });
}

/// Sends a message to a helper.
pub(super) fn send(outbox: &mut Outbox, id: u32, answer: &Answer<'_>) {
    let mut message = vec![0; MAX_MESSAGE];
    let len = answer.encode(&mut message);
    outbox.send(&ToGuest::Helper { id, message: &message[..len] });
}

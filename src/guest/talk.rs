//! Host side of the control channel: conversion between bytes and frames, and flow control of standard input.

use std::collections::VecDeque;

use crate::format::protocol::frame::{FrameError, HEADER, MAX_PAYLOAD, ToGuest, ToHost};

/// Maximum credit that is accepted.
const MAX_WINDOW: u32 = 16 << 20;
/// Queue length at which standard input is no longer read.
const FULL: usize = 128 * 1024;

/// Received bytes of an incomplete frame: at most one frame and one read.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Vec<u8>);

impl Inbox {
    /// Decodes bytes from the guest and passes each complete frame to `handle`, until it returns `false`.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        mut handle: impl FnMut(&ToHost<'_>) -> bool,
    ) -> Result<(), FrameError> {
        self.0.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((frame, taken)) = ToHost::decode(self.0.get(at..).unwrap_or_default())? {
            at += taken;
            if !handle(&frame) {
                break;
            }
        }
        self.0.drain(..at.min(self.0.len()));
        Ok(())
    }
}

/// Bytes to be sent, and the guest's remaining credit for standard input.
#[derive(Debug)]
pub(crate) struct Outbox {
    leaving: VecDeque<u8>,
    scratch: Box<[u8]>,
    window: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        let scratch = vec![0; HEADER + MAX_PAYLOAD].into_boxed_slice();
        Self { leaving: VecDeque::new(), scratch, window: 0 }
    }
}

impl Outbox {
    /// Adds credit for standard input.
    pub(crate) fn grant(&mut self, more: u32) {
        self.window = self.window.saturating_add(more).min(MAX_WINDOW);
    }

    /// Number of bytes of standard input that may be read now.
    pub(crate) fn room(&self) -> usize {
        if self.leaving.len() >= FULL { 0 } else { (self.window as usize).min(MAX_PAYLOAD) }
    }

    /// Queues a frame. Standard input is deducted from the credit: limit [`Outbox::room`] per frame.
    pub(crate) fn send(&mut self, frame: &ToGuest<'_>) {
        if let ToGuest::Stdin(bytes) = frame {
            self.window = self.window.saturating_sub(bytes.len() as u32);
        }
        let len = frame.encode(&mut self.scratch);
        self.leaving.extend(&self.scratch[..len]);
    }

    /// Returns the next bytes to send; empty only if nothing is queued.
    pub(crate) fn leaving(&self) -> &[u8] {
        self.leaving.as_slices().0
    }

    /// Removes sent bytes from the queue.
    pub(crate) fn written(&mut self, bytes: usize) {
        self.leaving.drain(..bytes.min(self.leaving.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbox, MAX_WINDOW, Outbox};
    use crate::format::protocol::frame::{HEADER, MAX_PAYLOAD, ToGuest, ToHost};

    fn encoded(frame: &ToHost<'_>) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + MAX_PAYLOAD];
        let len = frame.encode(&mut bytes);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn frames_are_decoded_regardless_of_chunk_boundaries() {
        let mut stream = encoded(&ToHost::Stdout(b"one"));
        stream.extend(encoded(&ToHost::Stderr(&[7; 3000])));
        stream.extend(encoded(&ToHost::Started(5)));
        for size in [1, 2, 3, 1000, stream.len()] {
            let mut inbox = Inbox::default();
            let mut seen = Vec::new();
            for chunk in stream.chunks(size) {
                inbox
                    .receive(chunk, |frame| {
                        seen.push(format!("{frame:?}").len());
                        true
                    })
                    .expect("frames");
            }
            assert_eq!(seen.len(), 3, "chunks of {size}");
            assert!(inbox.0.is_empty());
        }
    }

    #[test]
    fn standard_input_never_exceeds_the_credit() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.room(), 0);
        outbox.grant(10);
        assert_eq!(outbox.room(), 10);
        outbox.send(&ToGuest::Stdin(b"12345678"));
        assert_eq!(outbox.room(), 2);
        for _ in 0..10 {
            outbox.grant(u32::MAX);
        }
        assert_eq!(outbox.window, MAX_WINDOW);
    }

    #[test]
    fn invalid_bytes_are_an_error_not_a_panic() {
        assert!(Inbox::default().receive(b"\xff\xff\xff", |_| true).is_err());
        assert!(Inbox::default().receive(&[3, 0xff, 0xff], |_| true).is_err());
    }
}

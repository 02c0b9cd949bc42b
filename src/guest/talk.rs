//! The host's end of the control channel: bytes to frames and back, standard input under credit.

use std::collections::VecDeque;

use crate::format::protocol::frame::{FrameError, HEADER, MAX_PAYLOAD, ToGuest, ToHost};

/// More credit than this is never believed.
const MAX_WINDOW: u32 = 16 << 20;
/// More than this waiting for the guest, and standard input is not read.
const FULL: usize = 128 * 1024;

/// What arrives, held until a whole frame is there: at most one frame and one read.
#[derive(Debug, Default)]
pub struct Inbox(Vec<u8>);

impl Inbox {
    /// Takes bytes from the guest and gives each whole frame to `handle`, until that says stop (`false`).
    pub fn receive(&mut self, bytes: &[u8], mut handle: impl FnMut(&ToHost<'_>) -> bool) -> Result<(), FrameError> {
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

/// What leaves, and how much standard input the guest has granted.
#[derive(Debug)]
pub struct Outbox {
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
    /// The guest takes this much more of standard input.
    pub fn grant(&mut self, more: u32) {
        self.window = self.window.saturating_add(more).min(MAX_WINDOW);
    }

    /// How many bytes of standard input may be read now.
    pub fn room(&self) -> usize {
        if self.leaving.len() >= FULL { 0 } else { (self.window as usize).min(MAX_PAYLOAD) }
    }

    /// Queues a frame. Standard input counts against the credit: no more than [`Outbox::room`] at a time.
    pub fn send(&mut self, frame: &ToGuest<'_>) {
        if let ToGuest::Stdin(bytes) = frame {
            self.window = self.window.saturating_sub(bytes.len() as u32);
        }
        let len = frame.encode(&mut self.scratch);
        self.leaving.extend(&self.scratch[..len]);
    }

    /// What waits for the guest: the next bytes of it, and none only if there are none.
    pub fn leaving(&self) -> &[u8] {
        self.leaving.as_slices().0
    }

    /// Drops what was written.
    pub fn written(&mut self, bytes: usize) {
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
    fn frames_are_found_however_the_bytes_are_cut() {
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
    fn nonsense_is_an_error_not_a_panic() {
        assert!(Inbox::default().receive(b"\xff\xff\xff", |_| true).is_err());
        assert!(Inbox::default().receive(&[3, 0xff, 0xff], |_| true).is_err());
    }
}

//! Reads and writes the fields of a payload: bounded, without allocation.

use super::{HEADER, MAX_PAYLOAD};

/// Reads fields from the start of a payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }
    /// Returns `value` if the payload is fully consumed.
    pub(super) fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Writes the fields of a frame; truncates what does not fit.
pub(super) struct Builder<'a> {
    pub(super) out: &'a mut [u8],
    pub(super) len: usize,
}

impl Builder<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let end = self.out.len().min(HEADER + MAX_PAYLOAD);
        let room = end.saturating_sub(self.len);
        let len = bytes.len().min(room);
        if let (Some(to), Some(from)) = (self.out.get_mut(self.len..self.len + len), bytes.get(..len)) {
            to.copy_from_slice(from);
            self.len += len;
        }
    }

    /// Puts the only field of a frame; returns the frame's tag.
    pub(super) fn text(&mut self, tag: u8, bytes: &[u8]) -> u8 {
        self.put(bytes);
        tag
    }

    pub(super) fn finish(self, tag: u8) -> usize {
        let [low, high] = ((self.len - HEADER) as u16).to_le_bytes();
        if let Some(header) = self.out.first_chunk_mut::<HEADER>() {
            *header = [tag, low, high];
        }
        self.len
    }
}

//! Encoding and decoding of [`ToGuest`].

use super::fields::{Builder, Fields};
use super::{
    COLLECT, DONE, FrameError, GO, HEADER, RENEW, RESIZE, SIGNAL, STDIN, STDIN_EOF, TO_HELPER, ToGuest, split,
};

impl<'a> ToGuest<'a> {
    /// Decodes the first frame; returns its length, too. `None` if the frame is incomplete.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((tag, payload, taken)) = split(bytes)? else {
            return Ok(None);
        };
        let message = Self::from_payload(tag, payload).ok_or(FrameError::Malformed(tag))?;
        Ok(Some((message, taken)))
    }

    fn from_payload(tag: u8, payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let message = match tag {
            GO => Self::Go { rows: fields.u16()?, columns: fields.u16()?, realtime_ns: fields.u64()? },
            STDIN => Self::Stdin(fields.rest()),
            STDIN_EOF => Self::StdinEof,
            RESIZE => Self::Resize { rows: fields.u16()?, columns: fields.u16()? },
            SIGNAL => Self::Signal(fields.u8()?),
            RENEW => Self::Renew { len: fields.u64()?, seed: fields.take()? },
            TO_HELPER => Self::Helper { id: fields.u32()?, message: fields.rest() },
            COLLECT => Self::Collect,
            DONE => Self::Done,
            _ => return None,
        };
        fields.end(message)
    }

    /// Encodes the frame at the start of `out`, which must have room for [`HEADER`] + [`MAX_PAYLOAD`] bytes. Returns
    /// the frame's length.
    pub fn encode(&self, out: &mut [u8]) -> usize {
        let mut frame = Builder { out, len: HEADER };
        let tag = match *self {
            Self::Go { rows, columns, realtime_ns } => {
                frame.put(&rows.to_le_bytes());
                frame.put(&columns.to_le_bytes());
                frame.put(&realtime_ns.to_le_bytes());
                GO
            }
            Self::Stdin(bytes) => {
                frame.put(bytes);
                STDIN
            }
            Self::StdinEof => STDIN_EOF,
            Self::Resize { rows, columns } => {
                frame.put(&rows.to_le_bytes());
                frame.put(&columns.to_le_bytes());
                RESIZE
            }
            Self::Signal(number) => {
                frame.put(&[number]);
                SIGNAL
            }
            Self::Renew { len, seed } => {
                frame.put(&len.to_le_bytes());
                frame.put(&seed);
                RENEW
            }
            Self::Helper { id, message } => {
                frame.put(&id.to_le_bytes());
                frame.put(message);
                TO_HELPER
            }
            Self::Collect => COLLECT,
            Self::Done => DONE,
        };
        frame.finish(tag)
    }
}

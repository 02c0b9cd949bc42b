//! Words in a guest's memory, written through QEMU's stub for debuggers (the remote protocol of GDB, appendix E).
//!
//! Only QEMU's monitor can attach it, which takes a socket that was handed over. A machine stands still while a debugger is
//! attached, and goes on when that leaves.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use super::asking::{Asking, Unanswered, pair};

/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const ANSWER: usize = 8 << 10;
/// The name that QEMU knows our socket by.
const NAME: &str = "bootling-gdb";

/// Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PokeError {
    /// The monitor would not attach it.
    #[error("attaching a debugger: {0}")]
    Attach(#[from] Unanswered),
    /// There is no talking with it.
    #[error("talking with QEMU's debugger stub: {0}")]
    Io(#[from] io::Error),
    /// It does not do it.
    #[error("writing to the guest's memory: QEMU's debugger stub says {0:?}")]
    Refused(String),
}

/// A word of 32 bits, and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Where, in the guest's memory; physical addresses are those of its RAM.
    pub address: u64,
    /// What.
    pub value: u32,
}

/// Writes words, by physical addresses or by the kernel's own.
pub fn poke(asking: &mut Asking<'_>, words: &[Word], are_physical: bool) -> Result<(), PokeError> {
    let (ours, theirs) = pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    ours.set_write_timeout(Some(PATIENCE))?;
    asking.give(NAME, theirs.as_fd(), PATIENCE)?;
    // QEMU has its own copy; where it closes that, reads end.
    drop(theirs);
    let socket = json!({"addr": {"type": "fd", "data": {"str": NAME}}, "server": false});
    let backend = json!({"id": NAME, "backend": {"type": "socket", "data": socket}});
    asking.ask("chardev-add", &backend, PATIENCE)?;
    let said = asking.hmp(&format!("gdbserver chardev:{NAME}"), None, PATIENCE)?;
    if said.contains("Could not") {
        return Err(PokeError::Refused(said.trim().to_owned()));
    }
    let mut stub = Stub(ours);
    let written = write(&mut stub, words, are_physical);
    // It goes on, whatever came of it.
    let left = stub.order("D");
    written.and(left.map(drop))
}

fn write(stub: &mut Stub, words: &[Word], are_physical: bool) -> Result<(), PokeError> {
    stub.order("?")?;
    if are_physical {
        stub.must("Qqemu.PhyMemMode:1")?;
    }
    for word in words {
        let bytes: String = word.value.to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        stub.must(&format!("M{:x},4:{bytes}", word.address))?;
    }
    if are_physical {
        stub.must("Qqemu.PhyMemMode:0")?;
    }
    Ok(())
}

/// The other end of the socket.
struct Stub(UnixStream);

impl Stub {
    /// Gives an order that is to be answered with OK.
    fn must(&mut self, order: &str) -> Result<(), PokeError> {
        let answer = self.order(order)?;
        if answer == "OK" { Ok(()) } else { Err(PokeError::Refused(answer)) }
    }

    /// Gives an order; the answer.
    fn order(&mut self, order: &str) -> Result<String, PokeError> {
        self.0.write_all(packet(order).as_bytes())?;
        let mut heard = Vec::new();
        let mut buffer = [0; 256];
        loop {
            let len = self.0.read(&mut buffer)?;
            heard.extend_from_slice(&buffer[..len]);
            if let Some(answer) = answer(&heard) {
                self.0.write_all(b"+")?;
                return Ok(answer);
            }
            if len == 0 || heard.len() > ANSWER {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// `$order#sum`.
fn packet(order: &str) -> String {
    let sum = order.bytes().fold(0_u8, u8::wrapping_add);
    format!("${order}#{sum:02x}")
}

/// What stands between `$` and `#sum`, once it is whole.
fn answer(heard: &[u8]) -> Option<String> {
    let start = heard.iter().position(|byte| *byte == b'$')? + 1;
    let len = heard.get(start..)?.iter().position(|byte| *byte == b'#')?;
    heard.get(start + len + 2)?;
    Some(String::from_utf8_lossy(heard.get(start..start + len)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::{answer, packet};

    #[test]
    fn packets_are_summed_and_answers_cut_out() {
        assert_eq!((packet("?"), packet("D")), ("$?#3f".to_owned(), "$D#44".to_owned()));
        assert_eq!(answer(b"+$OK#9a"), Some("OK".to_owned()));
        for part in [&b""[..], b"+", b"+$OK", b"+$OK#", b"+$OK#9"] {
            assert_eq!(answer(part), None);
        }
    }
}

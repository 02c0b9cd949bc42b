//! Words in a guest's memory, written past QEMU: into the process that holds that memory.
//!
//! QEMU's monitor has nothing to write with, and its stub for debuggers stops the machine first, for which QEMU waits until
//! its disks are at rest: a guest that hangs on a disk would take QEMU with it. The monitor does tell where it has mapped
//! a guest's address, and a process's memory can be written to by whoever may debug it, its parent among them (proc(5),
//! `/proc/PID/mem`; ptrace(2), "Ptrace access mode checking").

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::asking::{Asking, Unanswered};

/// How long QEMU may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PokeError {
    /// The monitor does not tell where.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// It tells something else.
    #[error("finding {0:#x} in QEMU's memory: {1:?}")]
    Nowhere(u64, String),
    /// The host does not let us.
    #[error("writing to QEMU's memory: {0}")]
    Io(#[from] io::Error),
}

/// Where a word of a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// In its memory.
    Physical(u64),
    /// Where its kernel sees it.
    Virtual(u64),
}

/// Writes a word of 32 bits, as x86 has it.
pub fn poke(asking: &mut Asking<'_>, address: Address, value: u32) -> Result<(), PokeError> {
    let physical = match address {
        Address::Physical(physical) => physical,
        Address::Virtual(address) => number(asking, "gva2gpa", address, "gpa: 0x")?,
    };
    let host = number(asking, "gpa2hva", physical, " is 0x")?;
    let memory = File::options().write(true).open(format!("/proc/{}/mem", asking.thread()))?;
    memory.write_all_at(&value.to_le_bytes(), host)?;
    Ok(())
}

/// The number that the monitor says of an address, behind these words.
fn number(asking: &mut Asking<'_>, order: &str, address: u64, words: &str) -> Result<u64, PokeError> {
    let said = asking.hmp(&format!("{order} {address:#x}"), None, PATIENCE)?;
    behind(&said, words).ok_or_else(|| PokeError::Nowhere(address, said.trim().to_owned()))
}

fn behind(said: &str, words: &str) -> Option<u64> {
    let (_, number) = said.trim().rsplit_once(words)?;
    u64::from_str_radix(number, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn addresses_are_read_as_the_monitor_prints_them() {
        assert_eq!(
            behind("Host virtual address for 0x2c43570 (ram) is 0x7f10a0c43570\r\n", " is 0x"),
            Some(0x7f10_a0c4_3570)
        );
        assert_eq!(behind("gpa: 0x2c43570\r\n", "gpa: 0x"), Some(0x2c4_3570));
        assert_eq!(behind("No memory is mapped at address 0xfffffffff000\r\n", " is 0x"), None);
        assert_eq!(behind("Unmapped\r\n", "gpa: 0x"), None);
    }
}

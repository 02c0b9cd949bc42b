//! Return addresses on a kernel stack, read from outside.
//!
//! An address in the kernel's text that follows a call instruction is treated as a return address. Some may be stale
//! values from earlier calls, like the entries that the kernel marks with a question mark.

use std::time::Duration;

use super::cpus::named;
use super::registers::Cpu;
use crate::guest::monitor::{Monitor, MonitorError};
use crate::root::kernel::symbols::Symbols;

/// Timeout for a query.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Number of words read: an eighth of a stack.
const WORDS: u64 = 256;
/// Maximum number of functions reported.
const FRAMES: usize = 24;
/// Maximum number of words checked for a preceding call.
const CANDIDATES: usize = 64;

/// Trace of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// vCPU index.
    pub(crate) cpu: u64,
    /// Current address and return addresses, innermost first.
    pub(crate) frames: Vec<String>,
}

/// Reads the stack of a processor that is in the kernel and expected to stay there.
pub(crate) fn trace(monitor: &mut Monitor<'_>, cpu: &Cpu, symbols: &Symbols) -> Result<Trace, MonitorError> {
    let mut frames = vec![named(cpu.rip, Some(symbols))];
    let stack = words(monitor, &format!("x /{WORDS}gx {:#x}", cpu.rsp), Some(cpu.index))?;
    let returns = stack.iter().filter(|word| symbols.function(**word).is_some());
    for address in returns.take(CANDIDATES) {
        if frames.len() == FRAMES {
            break;
        }
        let before = words(monitor, &format!("x /{CALL}xb {:#x}", address - CALL as u64), Some(cpu.index))?;
        let before: Vec<u8> = before.iter().map(|byte| *byte as u8).collect();
        if is_call(&before) {
            frames.push(named(*address, Some(symbols)));
        }
    }
    Ok(Trace { cpu: cpu.index, frames })
}

/// Length of the longest call instruction detected.
const CALL: usize = 7;

/// Returns true if the bytes end with a call (Intel SDM volume 2, CALL: E8 with a 32-bit displacement, or FF /2 with
/// register or memory).
fn is_call(bytes: &[u8]) -> bool {
    let Ok(bytes) = <[u8; CALL]>::try_from(bytes) else { return false };
    let is_indirect = |at: usize, modes: &[u8]| {
        bytes[at] == 0xff && bytes[at + 1] >> 3 & 7 == 2 && modes.contains(&(bytes[at + 1] >> 6))
    };
    // Register, or memory without displacement, with 8 bits, with 32 bits; the last two also with a SIB byte.
    bytes[2] == 0xe8
        || is_indirect(5, &[0, 3])
        || is_indirect(4, &[0, 1])
        || is_indirect(3, &[1])
        || is_indirect(1, &[0, 2])
        || is_indirect(0, &[0, 2])
}

/// Reads words of memory as printed by the monitor: `ADDRESS: WORD WORD`.
pub(super) fn words(monitor: &mut Monitor<'_>, line: &str, cpu: Option<u64>) -> Result<Vec<u64>, MonitorError> {
    let said = monitor.hmp(line, cpu, PATIENCE)?;
    let rows = said.lines().filter_map(|row| Some(row.split_once(':')?.1));
    let words = rows.flat_map(str::split_whitespace);
    Ok(words.filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::is_call;

    #[test]
    fn calls_are_distinguished_from_other_bytes() {
        for call in [
            &[0x90, 0x90, 0xe8, 1, 2, 3, 4][..],
            &[0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd0],
            &[0x90, 0x90, 0x90, 0x90, 0xff, 0x50, 0x10],
            &[0x90, 0xff, 0x15, 1, 2, 3, 4],
            &[0xff, 0x94, 0xc5, 1, 2, 3, 4],
        ] {
            assert!(is_call(call), "{call:x?}");
        }
        for other in [&[0x90; 7][..], &[0xff; 7], &[0xe8], &[], &[0, 0, 0xe9, 1, 2, 3, 4]] {
            assert!(!is_call(other), "{other:x?}");
        }
    }
}

//! Signals to pid 1, read from a signalfd: ended children, and requests to stop the machine.

use crate::syscall::Result;
use crate::syscall::file::{Fd, read};
use crate::syscall::process::{Stop, block_signals, signal, signal_file};

/// Signals sent by `halt`, `poweroff`, `reboot` and similar programs for busybox's init and systemd, and by the kernel
/// for Ctrl-Alt-Del and power failures.
const REQUESTS: [(u32, Stop); 11] = [
    (signal::USR1, Stop::Halt),
    (signal::USR2, Stop::PowerOff),
    (signal::TERM, Stop::Restart),
    (signal::INT, Stop::Restart),
    (signal::PWR, Stop::PowerOff),
    (signal::RTMIN + 3, Stop::Halt),
    (signal::RTMIN + 4, Stop::PowerOff),
    (signal::RTMIN + 5, Stop::Restart),
    (signal::RTMIN + 13, Stop::Halt),
    (signal::RTMIN + 14, Stop::PowerOff),
    (signal::RTMIN + 15, Stop::Restart),
];

/// Signals received.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrived {
    /// At least one child has ended.
    pub child: bool,
    /// Request to stop the machine.
    pub stop: Option<Stop>,
}

/// The signalfd.
pub struct Signals(Fd);

impl Signals {
    pub fn open() -> Result<Self> {
        let mut mask = bit(signal::CHLD);
        for (number, _) in REQUESTS {
            mask |= bit(number);
        }
        block_signals(mask)?;
        signal_file(mask).map(Self)
    }

    pub fn file(&self) -> &Fd {
        &self.0
    }

    /// Reads all pending signals.
    pub fn take(&self) -> Arrived {
        let mut arrived = Arrived::default();
        // struct signalfd_siginfo: 128 bytes, the signal's number first.
        let mut record = [0_u8; 128];
        while let Ok(128) = read(&self.0, &mut record) {
            let [a, b, c, d, ..] = record;
            let number = u32::from_le_bytes([a, b, c, d]);
            if number == signal::CHLD {
                arrived.child = true;
            }
            if let Some((_, stop)) = REQUESTS.iter().find(|(request, _)| *request == number) {
                arrived.stop.get_or_insert(*stop);
            }
        }
        arrived
    }
}

const fn bit(number: u32) -> u64 {
    1 << (number - 1)
}

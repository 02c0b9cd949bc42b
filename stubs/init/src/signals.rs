//! Signals to pid 1: ended children, and requests to stop the machine. They stay blocked; a signalfd reports that one is
//! pending. A kernel may lack signalfd (CONFIG_SIGNALFD), so the signals themselves are not read from it.

use crate::syscall::Result;
use crate::syscall::file::{Fd, POLL_IN, Watch, poll};
use crate::syscall::process::{Stop, block_signals, signal, signal_file, take_signal};

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

/// Polling interval for signals in a kernel without signalfd, in nanoseconds. When a command ends, its output ends, too,
/// so this rarely delays anything.
const LOOK: u64 = 20_000_000;

/// The blocked signals.
pub struct Signals {
    mask: u64,
    file: Option<Fd>,
}

impl Signals {
    pub fn open() -> Result<Self> {
        let mut mask = bit(signal::CHLD);
        for (number, _) in REQUESTS {
            mask |= bit(number);
        }
        block_signals(mask)?;
        Ok(Self { mask, file: signal_file(mask).ok() })
    }

    /// Waits until a signal is pending or one of the files is ready. The first entry of `watches` is for the signals.
    pub fn poll<const N: usize>(&self, watches: &mut [Watch; N]) {
        if let (Some(first), Some(file)) = (watches.first_mut(), &self.file) {
            *first = Watch::new(file, POLL_IN);
        }
        // Interrupted: no file is ready.
        let _ = poll(watches, if self.file.is_some() { None } else { Some(LOOK) });
    }

    /// Takes all pending signals.
    pub fn take(&self) -> Arrived {
        let mut arrived = Arrived::default();
        while let Some(number) = take_signal(self.mask) {
            if number == signal::CHLD {
                arrived.child = true;
            }
            if let Some((_, stop)) = REQUESTS.iter().find(|(request, _)| *request == number) {
                arrived.stop.get_or_insert(*stop);
            }
        }
        arrived
    }

    /// True if signals may be pending after [`Signals::poll`].
    pub fn may_be_pending(&self, first: Watch) -> bool {
        self.file.is_none() || first.ready & POLL_IN != 0
    }
}

const fn bit(number: u32) -> u64 {
    1 << (number - 1)
}

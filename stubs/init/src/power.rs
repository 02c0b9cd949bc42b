//! Stops the machine.

use crate::syscall::file::{WRITE_ONLY, open, write};
use crate::syscall::process::{Stop, sleep, stop_machine};

/// Stops the machine. Does not return.
///
/// If an x86 machine cannot power itself off, the kernel halts, and the host must end the machine.
pub fn stop(how: Stop) -> ! {
    let _ = stop_machine(how);
    // Refused by missing permission or a security module: try the alternatives.
    let _ = stop_machine(Stop::Restart);
    if let Ok(trigger) = open(c"/proc/sysrq-trigger", WRITE_ONLY) {
        let _ = write(&trigger, b"o");
    }
    loop {
        sleep(1_000_000_000);
    }
}

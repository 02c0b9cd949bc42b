//! The machine's end.

use crate::syscall::file::{WRITE_ONLY, open, write};
use crate::syscall::process::{Stop, sleep, stop_machine};

/// Stops the machine. Does not come back.
///
/// Where x86 cannot switch itself off, the kernel halts instead, and the host has to end the machine.
pub fn stop(how: Stop) -> ! {
    let _ = stop_machine(how);
    // Refused: a kernel without the call's permission, or a security module. Try what is left.
    let _ = stop_machine(Stop::Restart);
    if let Ok(trigger) = open(c"/proc/sysrq-trigger", WRITE_ONLY) {
        let _ = write(&trigger, b"o");
    }
    loop {
        sleep(1_000_000_000);
    }
}

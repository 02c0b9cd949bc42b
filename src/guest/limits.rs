//! How long things may take where nobody said otherwise.

use std::time::Duration;

use crate::qemu::firmware::Firmware;
use crate::qemu::machine::{Accelerator, Machine};

/// From a restored guest's start to its pid 1's first word, on the slowest of hosts: what does not answer by then never will.
pub const RESTORE: Duration = Duration::from_secs(60);

/// From QEMU's start to the verdict.
pub fn total(machine: &Machine) -> Duration {
    let minutes = match machine.accelerator {
        Accelerator::Kvm => 10,
        Accelerator::Tcg => 30,
    };
    Duration::from_secs(minutes * 60)
}

/// From QEMU's start to pid 1's first word.
pub fn boot(machine: &Machine) -> Duration {
    // OVMF alone takes as long as a kernel, which is then unpacked in the guest.
    let slowly = match machine.firmware {
        Firmware::Direct | Firmware::Bios(_) => 1,
        Firmware::Uefi(_) => 2,
    };
    let minutes = match machine.accelerator {
        Accelerator::Kvm => slowly,
        Accelerator::Tcg => 5 * slowly,
    };
    Duration::from_secs(minutes * 60)
}

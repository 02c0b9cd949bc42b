//! Default time limits.

use std::time::Duration;

use crate::qemu::firmware::Firmware;
use crate::qemu::machine::{Accelerator, Machine};

/// Limit from a restored guest's start to pid 1's first message, on the slowest hosts.
pub(crate) const RESTORE: Duration = Duration::from_secs(60);

/// Default time for a hang report.
pub const HANG_REPORT: Duration = Duration::from_secs(3);

/// Default limit from QEMU's start to the verdict.
pub fn total(machine: &Machine) -> Duration {
    let minutes = match machine.accelerator {
        Accelerator::Kvm => 10,
        Accelerator::Tcg => 30,
    };
    Duration::from_secs(minutes * 60)
}

/// Default limit from QEMU's start to pid 1's first message.
pub(crate) fn boot(machine: &Machine) -> Duration {
    // OVMF starts about as slowly as a kernel, and the guest then decompresses the kernel itself.
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

//! Manifest of a bundle. Fields are added, never removed or changed.

use crate::arch::Arch;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::guest::health::HealthSpec;
use crate::guest::report::RecordedResult;
use crate::root::kernel::ImageKind;

/// Manifest of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Manifest version.
    pub(crate) version: u64,
    /// Program that wrote the bundle, such as `bootling 0.1.0`.
    pub made_by: String,
    /// Command, for display only: the initrd contains its own copy.
    pub command: Vec<String>,
    /// Guest architecture.
    pub(crate) arch: String,
    /// Kernel.
    pub kernel: KernelInfo,
    /// Machine.
    pub machine: MachineInfo,
    /// Health policy.
    #[serde(default)]
    pub health: HealthSpec,
    /// QEMU that ran the guest.
    pub qemu: QemuInfo,
    /// Recorded result; `None` if the guest was not run.
    pub expected: Option<RecordedResult>,
    /// All other files, by name.
    pub files: BTreeMap<String, FileDigest>,
}

/// Length and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// Kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelInfo {
    /// Name of the file or directory that the kernel came from.
    pub origin: String,
    /// `uname -r`, if the guest reported it.
    pub release: Option<String>,
    /// True for an ELF kernel that QEMU starts through PVH, false for a bzImage.
    pub(crate) is_elf: bool,
}

/// Machine. bootling builds QEMU's command line from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineInfo {
    /// `-machine`
    pub machine: String,
    /// `-accel`
    pub accel: String,
    /// `-cpu`
    pub cpu: String,
    /// `-smp`
    pub smp: Option<String>,
    /// `-m`, in MiB.
    pub memory_mib: u64,
    /// True if SeaBIOS starts the kernel, false for QEMU's direct boot.
    pub bios: bool,
    /// Arguments that `--append` added to the kernel command line.
    pub append: Vec<String>,
    /// True if `--fast-boot` was given.
    pub(crate) fast_boot: bool,
    /// True if the command has a terminal.
    pub tty: bool,
    /// Control channel.
    pub(crate) channel: String,
    /// Further QEMU arguments; used only if the user trusts the bundle.
    pub qemu_args: Vec<String>,
    /// Time limit in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// QEMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuInfo {
    /// Program name.
    pub(crate) program: String,
    /// Version.
    pub version: String,
    /// Complete command line: files by their names in the bundle, the console on standard input and output.
    pub(crate) line: Vec<String>,
}

impl KernelInfo {
    /// Returns the type of the kernel image, for guests of `arch`.
    pub(crate) fn kind(&self, arch: Arch) -> ImageKind {
        match arch {
            Arch::Aarch64 => ImageKind::Arm64,
            _ if self.is_elf => ImageKind::VmlinuxPvh,
            _ => ImageKind::BzImage,
        }
    }
}

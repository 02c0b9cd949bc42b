//! What a bundle says of itself. Fields are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::guest::health::HealthSpec;

/// What executed guest code, in QEMU's words.
pub const ACCELERATORS: [&str; 2] = ["kvm", "tcg"];

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of which kind of manifest this is.
    pub version: u64,
    /// The program that made it: `bootling 0.1.0`.
    pub made_by: String,
    /// What ran in the guest, for people: the initrd knows by itself.
    pub command: Vec<String>,
    /// The guest's architecture.
    pub arch: String,
    /// The kernel.
    pub kernel: KernelNote,
    /// The machine.
    pub machine: MachineNote,
    /// What the kernel's health does to the verdict.
    #[serde(default)]
    pub health: HealthSpec,
    /// What ran it.
    pub qemu: QemuNote,
    /// What came of it; `None`: it was not run.
    pub expected: Option<Expected>,
    /// Every other file, by its name.
    pub files: BTreeMap<String, Digested>,
}

/// A file's length and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digested {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// The kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelNote {
    /// The name of the file or directory it came from.
    pub origin: String,
    /// `uname -r`, where a guest came that far.
    pub release: Option<String>,
    /// Whether it is an ELF file that QEMU enters by PVH rather than a bzImage.
    pub is_elf: bool,
}

/// The machine, as it was asked for: bootling makes QEMU's line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineNote {
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
    /// Whether SeaBIOS starts the kernel, rather than QEMU itself.
    pub bios: bool,
    /// Words that `--append` added to the kernel's command line.
    pub append: Vec<String>,
    /// Whether it has the words of `--fast-boot`.
    pub fast_boot: bool,
    /// Whether the command has a terminal.
    pub tty: bool,
    /// How host and pid 1 talk.
    pub channel: String,
    /// Further arguments: QEMU gets them only from who trusts the bundle.
    pub qemu_args: Vec<String>,
    /// The longest that the run may take, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// The emulator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QemuNote {
    /// Its program's name.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Its whole line, files by their names in the bundle, the console on standard input and output.
    pub line: Vec<String>,
}

/// What came of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// One word, as in `run --json`.
    pub outcome: String,
    /// What bootling exited with.
    pub exit_code: u8,
    /// The sentence that people got; `None`: the command spoke for itself.
    pub message: Option<String>,
}

impl Expected {
    /// In a few words.
    pub fn told(&self) -> String {
        match &self.message {
            Some(message) => message.clone(),
            None => format!("{} with {}", self.outcome, self.exit_code),
        }
    }
}

//! One need of a guest: the options that meet it, and what happens without them.

use serde::{Deserialize, Serialize};

use crate::format::compression::Compression;
use crate::qemu::device::disk::DiskBus;
use crate::qemu::machine_type::Transport;
use crate::root::kernel::Config;

/// Consequence of a missing option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The run fails before it starts.
    Fatal,
    /// The run starts with a note.
    Degraded,
    /// The run starts. Only `bootling doctor` reports it.
    Minor,
}

/// Condition under which a need applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// In every run.
    Always,
    /// If pid 1 reports to the host over this channel.
    Channel(Transport),
    /// If pid 1 reports to the host.
    Reports,
    /// If the machine has several CPUs.
    SeveralCpus,
    /// If the command has a terminal.
    Tty,
    /// If a module is passed as a file.
    ModuleFile,
    /// If an existing initrd has a segment with this compression.
    Compressed(Compression),
    /// If guests are restored from a snapshot.
    Warm,
    /// If UEFI firmware starts the kernel.
    Uefi,
    /// If the machine has a disk on this bus.
    Disk(DiskBus),
    /// If the machine has a network interface.
    Network,
    /// If the guest has directories of the host.
    Shares,
    /// If the command's root is a directory of the host.
    Root,
}

impl When {
    /// Returns true if only runs with an option of bootling have the need.
    pub(crate) const fn is_on_request(self) -> bool {
        match self {
            Self::Always | Self::Channel(Transport::VirtioPci | Transport::Com2) | Self::Reports => false,
            Self::Channel(Transport::VirtioMmio | Transport::None)
            | Self::SeveralCpus
            | Self::Tty
            | Self::ModuleFile
            | Self::Compressed(_)
            | Self::Warm
            | Self::Uefi
            | Self::Disk(_)
            | Self::Network
            | Self::Shares
            | Self::Root => true,
        }
    }
}

/// Required state of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Built in.
    Builtin,
    /// Built in, or a module.
    Enabled,
    /// Off.
    Off,
}

/// A way to meet a need: options that must all have the same state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The options, without `CONFIG_`.
    pub options: Vec<&'static str>,
    /// Their state.
    pub setting: Setting,
    /// Options that they depend on. They are named only if they are off.
    pub below: Vec<&'static str>,
}

/// A need of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    /// The part of bootling, or the option, that has the need.
    pub by: String,
    /// When it applies.
    pub when: When,
    /// The ways to meet it.
    pub ways: Vec<Way>,
    /// Consequence of its absence.
    pub without: String,
    /// Consequence for a run.
    pub severity: Severity,
}

impl Need {
    /// Returns the settings that would meet the need, as text: `CONFIG_A=y and CONFIG_B=y, or CONFIG_C=y`; `None` if it is
    /// met. `has_modules`: the kernel's modules are available.
    pub(crate) fn lack(&self, config: &Config, has_modules: bool) -> Option<String> {
        let lacks = self.ways.iter().map(|way| way.lack(config, has_modules));
        let lacks: Option<Vec<Vec<String>>> = lacks.map(|lack| (!lack.is_empty()).then_some(lack)).collect();
        Some(lacks?.iter().map(|settings| list(settings)).collect::<Vec<_>>().join(", or "))
    }

    /// Returns the options as text: `CONFIG_A and CONFIG_B, or CONFIG_C`.
    pub(crate) fn options(&self) -> String {
        let ways = self.ways.iter().map(|way| {
            let off = if way.setting == Setting::Off { " off" } else { "" };
            list(&way.options.iter().map(|name| format!("CONFIG_{name}{off}")).collect::<Vec<_>>())
        });
        ways.collect::<Vec<_>>().join(", or ")
    }
}

impl Way {
    /// Returns the settings that are missing; empty if there are none.
    fn lack(&self, config: &Config, has_modules: bool) -> Vec<String> {
        let is_met = |name: &&&str| match self.setting {
            Setting::Builtin => config.is_builtin(name),
            Setting::Enabled => config.is_builtin(name) || has_modules && config.is_enabled(name),
            Setting::Off => !config.is_builtin(name),
        };
        let missing: Vec<&str> = self.options.iter().filter(|name| !is_met(name)).copied().collect();
        if missing.is_empty() {
            return Vec::new();
        }
        let value = if self.setting == Setting::Off { "n" } else { "y" };
        // An option that this kernel version does not have is neither set nor unset.
        let below = self.below.iter().filter(|name| config.is_unset(name)).copied();
        below.chain(missing).map(|name| format!("CONFIG_{name}={value}")).collect()
    }
}

/// Formats a list: `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

//! The table of needs for one kernel, as `bootling doctor --kernel` reports it.

use serde::{Deserialize, Serialize};

use super::need::{Need, Severity, When};
use super::{is_complete, table};
use crate::qemu::machine_type::Transport;
use crate::root::kernel::Kernel;
use crate::root::modules::{ChannelDriver, ModuleTables, channel_modules};

/// Version of [`Report`].
const VERSION: u32 = 1;

/// The needs of guests, and whether a kernel meets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this format: 1.
    pub version: u32,
    /// The kernel, in the user's words.
    pub kernel: String,
    /// `uname -r`, if known.
    pub release: Option<String>,
    /// File that the configuration was read from; `None`: there is none, and every state is unknown.
    pub configuration: Option<String>,
    /// False if the kernel lacks an option that every run needs.
    pub usable: bool,
    /// The needs.
    pub needs: Vec<Row>,
}

/// One need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The part of bootling, or the option, that has the need.
    pub by: String,
    /// The options that meet it: `CONFIG_A and CONFIG_B, or CONFIG_C`.
    pub options: String,
    /// Consequence of its absence.
    pub without: String,
    /// Consequence for a run.
    pub severity: Severity,
    /// True if only runs with an option of bootling have it.
    pub on_request: bool,
    /// Whether the kernel meets it.
    pub state: State,
    /// The settings that would meet it, if it is missing: `CONFIG_A=y and CONFIG_B=y, or CONFIG_C=y`.
    pub set: Option<String>,
}

/// Whether a kernel meets a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Met,
    /// It does not.
    Missing,
    /// No configuration was found.
    Unknown,
}

impl Report {
    /// Checks a kernel.
    pub fn new(kernel: &Kernel) -> Self {
        Self::with(kernel, channel_modules(kernel, &ModuleTables::default()) != ChannelDriver::Absent)
    }

    /// Checks a kernel. `has_modules`: drivers of the channel may be modules.
    pub(super) fn with(kernel: &Kernel, has_modules: bool) -> Self {
        let config = kernel.config.as_ref().filter(|config| is_complete(kernel, config));
        let shown = |need: &Need| match need.when {
            // The rows of the two channels of a PC name the same options.
            When::Channel(transport) => transport != Transport::Com2,
            When::Always
            | When::Reports
            | When::SeveralCpus
            | When::Tty
            | When::ModuleFile
            | When::Compressed(_)
            | When::Warm
            | When::Uefi
            | When::Disk(_)
            | When::Network
            | When::Shares
            | When::Root => true,
        };
        let row = |need: Need| {
            let set = config.and_then(|config| need.lack(config, has_modules));
            let state = match (config, &set) {
                (None, _) => State::Unknown,
                (Some(_), None) => State::Met,
                (Some(_), Some(_)) => State::Missing,
            };
            let options = need.options();
            let on_request = need.when.is_on_request();
            let Need { by, without, severity, .. } = need;
            Row { by, options, without, severity, on_request, state, set }
        };
        let needs: Vec<Row> = table::table(kernel.arch).into_iter().filter(shown).map(row).collect();
        Self {
            version: VERSION,
            kernel: kernel.origin.clone(),
            release: kernel.release.clone(),
            configuration: config.map(|config| config.source().to_owned()),
            usable: !needs.iter().any(Row::is_fatal),
            needs,
        }
    }
}

impl Row {
    /// Returns true if every run fails because of it.
    pub fn is_fatal(&self) -> bool {
        self.state == State::Missing && self.severity == Severity::Fatal && !self.on_request
    }
}

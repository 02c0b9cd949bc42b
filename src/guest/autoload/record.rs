//! Record of a module that was loaded on demand.

use serde::{Deserialize, Serialize};

/// A module that was loaded on demand, or failed to load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedModule {
    /// Name, with `_` for `-`.
    pub name: String,
    /// Requested name or alias: the module is this one, or is needed by it.
    pub requested: String,
    /// Requester.
    pub requested_by: Requester,
    /// Time of the request since QEMU's start, milliseconds.
    pub at_ms: f64,
    /// Time from the request until the module was loaded, milliseconds.
    pub ms: f64,
    /// Reason why the module was not loaded; `None`: it was.
    pub error: Option<String>,
}

/// Requester of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Requester {
    /// The guest's kernel.
    Kernel,
    /// The program `modprobe` of the guest.
    Modprobe,
}

/// Error of a module whose loading process ended before it reported a result: the kernel killed it.
pub(crate) const KILLED: &str = "the process that loaded it was killed";

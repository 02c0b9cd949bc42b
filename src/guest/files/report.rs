//! Directories of the host in the guest, as `--json` reports them.

use serde::{Deserialize, Serialize};

use super::shares::Share;

/// A directory of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareReport {
    /// Its path on the host.
    pub host: String,
    /// Its path in the guest; `/` for the root.
    pub guest: String,
    /// True if the guest may write to it. All changes to a root are temporary.
    pub writable: bool,
}

impl ShareReport {
    /// Reports a directory.
    pub(in crate::guest) fn new(share: &Share) -> Self {
        Self {
            host: share.host.display().to_string(),
            guest: share.guest.as_ref().map_or_else(|| "/".to_owned(), |guest| guest.display().to_string()),
            writable: share.writable,
        }
    }
}

//! Result of a collection, for `--json`, reports and the library.

use serde::{Deserialize, Serialize};

/// Result of one `--collect`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Path or pattern in the guest.
    pub guest: String,
    /// Paths on the host of what the guest's path names, or of the pattern's matches; at most 100.
    pub host: Vec<String>,
    /// Number of files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Number of entries that were skipped: neither files nor directories.
    pub skipped: u64,
    /// The first fault: something is missing or incomplete.
    pub error: Option<String>,
}

/// Returns the first fault of a collection, as a sentence.
pub(crate) fn fault(collected: &[Collected]) -> Option<String> {
    let failed = |result: &Collected| Some(format!("failed to collect {}: {}", result.guest, result.error.as_ref()?));
    collected.iter().find_map(failed)
}

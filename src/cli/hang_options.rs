//! Options for guests that hang.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::boot_options::{LimitArg, limit};
use super::output;
use bootling::guest::evidence::{Evidence, REPORT};
use bootling::guest::transcript::Transcript;

/// Idle limit, and the files to keep of a guest that fails.
#[derive(Debug, Clone, Args)]
pub struct HangArgs {
    /// Time limit without progress: no console output, no data between the command and bootling, and QEMU uses less
    /// than 3 % of a CPU. Default: none.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    idle_timeout: Option<LimitArg>,
    /// If the guest hangs, panics or fails in any other way, save diagnostics in DIR: the hang report, the complete
    /// console, the QMP log, QEMU's command line and a screenshot. DIR is created if necessary. Nothing is saved for a
    /// guest that succeeds.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    evidence: Option<PathBuf>,
    /// If the guest hangs, also save its memory and registers in DIR: an ELF core for crash or gdb, as large as the
    /// guest's memory.
    #[arg(long, requires = "evidence", help_heading = "Output")]
    core: bool,
}

impl HangArgs {
    /// Returns the limit without progress.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout.and_then(|limit| limit.0)
    }

    /// Returns true if diagnostics are requested.
    pub fn keeps(&self) -> bool {
        self.evidence.is_some()
    }

    /// Opens the files for the diagnostics, if requested.
    pub fn evidence(&self) -> anyhow::Result<Option<Evidence>> {
        Ok(self.evidence.as_deref().map(|directory| Evidence::prepare(directory, self.core)).transpose()?)
    }
}

/// Saves the diagnostics of a failed guest. Returns a line with their location, or an empty string.
pub fn store(evidence: Option<Evidence>, exit_code: u8, transcript: &Transcript, command: &[OsString]) -> String {
    let Some(evidence) = evidence.filter(|_| exit_code != 0) else { return String::new() };
    match (evidence.store(transcript, command), &transcript.hang) {
        (Ok(directory), Some(_)) => format!("full report: {}\n", directory.join(REPORT).display()),
        (Ok(directory), None) => format!("evidence: {}\n", directory.display()),
        // The guest's result takes precedence.
        (Err(error), _) => {
            output::fail(&error.into());
            String::new()
        }
    }
}

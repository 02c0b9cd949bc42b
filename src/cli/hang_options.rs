//! Options about guests that hang, as typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::boot_options::{LimitArg, limit};
use super::output;
use bootling::guest::evidence::{Evidence, REPORT};
use bootling::guest::transcript::Transcript;

/// What ends a guest that does nothing, and what is kept of one that does not end well.
#[derive(Debug, Clone, Args)]
pub struct HangArgs {
    /// Longest time without any progress: nothing on the console, nothing between the command and bootling, and QEMU uses
    /// less than 3 % of a processor. Default: none.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    idle_timeout: Option<LimitArg>,
    /// Where the guest hangs, panics, or does not end well in any other way, keep in DIR what tells why: the hang report,
    /// the whole console, what was said on QEMU's monitor, QEMU's command line, the screen. DIR is made where it is not
    /// there. What ends well leaves nothing.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    evidence: Option<PathBuf>,
    /// Where the guest hangs, keep its memory and registers in DIR, too: an ELF core for crash or gdb, as large as its
    /// memory.
    #[arg(long, requires = "evidence", help_heading = "Output")]
    core: bool,
}

impl HangArgs {
    /// The limit on doing nothing.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout.and_then(|limit| limit.0)
    }

    /// Whether anything is to be kept.
    pub fn keeps(&self) -> bool {
        self.evidence.is_some()
    }

    /// Files for what is to be kept, where anything is.
    pub fn evidence(&self) -> anyhow::Result<Option<Evidence>> {
        Ok(self.evidence.as_deref().map(|directory| Evidence::prepare(directory, self.core)).transpose()?)
    }
}

/// Keeps the evidence of what did not end well; a line that says where, empty where there is none.
pub fn store(evidence: Option<Evidence>, exit_code: u8, transcript: &Transcript, command: &[OsString]) -> String {
    let Some(evidence) = evidence.filter(|_| exit_code != 0) else { return String::new() };
    match (evidence.store(transcript, command), &transcript.hang) {
        (Ok(directory), Some(_)) => format!("full report: {}\n", directory.join(REPORT).display()),
        (Ok(directory), None) => format!("evidence: {}\n", directory.display()),
        // The verdict is in, and counts for more.
        (Err(error), _) => {
            output::fail(&error.into());
            String::new()
        }
    }
}

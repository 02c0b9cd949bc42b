//! Options for guests that hang.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::boot_options::limit;
use bootling::guest::evidence::{Evidence, REPORT};
use bootling::guest::{Limits, RunResult, TimeLimit};

/// Idle limit, and the files to keep of a guest that fails.
#[derive(Debug, Clone, Args)]
pub(crate) struct HangArgs {
    /// Time limit without progress: no console output, no data between the command and bootling, and QEMU uses less
    /// than 3 % of a CPU. Default: none.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    idle_timeout: Option<TimeLimit>,
    /// Time for the hang report if a time limit expires, during which the guest is inspected before it is ended; `none`:
    /// no hang report. Default: 3s; on a busy host, a longer time gives a more complete report.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Limits")]
    hang_report: Option<TimeLimit>,
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
    fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout.and_then(TimeLimit::duration)
    }

    /// Returns `limits` with these limits.
    pub(crate) fn limits(&self, limits: Limits) -> Limits {
        Limits { idle: self.idle_timeout(), hang_report: self.hang_report.unwrap_or_default(), ..limits }
    }

    /// Returns true if diagnostics are requested.
    pub(crate) fn saves_evidence(&self) -> bool {
        self.evidence.is_some()
    }

    /// Opens the files for the diagnostics, if requested.
    pub(crate) fn evidence(&self) -> anyhow::Result<Option<Evidence>> {
        Ok(self.evidence.as_deref().map(|directory| Evidence::prepare(directory, self.core)).transpose()?)
    }
}

/// Formats a line with the location of the stored evidence; empty if there is none.
pub(crate) fn format_evidence(result: &RunResult) -> String {
    match (&result.evidence, &result.transcript.hang) {
        (None, _) => String::new(),
        (Some(Ok(directory)), Some(_)) => format!("full report: {}\n", directory.join(REPORT).display()),
        (Some(Ok(directory)), None) => format!("evidence: {}\n", directory.display()),
        // The verdict is known and has precedence.
        (Some(Err(error)), _) => format!("bootling: {error}\n"),
    }
}

//! Guest sessions of `run` over the standard streams of this process.

use std::fs::File;
use std::time::Duration;

use anyhow::Context;

use bootling::guest::hang::{Inquest, Keep};
use bootling::guest::launch::Guest;
use bootling::guest::limits;
use bootling::guest::session::{ConsoleSink, Foreground, Opening, Settings, ShownOn, converse};
use bootling::guest::snapshot::Talk;
use bootling::guest::transcript::Transcript;
use bootling::process::signals::Signals;
use bootling::qemu::spec::ConsoleTo;

/// Runs guest sessions over the standard streams of this process.
#[derive(Debug)]
pub struct Talker {
    /// Limit from QEMU's start to the verdict.
    pub timeout: Option<Duration>,
    /// Limit from QEMU's start to the first message of pid 1.
    pub boot_timeout: Option<Duration>,
    /// Connection of the standard streams.
    pub foreground: Foreground,
    /// Console output.
    pub console: ConsoleSink,
    /// True if the user gave QEMU arguments: its messages are shown, and disks are flushed at the end.
    pub has_qemu_arguments: bool,
    /// True to suppress notes.
    pub quiet: bool,
    /// Limit without progress.
    pub idle_timeout: Option<Duration>,
    /// Information on the kernel, for hang reports.
    pub inquest: Inquest,
    /// Files for diagnostics.
    pub keep: Option<Keep>,
    /// Signals that end a guest.
    pub signals: Signals,
}

impl Talk for Talker {
    fn talk(&mut self, guest: &mut Guest, opening: Opening) -> std::io::Result<Transcript> {
        let boot_timeout = match (&opening, self.foreground) {
            // A foreign initrd has no pid 1 of bootling that could report readiness.
            (_, Foreground::Console) => None,
            (Opening::Boot | Opening::Base, _) => self.boot_timeout,
            // A restored guest answers within this time or not at all.
            (Opening::Command { .. }, _) => {
                Some(self.boot_timeout.map_or(limits::RESTORE, |limit| limit.min(limits::RESTORE)))
            }
        };
        let settings = Settings {
            timeout: self.timeout,
            boot_timeout,
            foreground: if opening == Opening::Base { Foreground::Nobody } else { self.foreground },
            shown_on: ShownOn::Stdout,
            console: self.console.try_clone()?,
            show_qemu: self.has_qemu_arguments,
            quiet: self.quiet,
            flush_disks: self.has_qemu_arguments,
            watch: None,
            idle_timeout: self.idle_timeout,
            inquest: Some(self.inquest.clone()),
            keep: self.keep.as_ref().map(Keep::try_clone).transpose()?,
            opening,
        };
        converse(guest, settings, &mut self.signals)
    }

    fn signals(&mut self) -> Option<&mut Signals> {
        Some(&mut self.signals)
    }
}

/// Opens the console output.
pub fn console(to: &ConsoleTo) -> anyhow::Result<ConsoleSink> {
    Ok(match to {
        ConsoleTo::Tail => ConsoleSink::Nowhere,
        ConsoleTo::Stderr => ConsoleSink::Stderr,
        ConsoleTo::File(path) => {
            let file =
                File::create(path).with_context(|| format!("failed to create console file {}", path.display()))?;
            ConsoleSink::File(file)
        }
    })
}

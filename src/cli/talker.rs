//! Conversations of `run` with its guests: over this process's own streams, within the user's limits.

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

/// Talks with guests over this process's own streams.
#[derive(Debug)]
pub struct Talker {
    /// From QEMU's start to the verdict.
    pub timeout: Option<Duration>,
    /// From QEMU's start to pid 1's first word.
    pub boot_timeout: Option<Duration>,
    /// What our streams are connected with.
    pub foreground: Foreground,
    /// Where the console goes.
    pub console: ConsoleSink,
    /// Whether the user has added to the machine: QEMU may have something to say then, and disks to flush.
    pub has_qemu_arguments: bool,
    /// Whether notes are kept back.
    pub quiet: bool,
    /// How long nothing may happen.
    pub idle_timeout: Option<Duration>,
    /// What is known of its kernel.
    pub inquest: Inquest,
    /// Where everything is kept.
    pub keep: Option<Keep>,
    /// What ends a guest.
    pub signals: Signals,
}

impl Talk for Talker {
    fn talk(&mut self, guest: &mut Guest, opening: Opening) -> std::io::Result<Transcript> {
        let boot_timeout = match (&opening, self.foreground) {
            // A foreign initrd has no pid 1 that would ever say it is there.
            (_, Foreground::Console) => None,
            (Opening::Boot | Opening::Base, _) => self.boot_timeout,
            // What does not answer by then never will.
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

/// Where the console goes, from the first boot on.
pub fn console(to: &ConsoleTo) -> anyhow::Result<ConsoleSink> {
    Ok(match to {
        ConsoleTo::Tail => ConsoleSink::Nowhere,
        ConsoleTo::Stderr => ConsoleSink::Stderr,
        ConsoleTo::File(path) => {
            let file = File::create(path).with_context(|| format!("creating the console's file {}", path.display()))?;
            ConsoleSink::File(file)
        }
    })
}

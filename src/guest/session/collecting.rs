//! Files that the guest sends after its command (`--collect`), also after a time limit.

use std::time::Instant;

use super::overtime::Overtime;
use super::{Phase, Session};
use crate::format::protocol::frame::ToGuest;
use crate::guest::collect::Collection;
use crate::guest::collect::record::Collected;
use crate::guest::transcript::Event;

impl Session<'_> {
    pub(super) fn on_collected(&mut self, bytes: &[u8]) {
        let received = match &mut self.collection {
            None => Err("files that were not requested"),
            Some(collection) => collection.receive(bytes),
        };
        if let Err(what) = received {
            self.end(Event::InvalidData(what.to_owned()));
        }
        if let Some(overtime) = &mut self.overtime {
            overtime.extend(Instant::now());
            if self.collection.as_ref().is_some_and(Collection::is_complete) {
                self.phase = Phase::Over;
            }
        }
    }

    /// Collects the files of a command that reached a time limit, as far as the guest answers.
    pub(super) fn collect_in_overtime(&mut self) -> std::io::Result<()> {
        let is_late = matches!(self.events.last(), Some(Event::TimedOut { .. }));
        let was_started = self.was_started();
        let is_wanted = self.collection.as_ref().is_some_and(|collection| !collection.is_complete());
        if !(is_late && was_started && is_wanted) || self.inspection_ended || self.guest.exit()?.is_some() {
            return Ok(());
        }
        self.overtime = Some(Overtime::new(Instant::now()));
        (self.settings.timeout, self.settings.idle_timeout, self.settings.boot_timeout) = (None, None, None);
        (self.grace, self.phase) = (None, Phase::Running);
        let count = self.events.len();
        if self.collection.as_ref().is_some_and(|collection| !collection.has_begun()) {
            self.outbox.send(&ToGuest::Collect);
        }
        while !self.is_over() {
            self.step()?;
        }
        // The time limit remains what ended the command.
        self.events.truncate(count);
        self.phase = Phase::Over;
        Ok(())
    }

    fn was_started(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Started { .. }))
    }

    /// Takes the results of the collection, and notes about it.
    pub(super) fn take_collected(&mut self) -> (Vec<Collected>, Vec<String>) {
        let was_started = self.was_started();
        self.collection.take().map(|collection| collection.finish(was_started)).unwrap_or_default()
    }
}

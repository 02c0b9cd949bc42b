//! One request for a module, from the plan to the last byte.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::provider::Provided;
use super::record::{KILLED, LoadedModule, Requester};
use super::reply::{end, send};
use crate::format::guest_text;
use crate::format::protocol::frame::MAX_MESSAGE;
use crate::format::protocol::modules::{Answer, CHUNK, CREDIT, Entry, Question, Status};
use crate::guest::talk::Outbox;
use crate::guest::verdict::errno_text;

/// One request for modules.
#[derive(Debug)]
pub(super) struct Chat {
    /// Requester.
    pub(super) by: Requester,
    requested: String,
    /// Time of the request since QEMU's start.
    at: Duration,
    since: Instant,
    modules: Vec<Provided>,
    /// Modules to be sent, by their places in `modules`; `None`: the guest has not chosen yet.
    wanted: Option<VecDeque<usize>>,
    /// File being sent: its bytes and the number of those that were sent.
    sending: Option<(Arc<[u8]>, usize)>,
    /// Modules that were announced and whose result is missing.
    loading: VecDeque<usize>,
    credit: usize,
    is_ended: bool,
    loaded: Vec<LoadedModule>,
}

impl Chat {
    /// Creates a request. `start`: QEMU's start.
    pub(super) fn new(by: Requester, name: &[u8], start: Instant) -> Self {
        Self {
            by,
            requested: guest_text::line(name),
            at: start.elapsed(),
            since: Instant::now(),
            modules: Vec::new(),
            wanted: None,
            sending: None,
            loading: VecDeque::new(),
            credit: CREDIT,
            is_ended: false,
            loaded: Vec::new(),
        }
    }

    /// Accepts the modules. Returns the encoded plan; `None` if there is nothing to load.
    pub(super) fn plan(&mut self, modules: Vec<Provided>) -> Option<Vec<u8>> {
        let mut plan = vec![0; MAX_MESSAGE];
        let mut len = 0;
        for Provided { weight, name, parameters, .. } in &modules {
            let entry = Entry { weight: *weight, name: name.as_bytes(), parameters };
            // The provider limits the number of modules, so that all entries fit.
            len += entry.encode(plan.get_mut(len..)?)?;
        }
        plan.truncate(len);
        self.modules = modules;
        (!self.modules.is_empty()).then_some(plan)
    }

    /// Handles a message other than the request. Returns the number of bytes sent.
    pub(super) fn receive(
        &mut self,
        id: u32,
        question: Question<'_>,
        outbox: &mut Outbox,
    ) -> Result<u64, &'static str> {
        match question {
            Question::Request { .. } => Err("a second request for a module"),
            Question::Wanted(wanted) => {
                if self.wanted.is_some() || self.modules.is_empty() || wanted.len() != self.modules.len() {
                    return Err("an unexpected choice of modules");
                }
                let places = wanted.iter().enumerate().filter(|(_, is_wanted)| **is_wanted == 1).map(|(at, _)| at);
                self.wanted = Some(places.collect());
                Ok(self.pump(id, outbox))
            }
            Question::Taken if self.credit < CREDIT => {
                self.credit += 1;
                Ok(self.pump(id, outbox))
            }
            Question::Taken => Err("an unexpected acknowledgement of a module"),
            Question::Loaded(errno) => {
                let at = self.loading.pop_front().ok_or("an unexpected result of a module")?;
                self.add(at, (errno != 0).then(|| errno_text(errno)));
                Ok(0)
            }
        }
    }

    /// Sends as much as the credit permits.
    fn pump(&mut self, id: u32, outbox: &mut Outbox) -> u64 {
        let mut sent = 0;
        while self.credit > 0 && !self.is_ended {
            if let Some((bytes, at)) = &mut self.sending {
                let rest = &bytes[*at..];
                let chunk = &rest[..rest.len().min(CHUNK)];
                send(outbox, id, &Answer::Chunk(chunk));
                *at += chunk.len();
                sent += chunk.len() as u64;
                if *at == bytes.len() {
                    self.sending = None;
                }
            } else if let Some(next) = self.wanted.as_mut().and_then(VecDeque::pop_front) {
                let bytes = Arc::clone(&self.modules[next].bytes);
                let (index, len) = (next.try_into().unwrap_or(u8::MAX), bytes.len().try_into().unwrap_or(u32::MAX));
                send(outbox, id, &Answer::File { index, len });
                self.loading.push_back(next);
                self.sending = (!bytes.is_empty()).then_some((bytes, 0));
            } else {
                end(outbox, id, Status::Done, "");
                self.is_ended = true;
                break;
            }
            self.credit -= 1;
        }
        sent
    }

    fn add(&mut self, at: usize, error: Option<String>) {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        self.loaded.push(LoadedModule {
            name: self.modules[at].name.clone(),
            requested: self.requested.clone(),
            requested_by: self.by,
            at_ms: ms(self.at),
            ms: ms(self.since.elapsed()),
            error,
        });
    }

    /// Takes the new records.
    pub(super) fn take_loaded(&mut self) -> Vec<LoadedModule> {
        std::mem::take(&mut self.loaded)
    }

    /// Ends the request. Returns the record of the module whose loading did not end: all of its bytes were taken, but the
    /// guest's process is gone.
    pub(super) fn end(mut self) -> Option<LoadedModule> {
        let first = self.loading.pop_front()?;
        let is_sent = !self.loading.is_empty() || self.sending.is_none() && self.credit == CREDIT;
        if is_sent {
            self.add(first, Some(KILLED.to_owned()));
        }
        self.loaded.pop()
    }
}

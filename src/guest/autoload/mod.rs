//! Modules on demand: the host's side of the guest's `modprobe`, which the guest's kernel or its command runs.
//!
//! Requests come from an untrusted guest. A request names a module or an alias of the booted kernel, never a file of the
//! host. Number and size of the answers are bounded, and one thread resolves them, one after another.

mod chat;
mod provider;
pub mod record;
mod reply;

use std::collections::{BTreeMap, HashSet};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use self::chat::Chat;
pub(crate) use self::provider::ModuleSource;
use self::provider::{Provider, Resolution};
use self::record::{LoadedModule, Requester};
use self::reply::{end, send};
use super::talk::Outbox;
use crate::format::guest_text;
use crate::format::protocol::modules::{Answer, Question, Status};

/// Maximum number of requests in one session.
const MAX_REQUESTS: u32 = 10_000;
/// Maximum number of simultaneous requests. pid 1 has fewer connections.
const MAX_CHATS: usize = 16;
/// Maximum number of bytes sent in one session.
const MAX_BYTES: u64 = 1 << 30;
/// Maximum number of recorded modules.
const MAX_RECORDS: usize = 1000;
/// Maximum number of notes.
const MAX_NOTES: usize = 20;

/// Requests for modules in one session.
#[derive(Debug, Default)]
pub(crate) struct Autoload {
    /// Source of the modules; `None`: every request fails.
    source: Option<ModuleSource>,
    provider: Option<Provider>,
    chats: BTreeMap<u32, Chat>,
    requests: u32,
    bytes: u64,
    /// Names without a module. Kernels repeat requests.
    unknown: HashSet<Vec<u8>>,
    loaded: Vec<LoadedModule>,
    notes: Vec<String>,
    noted: usize,
}

impl Autoload {
    /// Provides the modules of `source`.
    pub(crate) fn new(source: Option<ModuleSource>) -> Self {
        Self { source, ..Self::default() }
    }

    /// Handles a message of the helper `id`; empty: it has ended. `start` is QEMU's start. Returns a description of the
    /// fault if the message is invalid.
    pub(crate) fn receive(
        &mut self,
        id: u32,
        message: &[u8],
        start: Instant,
        outbox: &mut Outbox,
    ) -> Result<(), &'static str> {
        if message.is_empty() {
            let ended = self.chats.remove(&id).and_then(Chat::end);
            self.record(ended);
            return Ok(());
        }
        match Question::decode(message).ok_or("an invalid request for a module")? {
            Question::Request { by_kernel, name, parameters } => {
                if self.chats.len() >= MAX_CHATS || self.chats.contains_key(&id) {
                    return Err("an unexpected request for a module");
                }
                let by = if by_kernel { Requester::Kernel } else { Requester::Modprobe };
                self.chats.insert(id, Chat::new(by, name, start));
                if let Err((status, text)) = self.ask(id, name, parameters) {
                    end(outbox, id, status, &text);
                }
                Ok(())
            }
            question => {
                let chat = self.chats.get_mut(&id).ok_or("a message without a request for a module")?;
                let done = chat.receive(id, question, outbox).map(|bytes| self.bytes += bytes);
                let loaded = chat.take_loaded();
                self.record(loaded);
                done
            }
        }
    }

    /// Requests a module from the provider.
    fn ask(&mut self, id: u32, name: &[u8], parameters: &[u8]) -> Result<(), (Status, String)> {
        self.requests = self.requests.saturating_add(1);
        if self.unknown.contains(name) {
            return Err((Status::NotFound, String::new()));
        }
        let Some(source) = &self.source else {
            self.note(format!(
                "the guest requests module {}: modules on demand are off, or this is a bundle, which contains only the \
                 modules of --kmod",
                guest_text::line(name)
            ));
            return Err((Status::NotFound, String::new()));
        };
        if self.requests > MAX_REQUESTS || self.bytes > MAX_BYTES {
            self.note("the guest has requested too many modules; further requests fail".to_owned());
            return Err((Status::Failed, "too many requests".to_owned()));
        }
        let failed = |error: std::io::Error| (Status::Failed, format!("failed to resolve modules: {error}"));
        if self.provider.is_none() {
            self.provider = Some(Provider::start(source.clone()).map_err(failed)?);
        }
        match &self.provider {
            Some(provider) => provider.request(id, name, parameters).map_err(failed),
            None => Ok(()),
        }
    }

    /// Returns the descriptor that becomes readable when requests have been resolved.
    pub(crate) fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.provider.as_ref().map(Provider::ready)
    }

    /// Answers the requests that have been resolved.
    pub(crate) fn answer(&mut self, outbox: &mut Outbox) {
        let Some(provider) = &self.provider else { return };
        for (id, name, resolution) in provider.resolved() {
            match resolution {
                Resolution::Found { modules, notes } => {
                    let Some(chat) = self.chats.get_mut(&id) else { continue };
                    let is_typed = chat.by == Requester::Modprobe;
                    if let Some(plan) = chat.plan(modules) {
                        send(outbox, id, &Answer::Plan(&plan));
                    } else {
                        end(outbox, id, Status::Done, "");
                    }
                    notes.into_iter().filter(|_| is_typed).for_each(|note| self.note(note));
                }
                Resolution::NotFound { near } => {
                    self.unknown.insert(name);
                    end(outbox, id, Status::NotFound, &near);
                }
                Resolution::Failed { why } => {
                    let note = format!("module {} was not provided: {why}", guest_text::line(&name));
                    self.note(note);
                    end(outbox, id, Status::Failed, &why);
                }
            }
        }
    }

    /// Takes the notes for the user.
    pub(crate) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Takes the record of the loaded modules, at the end of the session.
    pub(crate) fn finish(&mut self) -> Vec<LoadedModule> {
        let ended: Vec<LoadedModule> = std::mem::take(&mut self.chats).into_values().filter_map(Chat::end).collect();
        self.record(ended);
        std::mem::take(&mut self.loaded)
    }

    fn record(&mut self, modules: impl IntoIterator<Item = LoadedModule>) {
        let room = MAX_RECORDS - self.loaded.len().min(MAX_RECORDS);
        self.loaded.extend(modules.into_iter().take(room));
    }

    fn note(&mut self, note: String) {
        self.noted += 1;
        if self.noted <= MAX_NOTES {
            self.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Autoload, MAX_CHATS};
    use crate::format::protocol::frame::ToGuest;
    use crate::format::protocol::modules::{Answer, MAX_NAME, Question, Status};
    use crate::guest::talk::Outbox;
    use std::time::Instant;

    fn encoded(question: &Question<'_>) -> Vec<u8> {
        let mut message = vec![0; 4096];
        let len = question.encode(&mut message);
        message.truncate(len);
        message
    }

    fn request(name: &[u8]) -> Vec<u8> {
        encoded(&Question::Request { by_kernel: true, name, parameters: b"" })
    }

    #[test]
    fn a_guest_without_a_source_gets_an_answer_and_the_user_a_note() {
        let (mut autoload, mut outbox) = (Autoload::new(None), Outbox::default());
        autoload.receive(1, &request(b"x\x1b"), Instant::now(), &mut outbox).expect("valid");
        let (frame, _) = ToGuest::decode(outbox.leaving()).expect("valid").expect("complete");
        let ToGuest::Helper { id: 1, message } = frame else { panic!("{frame:?}") };
        assert_eq!(Answer::decode(message), Some(Answer::End { status: Status::NotFound, text: b"" }));
        let notes = autoload.take_notes();
        assert!(notes[0].starts_with("the guest requests module x") && !notes[0].contains('\x1b'), "{notes:?}");
        autoload.receive(1, b"", Instant::now(), &mut outbox).expect("the end");
        assert_eq!(autoload.finish(), []);
    }

    #[test]
    fn messages_out_of_sequence_and_too_many_requests_are_refused() {
        let long = [b'x'; MAX_NAME + 1];
        for invalid in [&b"?"[..], b"r", b"w\x02", b"t", b"l\0\0\0\0", b"w", &request(&long), b"r\x02x\0"] {
            let refused = Autoload::new(None).receive(1, invalid, Instant::now(), &mut Outbox::default());
            assert!(refused.is_err(), "{invalid:?}");
        }
        let (mut autoload, mut outbox) = (Autoload::new(None), Outbox::default());
        let mut receive = |id, message: &[u8]| autoload.receive(id, message, Instant::now(), &mut outbox);
        receive(0, &request(b"x")).expect("the first");
        for message in [request(b"y"), encoded(&Question::Wanted(b"\x01")), encoded(&Question::Loaded(0))] {
            receive(0, &message).expect_err("there is no plan");
        }
        receive(0, &encoded(&Question::Taken)).expect_err("nothing was sent");
        let most = u32::try_from(MAX_CHATS).expect("a small number");
        (1..most).for_each(|id| receive(id, &request(b"x")).expect("one of several"));
        receive(most, &request(b"x")).expect_err("too many");
    }
}

//! A guest that runs several commands, one after another.
//!
//! The files that all commands share are sent with the first command and stay in the guest. If its snapshot cannot be
//! restored, the snapshot is made again, once; if that fails, too, the guest boots without one. Neither happens after
//! the guest's first command.

use std::fs::File;
use std::sync::Arc;

use super::conversation::Conversation;
use super::devices::host::port_notes;
use super::driver::{command, not_restored};
use super::files::shares::FilesError;
use super::guest_files::GuestFiles;
use super::health::Rules;
use super::listener::Notes;
use super::packages::fetch_root;
use super::session::ConsoleSink;
use super::snapshot::{Base, NotWarm, ReadyGuest};
use super::template::{Restore, Template};
use super::transcript::Event;
use super::verdict::{judge, judge_with};
use super::{Builder, Command, Inputs, Listener, Output, RunOptions, RunSpec, VmError};
use crate::cache::Key;
use crate::initrd::check::CheckedPlan;
use crate::process::signals::Signals;
use crate::qemu::device::files::Support;
use crate::root::directory::Root;
use crate::root::spec::RunWhat;

/// Reason why a guest is lost after an error on the host.
const LOST: &str = "an error on the host ended it";

/// A guest, and the data to give it commands or to start it again.
#[derive(Debug)]
pub(super) struct PersistentGuest {
    builder: Builder,
    console: Option<File>,
    template: Template,
    base: Base,
    key: Key,
    state: State,
    notes: Notes,
    rules: Rules,
    /// Support of its machine for directories of the host.
    support: Support,
    /// Files that are in the guest, if they are not sent again.
    files: Option<GuestFiles>,
}

/// State of the guest.
#[derive(Debug)]
enum State {
    /// Waiting for a command.
    Idle {
        /// The guest.
        ready: Box<ReadyGuest>,
        /// True before its first command.
        is_new: bool,
    },
    /// It has ended, for this reason (a sentence).
    Exited(String),
}

/// Way to start a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// From a snapshot.
    Snapshot,
    /// By a boot.
    Boot,
}

impl PersistentGuest {
    /// Prepares and starts the guest.
    pub(super) fn start(builder: Builder, console: Option<File>) -> Result<Self, VmError> {
        let nothing = Command::of(RunWhat::Shell);
        let spec = builder.spec(&nothing, true)?;
        let rules = spec.health.rules()?;
        let mut notes = Notes::default();
        let spec = fetch_root(&spec, &mut notes)?;
        let root = Root::new(&spec.initrd.root)?;
        let template = Template::find(&root, &spec, &spec.open_cache()?, &mut Inputs::default(), &mut notes)?;
        // A payload without a command: reports missing files now, and determines the machine's size for all files.
        let Restore { base, key, payload } =
            template.restore(&root, &spec, &mut Notes::default())?.map_err(VmError::NotKept)?;
        notes.0.extend(port_notes(&spec.boot, &base.machine.devices));
        let origin = if builder.is_cold() { Origin::Boot } else { Origin::Snapshot };
        let state = State::Exited("it was not started".to_owned());
        let support = spec.boot.files.needs();
        let files = builder.brings_once().then(GuestFiles::default);
        let mut guest = Self { builder, console, template, base, key, state, notes, rules, support, files };
        let mut conversation = guest.conversation(&spec, &nothing, None)?;
        guest.state = guest.ready(origin, &payload, &mut conversation)?;
        Ok(guest)
    }

    /// Ends the guest, and starts it from the current kernel and files.
    pub(super) fn restart(&mut self) -> Result<(), VmError> {
        self.state = State::Exited("it could not be started again".to_owned());
        *self = Self::start(self.builder.clone(), self.console.take())?;
        Ok(())
    }

    /// QEMU's process ID, if it is running.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.state {
            State::Idle { ready, .. } => Some(ready.guest.pid()),
            State::Exited(_) => None,
        }
    }

    /// Runs a command.
    pub(super) fn run(&mut self, wanted: &Command) -> Result<Output, VmError> {
        let is_new = match &self.state {
            State::Idle { is_new, .. } => *is_new,
            State::Exited(how) => return Err(VmError::Gone(how.clone())),
        };
        let spec = self.builder.spec(wanted, is_new)?;
        let spec = fetch_root(&spec, &mut self.notes)?;
        if spec.boot.files.needs() > self.support {
            return Err(FilesError::NotPrepared.into());
        }
        let root = Root::new(&spec.initrd.root)?;
        // Modules may have been built since the last command.
        self.template.tables = Arc::default();
        self.template.check_command(&spec, &mut self.notes)?;
        let whole = self.template.payload(&root, &spec, &mut self.notes)?;
        let payload = self.files.as_ref().map_or_else(|| Ok(whole.clone()), |files| files.missing_part(&whole))?;
        let mut origin = Origin::Snapshot;
        let mut signals = self.builder.signals()?;
        loop {
            let mut conversation = self.conversation(&spec, wanted, signals.as_mut())?;
            let State::Idle { mut ready, is_new } = self.take() else { return Err(VmError::Gone(LOST.to_owned())) };
            ready.len = match self.base.fill(&ready.window, &payload) {
                Ok(len) => len,
                Err(error) => {
                    // The command was not sent: the guest is unchanged.
                    self.state = State::Idle { ready, is_new };
                    return Err(error);
                }
            };
            if let Some(files) = &mut self.files {
                files.add(&whole);
            }
            let mut transcript = command(&mut ready, &self.base.machine, true, &mut conversation)?;
            let why = ready.age.filter(|_| is_new).and_then(|_| not_restored(&transcript));
            let Some(why) = why else {
                let (age, stays) = (ready.age, transcript.events.last().is_some_and(Event::ends_command));
                let outcome = judge_with(&mut transcript, &self.rules);
                self.state = if stays {
                    State::Idle { ready, is_new: false }
                } else {
                    State::Exited(outcome.sentence().unwrap_or_else(|| LOST.to_owned()))
                };
                let notes = std::mem::take(&mut self.notes.0);
                return Ok(Output::new(outcome, transcript, conversation.captured(), age, notes));
            };
            drop(ready);
            self.template.cache.discard(&self.key)?;
            self.notes.note(&format!("failed to restore the guest: {why}"));
            self.state = self.ready(origin, &payload, &mut conversation)?;
            origin = Origin::Boot;
        }
    }

    /// Starts a guest that waits for its first command.
    fn ready(
        &mut self,
        origin: Origin,
        payload: &CheckedPlan,
        conversation: &mut Conversation<'_>,
    ) -> Result<State, VmError> {
        let ready = match origin {
            Origin::Snapshot => {
                self.base.start(&self.template.cache, &self.key, payload, conversation, &mut self.notes)
            }
            Origin::Boot => self.base.boot_once(conversation),
        };
        match ready {
            Ok(mut ready) => {
                // Its first command may come much later: its times count from that command.
                ready.guest.started = None;
                Ok(State::Idle { ready: Box::new(ready), is_new: true })
            }
            Err(NotWarm::Unfit(why)) => Err(VmError::NotKept(why)),
            Err(NotWarm::Ended(transcript, _)) => {
                let outcome = judge(&transcript);
                Err(VmError::NotBooted { outcome: Box::new(outcome), console: transcript.console_tail })
            }
            Err(NotWarm::Failed(error)) => Err(error),
        }
    }

    /// Takes the guest, which is lost unless the caller puts it back.
    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Exited(LOST.to_owned()))
    }

    /// Creates the sessions of one command, with captured output.
    fn conversation<'a>(
        &self,
        spec: &RunSpec,
        command: &Command,
        signals: Option<&'a mut Signals>,
    ) -> Result<Conversation<'a>, VmError> {
        let console = match &self.console {
            None => ConsoleSink::Nowhere,
            Some(file) => ConsoleSink::File(file.try_clone().map_err(VmError::io("share", "the console's file"))?),
        };
        let options = RunOptions { signals, ..self.builder.options(command) };
        let template = &self.template;
        let (hang_input, traits, modules) =
            (template.hang_input(), template.kernel_traits(spec), template.modules(spec));
        Ok(Conversation::new(spec, options, console, Some(hang_input), traits, modules)?.0)
    }
}

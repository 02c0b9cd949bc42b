//! A guest that is given command after command, from its start to its end.
//!
//! What all commands share comes with the first one: files stay in the guest. A snapshot that cannot be restored is made
//! again, once, and then done without: only before the guest's first command.

use std::fs::File;

use super::brought::Brought;
use super::builder::Notes;
use super::health::Rules;
use super::prepare::{Found, Restore};
use super::recorder::Recorder;
use super::run::unrestored;
use super::session::Opening;
use super::snapshot::{Base, NotWarm, Talk, Waits};
use super::transcript::{Event, Transcript};
use super::verdict::judge;
use super::{Builder, Command, Inputs, Listener, Output, VmError};
use crate::cache::Key;
use crate::initrd::check::CheckedPlan;
use crate::initrd::spec::RunWhat;
use crate::root::modules::tables::ModuleTables;
use crate::root::root::Root;

/// A guest and all it takes to give it commands, or to start it again.
#[derive(Debug)]
pub(super) struct Stay {
    builder: Builder,
    console: Option<File>,
    found: Found,
    base: Base,
    key: Key,
    held: Held,
    notes: Notes,
    rules: Rules,
    /// What is in the guest, where that is not brought again.
    brought: Option<Brought>,
}

/// The guest.
#[derive(Debug)]
enum Held {
    /// It waits for a command.
    Waits {
        /// Where.
        waits: Box<Waits>,
        /// Whether it has not had one yet.
        is_new: bool,
    },
    /// It has ended; a sentence.
    Gone(String),
}

/// How to get a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// From a snapshot.
    Snapshot,
    /// From a boot.
    Boot,
}

impl Stay {
    /// Finds everything, and starts the guest.
    pub(super) fn start(builder: Builder, console: Option<File>) -> Result<Self, VmError> {
        let nothing = Command::of(RunWhat::Shell);
        let spec = builder.spec(&nothing, true)?;
        let rules = spec.health.rules()?;
        let root = Root::new(&spec.initrd.root)?;
        let mut notes = Notes::default();
        let found = Found::find(&root, &spec, &mut Inputs::default(), &mut notes)?;
        // A first payload without a command: what is missing is better known now, and the machine gets room for it all.
        let Restore { base, key, payload } =
            found.restorable(&root, &spec, &mut Notes::default())?.map_err(VmError::NotKept)?;
        let from = if builder.is_cold() { Origin::Boot } else { Origin::Snapshot };
        let held = Held::Gone("it was not started".to_owned());
        let brought = builder.brings_once().then(Brought::default);
        let mut stay = Self { builder, console, found, base, key, held, notes, rules, brought };
        let mut recorder = stay.recorder(&nothing)?;
        stay.held = stay.begin(from, &payload, &mut recorder)?;
        Ok(stay)
    }

    /// Ends the guest, and starts it from what is there now.
    pub(super) fn restart(&mut self) -> Result<(), VmError> {
        self.held = Held::Gone("it could not be started again".to_owned());
        *self = Self::start(self.builder.clone(), self.console.take())?;
        Ok(())
    }

    /// The number of QEMU's process, while there is one.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.held {
            Held::Waits { waits, .. } => Some(waits.guest.pid()),
            Held::Gone(_) => None,
        }
    }

    /// Runs a command.
    pub(super) fn run(&mut self, command: &Command) -> Result<Output, VmError> {
        let is_new = match &self.held {
            Held::Waits { is_new, .. } => *is_new,
            Held::Gone(how) => return Err(VmError::Gone(how.clone())),
        };
        let spec = self.builder.spec(command, is_new)?;
        let root = Root::new(&spec.initrd.root)?;
        // Modules may have been built since the last command.
        self.found.tables = ModuleTables::default();
        let whole = self.found.payload(&root, &spec, &mut self.notes)?;
        let payload = self.brought.as_ref().map_or_else(|| Ok(whole.clone()), |brought| brought.rest(&whole))?;
        let mut from = Origin::Snapshot;
        loop {
            let mut recorder = self.recorder(command)?;
            let Held::Waits { mut waits, is_new } = self.take() else { return Err(VmError::Gone(LOST.to_owned())) };
            let len = match self.base.fill(&waits.window, &payload) {
                Ok(len) => len,
                Err(error) => {
                    // It knows nothing of that.
                    self.held = Held::Waits { waits, is_new };
                    return Err(error);
                }
            };
            if let Some(brought) = &mut self.brought {
                brought.add(&whole);
            }
            let (orders, program) = (std::mem::take(&mut waits.orders), waits.program.take());
            let opening = Opening::Command { len, orders, program, stays: true };
            let transcript = recorder.lead(&mut waits.guest, opening)?;
            let why = waits.age.filter(|_| is_new).and_then(|_| unrestored(&transcript));
            let Some(why) = why else { return Ok(self.told(waits, transcript, recorder)) };
            drop(waits);
            self.found.cache.discard(&self.key)?;
            self.notes.note(&format!("restoring the guest failed: {why}"));
            self.held = self.begin(from, &payload, &mut recorder)?;
            from = Origin::Boot;
        }
    }

    /// What came of a command; keeps the guest if it stays.
    fn told(&mut self, mut waits: Box<Waits>, mut transcript: Transcript, recorder: Recorder) -> Output {
        transcript.health.splice(0..0, std::mem::take(&mut waits.health));
        let age = waits.age;
        let stays = transcript.events.last().is_some_and(Event::ends_command);
        let output = Output::new(transcript, recorder, age, std::mem::take(&mut self.notes.0), &self.rules);
        self.held = if stays {
            Held::Waits { waits, is_new: false }
        } else {
            Held::Gone(output.outcome.sentence().unwrap_or_else(|| LOST.to_owned()))
        };
        output
    }

    /// A guest that waits for its first command.
    fn begin(&mut self, from: Origin, payload: &CheckedPlan, talk: &mut dyn Talk) -> Result<Held, VmError> {
        let waits = match from {
            Origin::Snapshot => self.base.start(&self.found.cache, &self.key, payload, talk, &mut self.notes),
            Origin::Boot => self.base.boot_once(talk),
        };
        match waits {
            Ok(mut waits) => {
                // It may wait for long until its first command, whose times count from when that is given.
                waits.guest.started = None;
                Ok(Held::Waits { waits: Box::new(waits), is_new: true })
            }
            Err(NotWarm::Unfit(why)) => Err(VmError::NotKept(why)),
            Err(NotWarm::Ended(transcript, _)) => {
                let outcome = judge(&transcript);
                Err(VmError::NotBooted { outcome: Box::new(outcome), console: transcript.console_tail })
            }
            Err(NotWarm::Failed(error)) => Err(error),
        }
    }

    /// The guest, which is lost if nobody puts it back.
    fn take(&mut self) -> Held {
        std::mem::replace(&mut self.held, Held::Gone(LOST.to_owned()))
    }

    fn recorder(&self, command: &Command) -> Result<Recorder, VmError> {
        let console = self.console.as_ref().map(File::try_clone).transpose();
        let console = console.map_err(VmError::io("sharing", "the console's file"))?;
        let recorder = self.builder.recorder(command, &self.base.machine, console);
        Ok(recorder.on_hangs(command.idle.or(self.builder.idle()), self.found.inquest(), None))
    }
}

/// What is said of a guest that an error of this side has ended.
const LOST: &str = "it was ended by an error";

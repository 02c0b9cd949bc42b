//! From what is prepared to how it ended: boots a guest, or restores one, and has somebody talk with it.
//!
//! A snapshot that cannot be restored is thrown away and made again, once; after that the run boots. Only what no command
//! has run in is tried again.

use std::ffi::OsString;
use std::fs::File;
use std::time::Instant;

use super::launch::{Artefact, Guest};
use super::prepare::{Restore, no_initrd};
use super::session::Opening;
use super::snapshot::base::no_snapshots;
use super::snapshot::{Age, NotWarm, Talk, Warm};
use super::transcript::{Event, Limit, Transcript};
use super::{Listener, Prepared, RunSpec, VmError, Way, prepare};
use crate::qemu::argv::Payload;
use crate::qemu::machine::Machine;

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// Everything that happened.
    pub transcript: Transcript,
    /// The machine it ran on.
    pub machine: Machine,
    /// The command line QEMU was started with.
    pub command: Vec<OsString>,
    /// Where the kernel came from, in the user's words.
    pub kernel: String,
    /// When QEMU was started.
    pub started: Instant,
    /// How old the snapshot was that it began from; `None`: it booted.
    pub age: Option<Age>,
}

/// Runs it.
pub fn run(
    spec: &RunSpec,
    prepared: Prepared,
    talk: &mut dyn Talk,
    listener: &mut dyn Listener,
) -> Result<Ran, VmError> {
    let Way::Restore(restore) = &prepared.way else { return cold(prepared, talk) };
    let why = match warm(spec, restore, &prepared, talk, listener)? {
        Ok(ran) => return Ok(ran),
        Err(why) => why,
    };
    listener.note(&format!("booting cold: {why}"));
    let spec = RunSpec { warm: Warm::No, ..spec.clone() };
    cold(prepare(&spec, &mut super::Silent).map_err(|failed| failed.error)?, talk)
}

/// Runs it in a guest that is restored; or says, in half a sentence, why it cannot be.
fn warm(
    spec: &RunSpec,
    restore: &Restore,
    prepared: &Prepared,
    talk: &mut dyn Talk,
    listener: &mut dyn Listener,
) -> Result<Result<Ran, String>, VmError> {
    let Restore { base, key, payload } = restore;
    let cache = prepared.cache();
    if spec.warm == Warm::Fresh
        && let Err(error) = cache.discard(key)
    {
        return Ok(Err(no_snapshots(&error)));
    }
    let mut is_last = false;
    loop {
        let started = Instant::now();
        let ran = |transcript, command, age| Ran {
            transcript,
            machine: base.machine.clone(),
            command,
            kernel: prepared.kernel.clone(),
            started,
            age,
        };
        let mut waits = match base.start(cache, key, payload, talk, listener) {
            Ok(waits) => waits,
            Err(NotWarm::Unfit(why)) => return Ok(Err(why)),
            Err(NotWarm::Ended(transcript, command)) => return Ok(Ok(ran(*transcript, command, None))),
            Err(NotWarm::Failed(error)) => return Err(error),
        };
        let opening = Opening::Command { len: waits.len, orders: waits.orders, program: waits.program, stays: false };
        let mut transcript = talk.lead(&mut waits.guest, opening)?;
        let Some(why) = unrestored(&transcript) else {
            // What is wrong with a boot is wrong with all that goes on from it.
            transcript.health.splice(0..0, waits.health);
            return Ok(Ok(ran(transcript, waits.guest.command.clone(), waits.age)));
        };
        drop(waits.guest);
        if waits.age.is_none() {
            return Ok(Err(format!("the guest did not survive being saved: {why}")));
        }
        if let Err(error) = cache.discard(key) {
            return Ok(Err(no_snapshots(&error)));
        }
        if is_last {
            return Ok(Err(format!("snapshots cannot be restored: {why}")));
        }
        listener.note(&format!("making the snapshot again: {why}"));
        is_last = true;
    }
}

/// Why a guest never came back to life, if it did not, and nobody wanted that.
pub(super) fn unrestored(transcript: &Transcript) -> Option<String> {
    let mut why = None;
    for event in &transcript.events {
        match event {
            Event::Hello { .. }
            | Event::Failed { .. }
            | Event::Interrupted { .. }
            | Event::Escaped
            | Event::OutputClosed
            | Event::OutputFailed(_)
            | Event::TimedOut { limit: Limit::Total | Limit::Idle, .. } => return None,
            Event::NotRestored(said) => why = Some(said.clone()),
            Event::TimedOut { limit: Limit::Boot, after } => {
                why = Some(format!("the guest did not answer within {} s", after.as_secs()));
            }
            _ => {}
        }
    }
    let said = || (!transcript.qemu_said.is_empty()).then(|| transcript.qemu_said.join("; "));
    Some(
        why.or_else(said)
            .or_else(|| transcript.console.panic.clone())
            .unwrap_or_else(|| "the guest was gone".to_owned()),
    )
}

/// Boots it.
fn cold(prepared: Prepared, talk: &mut dyn Talk) -> Result<Ran, VmError> {
    let Prepared { machine, image, kernel, way, .. } = prepared;
    let Way::Boot(initrd) = way else { return Err(no_initrd()) };
    let open = File::open(&image).map_err(VmError::io("opening", format!("kernel image {}", image.display())))?;
    let payload = Payload::Linux { kernel: Artefact::Open(open.into()), initrd: Artefact::Open(initrd), warm: None };
    let started = Instant::now();
    let mut guest = Guest::start(&machine, &payload).map_err(VmError::io("starting", "QEMU"))?;
    let transcript = talk.lead(&mut guest, Opening::Boot)?;
    Ok(Ran { transcript, machine, command: guest.command.clone(), kernel, started, age: None })
}

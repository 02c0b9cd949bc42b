//! The initrd of a run, in memory: one that is made from what was found, or a ready-made one with ours on top.

use crate::initrd::memfd;
use std::os::fd::OwnedFd;

use super::compose::{
    self, BuildContext, Composition, Drivers, add_modules, set_environment, whole, working_directory,
};
use super::{Listener, RunSpec, VmError, ready_made};
use crate::arch::Arch;
use crate::initrd::job::init;
use crate::initrd::pid1;
use crate::initrd::{
    build::Plan,
    check::{CheckedPlan, Purpose},
};
use crate::qemu::machine::{MachineError, Transport};
use crate::root::root::Root;
use crate::{
    initrd::spec::{InitrdSpec, RunWhat},
    root::request::ModuleRequest,
};

/// What guests are called.
const HOSTNAME: &str = "bootling";

/// An initrd, and how its pid 1 will talk.
#[derive(Debug)]
pub(super) struct Made {
    /// The bytes: in memory, or a file that is open.
    pub(super) initrd: OwnedFd,
    /// The way.
    pub(super) transport: Transport,
}

/// Makes it, for a kernel that could talk over `transport`.
pub(super) fn make(
    spec: &RunSpec,
    context: BuildContext<'_>,
    transport: Transport,
    listener: &mut dyn Listener,
) -> Result<Made, VmError> {
    let transport = if spec.print_only { Transport::None } else { transport };
    if let Some(path) = &spec.ready_made {
        return ready_made::make(path, spec, context, transport, listener);
    }
    // What a base would have has to come now, and first, as there.
    let modules = [&spec.base_modules[..], &spec.initrd.modules].concat();
    let all = InitrdSpec { modules, ..spec.initrd.clone() };
    let mut composition = whole(context, &all, Drivers::of(transport))?;
    apply_run_options(&mut composition, context.root, spec, listener)?;
    let plan = plan(composition, context.kernel.arch, Purpose::Image)?;
    Ok(Made { initrd: memfd::memfd(&plan, 0)?, transport })
}

/// What depends on this run rather than on the image: terminal, environment, directory. Tells the notes.
pub(super) fn apply_run_options(
    composition: &mut Composition,
    root: &Root,
    spec: &RunSpec,
    listener: &mut dyn Listener,
) -> Result<(), VmError> {
    composition.job.hostname = Some(HOSTNAME.into());
    composition.job.tty = spec.boot.tty || (spec.print_only && spec.initrd.run == RunWhat::Shell);
    composition.job.cwd = working_directory(&spec.cwd, root, &composition.facts);
    if spec.boot.tty
        && let Some(term) = &spec.term
    {
        composition.job.env.push(("TERM".into(), term.clone()));
    }
    set_environment(&mut composition.job, &spec.env)?;
    for note in &composition.notes {
        listener.note(note);
    }
    Ok(())
}

/// The initrd of a guest that waits for commands: pid 1, the channel, and modules that are asked for before any command.
pub(super) fn base(
    context: BuildContext<'_>,
    drivers: Drivers,
    modules: &[ModuleRequest],
    window: u64,
) -> Result<OwnedFd, VmError> {
    let mut composition = compose::base(context, drivers)?;
    if !modules.is_empty() {
        let mut asked = Composition::default();
        add_modules(&mut asked, context, modules, Drivers::NONE)?;
        composition.facts.extend(asked.facts);
        composition.job.modules = asked.job.modules;
    }
    composition.job.hostname = Some(HOSTNAME.into());
    composition.job.window = Some(window);
    let plan = plan(composition, context.kernel.arch, Purpose::Image)?;
    Ok(memfd::memfd(&plan, 0)?)
}

/// What such a guest is given: a command with all it needs.
pub(super) fn payload(composition: Composition) -> Result<CheckedPlan, VmError> {
    let mut facts = composition.facts;
    facts.extend(composition.job.facts()?);
    Ok(Plan::from_facts(facts)?.check(Purpose::Overlay)?)
}

/// Adds pid 1 and its job, and checks the whole.
pub(super) fn plan(composition: Composition, arch: Arch, purpose: Purpose) -> Result<CheckedPlan, VmError> {
    let image = pid1::image(arch).ok_or(MachineError::Arch(arch))?;
    let mut facts = composition.facts;
    facts.push(init(image));
    facts.extend(composition.job.facts()?);
    Ok(Plan::from_facts(facts)?.check(purpose)?)
}

//! The initrd of a run, in memory: newly built, or an existing one with pid 1 and a job appended.

use std::os::fd::OwnedFd;

use super::compose::{
    self, BuildContext, Composition, Drivers, HOSTNAME, Made, add_modules, apply_run_options, plan, whole,
};
use super::devices::{GuestDevices, add_name_server};
use super::files::shares::FilesError;
use super::{Listener, RunSpec, VmError, files, ready_made};
use crate::initrd::build::Plan;
use crate::initrd::check::{CheckedPlan, Purpose};
use crate::initrd::memfd;
use crate::qemu::device::files::Support;
use crate::qemu::machine_type::Transport;
use crate::root::request::ModuleRequest;
use crate::root::spec::InitrdSpec;

/// Builds the initrd for a kernel that supports `transport`.
pub(super) fn make(
    spec: &RunSpec,
    context: BuildContext<'_>,
    transport: Transport,
    listener: &mut dyn Listener,
) -> Result<Made, VmError> {
    let transport = if spec.print_only { Transport::None } else { transport };
    let option = spec.ready_made.as_ref().map(|_| "--initrd").or(spec.print_only.then_some("--print-command"));
    if let Some(option) = option.filter(|_| spec.boot.files.needs() != Support::Nothing) {
        return Err(FilesError::NoServer(option).into());
    }
    if let Some(path) = &spec.ready_made {
        return ready_made::make(path, spec, context, transport, listener);
    }
    // The modules of the base come first, as in a base.
    let modules = [&spec.base_modules[..], &spec.initrd.modules].concat();
    let all = InitrdSpec { modules, ..spec.initrd.clone() };
    let drivers = Drivers::of(transport);
    let mut composition = match &spec.boot.files.root {
        None => whole(context, &all, drivers)?,
        Some(root) => files::image::whole(context, &all, drivers, root)?,
    };
    GuestDevices::of(&spec.boot).add_to_boot(&mut composition, context)?;
    add_name_server(&mut composition, &spec.boot);
    apply_run_options(&mut composition, context.root, spec, listener)?;
    let plan = plan(composition, context.kernel.arch, Purpose::Image)?;
    Ok(Made { initrd: memfd::memfd(&plan, 0)?, transport })
}

/// Builds the initrd of a base: pid 1, the channel, and the modules to load before the first command.
pub(super) fn base(
    context: BuildContext<'_>,
    drivers: Drivers,
    modules: &[ModuleRequest],
    devices: &GuestDevices,
    window: u64,
) -> Result<OwnedFd, VmError> {
    let mut composition = compose::base(context, drivers)?;
    if !modules.is_empty() {
        let mut asked = Composition::default();
        add_modules(&mut asked, context, modules, Drivers::NONE)?;
        composition.facts.extend(asked.facts);
        composition.job.modules.extend(asked.job.modules);
    }
    devices.add_to_boot(&mut composition, context)?;
    composition.job.hostname = Some(HOSTNAME.into());
    composition.job.window = Some(window);
    let plan = plan(composition, context.kernel.arch, Purpose::Image)?;
    Ok(memfd::memfd(&plan, 0)?)
}

/// Builds a payload: a command with its files.
pub(super) fn payload(composition: Composition) -> Result<CheckedPlan, VmError> {
    let mut facts = composition.facts;
    facts.extend(composition.job.facts()?);
    Ok(Plan::from_facts(facts)?.check(Purpose::Overlay)?)
}

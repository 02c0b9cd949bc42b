//! Everything before QEMU starts: kernel, accelerator, transport, initrd in memory, machine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::compose::{Composition, compose, set_environment};
use super::options::InitrdArgs;
use super::output;
use crate::arch::Arch;
use crate::boot::kvm;
use crate::boot::machine::{
    Accelerator, Machine, MachineError, Transport, choose_accelerator, command_line, is_microvm, memory_for,
};
use crate::boot::qemu::Qemu;
use crate::cache::{Cache, Key};
use crate::plan::{Channel, CheckedPlan, Job, Plan, Purpose};
use crate::resolve::Root;
use crate::resolve::kernel::{self, Kernel};
use crate::resolve::modules::{self, ChannelDriver};
use crate::spec::{ArchivePath, BootSpec, InitrdSpec, RunWhat};
use crate::{pid1, proto, write};

/// What a run asks for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// What goes into the initrd.
    pub initrd: &'a InitrdArgs,
    /// What runs in it.
    pub what: RunWhat,
    /// The machine.
    pub spec: &'a BootSpec,
    /// An initrd to boot instead.
    pub ready_made: Option<&'a Path>,
    /// Settings of the command's environment.
    pub env: &'a [OsString],
    /// Whether to keep notes to ourselves.
    pub quiet: bool,
    /// Whether a person will boot it by hand: pid 1 then talks on the console alone.
    pub for_pasting: bool,
}

/// Ready to boot.
#[derive(Debug)]
pub struct Prepared {
    /// The machine.
    pub machine: Machine,
    /// The kernel image.
    pub image: PathBuf,
    /// Where the kernel came from, in the user's words.
    pub kernel: String,
    /// The initrd, in memory or open.
    pub initrd: OwnedFd,
    cache: Cache,
}

impl Prepared {
    /// Whether the initrd is somebody else's, booted as it is.
    pub fn is_foreign(&self) -> bool {
        self.machine.transport == Transport::None
    }
}

/// Does all of it.
pub fn run(wanted: &Wanted<'_>) -> anyhow::Result<Prepared> {
    let root = Root::new(wanted.initrd.sysroot())?;
    let cache = Cache::open()?;
    let mut progress = output::Progress::new(wanted.quiet);
    let kernel = kernel::find(&root, &wanted.initrd.kernel(), &cache, &mut |doing| progress.show(doing))?;
    let vmlinux = kernel::vmlinux(&kernel, &cache, &mut |doing| progress.show(doing))?;
    progress.clear();
    if pid1::image(kernel.arch).is_none() {
        return Err(MachineError::Arch(kernel.arch).into());
    }
    let image = vmlinux.unwrap_or_else(|| kernel.image.clone());
    let qemu = Qemu::find(wanted.spec.qemu.as_deref(), kernel.arch, Some(&cache))?;
    let (accelerator, no_kvm) = choose_accelerator(wanted.spec.accel, kernel.arch, kvm::probe)?;
    if let Some(why) = no_kvm.as_ref().filter(|_| !wanted.quiet) {
        output::note(&format!("using TCG: {why}"));
    }
    let machine_type = wanted.spec.machine.clone().unwrap_or_else(|| "q35".into());
    let transport = transport(&kernel, &root, &machine_type)?;
    let made = make_initrd(wanted, &root, &kernel, transport)?;
    let initrd_len = rustix::fs::fstat(&made.initrd).context("sizing the initrd")?.st_size;
    let machine = Machine {
        qemu,
        accelerator,
        no_kvm,
        machine: machine_type,
        cpu: wanted.spec.cpu.clone().unwrap_or_else(|| default_cpu(accelerator).into()),
        smp: wanted.spec.smp.clone(),
        memory_mib: memory_for(wanted.spec.memory_mib, u64::try_from(initrd_len).unwrap_or(0))?,
        command_line: command_line(wanted.spec),
        extra: wanted.spec.qemu_args.clone(),
        transport: made.transport,
    };
    Ok(Prepared { machine, image, kernel: kernel.origin, initrd: made.initrd, cache })
}

const fn default_cpu(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    }
}

/// The fastest channel that this kernel has drivers for, on a machine of this type.
fn transport(kernel: &Kernel, root: &Root, machine: &OsStr) -> anyhow::Result<Transport> {
    let driver = modules::channel_driver(root, kernel)?;
    Ok(match (driver, is_microvm(machine)) {
        (_, true) => Transport::VirtioMmio,
        (ChannelDriver::Builtin | ChannelDriver::Modules, false) => Transport::VirtioPci,
        (ChannelDriver::Absent, false) => Transport::Com2,
    })
}

/// The modules a transport needs where they are not built in.
const fn drivers(transport: Transport) -> &'static [&'static str] {
    match transport {
        Transport::VirtioPci => &["virtio_pci", "virtio_console"],
        Transport::VirtioMmio => &["virtio_mmio", "virtio_console"],
        Transport::Com2 | Transport::None => &[],
    }
}

fn channel(transport: Transport) -> Option<Channel> {
    match transport {
        Transport::VirtioPci | Transport::VirtioMmio => Some(Channel::Virtio),
        Transport::Com2 => Some(Channel::Serial("ttyS1".into())),
        Transport::None => None,
    }
}

/// An initrd, and how its pid 1 will talk.
struct Made {
    initrd: OwnedFd,
    transport: Transport,
}

fn make_initrd(wanted: &Wanted<'_>, root: &Root, kernel: &Kernel, transport: Transport) -> anyhow::Result<Made> {
    let transport = if wanted.for_pasting { Transport::None } else { transport };
    let Some(path) = wanted.ready_made else {
        let spec = wanted.initrd.spec(wanted.what.clone())?;
        let composition = compose_for(wanted, root, &spec, kernel, transport)?;
        check_packing(&spec, kernel)?;
        let plan = finish(composition, kernel.arch, Purpose::Initrd)?;
        return Ok(Made { initrd: write::memfd::memfd(&plan, 0)?, transport });
    };
    let opening = || format!("opening initrd {}", path.display());
    let mut file = File::open(path).with_context(opening)?;
    let job = if wanted.what == RunWhat::Shell { job_of(&file).with_context(opening)? } else { None };
    if job.is_none() && wanted.what == RunWhat::Shell {
        file.seek(SeekFrom::Start(0)).with_context(opening)?;
        return Ok(Made { initrd: file.into(), transport: Transport::None });
    }
    let spec = wanted.initrd.overlay_spec()?;
    let mut composition = compose_for(wanted, root, &spec, kernel, transport)?;
    take_over(&mut composition.job, job, &wanted.what);
    let plan = finish(composition, kernel.arch, Purpose::Overlay)?;
    file.seek(SeekFrom::Start(0)).with_context(opening)?;
    Ok(Made { initrd: write::memfd::overlay(&mut file, &plan, 0)?, transport })
}

fn compose_for(
    wanted: &Wanted<'_>,
    root: &Root,
    spec: &InitrdSpec,
    kernel: &Kernel,
    transport: Transport,
) -> anyhow::Result<Composition> {
    let channel = channel(transport).map(|channel| (channel, drivers(transport)));
    let mut composition = compose(root, spec, Some(kernel), kernel.arch, channel)?;
    composition.job.tty = wanted.spec.tty || (wanted.for_pasting && wanted.what == RunWhat::Shell);
    if wanted.spec.tty
        && let Some(term) = std::env::var_os("TERM")
    {
        composition.job.env.push(("TERM".into(), term));
    }
    set_environment(&mut composition.job, wanted.env)?;
    if !wanted.quiet {
        for note in &composition.notes {
            output::note(note);
        }
    }
    Ok(composition)
}

/// Adds pid 1 and its job, and checks the whole.
fn finish(composition: Composition, arch: Arch, purpose: Purpose) -> anyhow::Result<CheckedPlan> {
    let image = pid1::image(arch).ok_or(MachineError::Arch(arch))?;
    let mut facts = composition.facts;
    facts.push(crate::plan::init(image));
    facts.extend(composition.job.facts()?);
    Ok(Plan::from_facts(facts)?.check(purpose)?)
}

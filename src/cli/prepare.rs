//! Everything before QEMU starts: kernel, accelerator, transport, initrd in memory, machine.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};

use super::compose::{Composition, add_modules, compose, set_environment, set_variables};
use super::options::InitrdArgs;
use super::output;
use super::progress::Progress;
use crate::arch::Arch;
use crate::boot::firmware::{self, Firmware};
use crate::boot::kvm;
use crate::boot::machine::{
    Accelerator, Display, Machine, MachineError, Transport, choose_accelerator, command_line, extra_arguments,
    is_microvm, machine_for, memory_for,
};
use crate::boot::qemu::Qemu;
use crate::cache::{Cache, Key};
use crate::plan::job::{Channel, Job, init};
use crate::plan::{CheckedPlan, Plan, Purpose};
use crate::resolve::kernel::{self, ImageKind, Kernel};
use crate::resolve::modules::{self, ChannelDriver};
use crate::resolve::{Fact, Root, userland};
use crate::spec::{ArchivePath, BootSpec, FirmwareRef, KernelRef, RunWhat};
use crate::write::read::{ReadError, Rule};
use crate::{pid1, proto, write};

/// What guests are called.
const HOSTNAME: &str = "bootling";

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

/// Does all of it; what it was made from is told even where it cannot be done.
pub fn run(wanted: &Wanted<'_>, inputs: &mut crate::watch::Inputs) -> anyhow::Result<Prepared> {
    let root = Root::new(wanted.initrd.sysroot.as_deref().unwrap_or(Path::new("/")))?;
    let prepared = below(&root, wanted);
    inputs.paths.extend(root.paths_read().into_iter().chain(root.paths_missed()));
    inputs.listed.extend(root.paths_listed());
    if let Ok(prepared) = &prepared {
        inputs.paths.extend([prepared.image.clone(), prepared.machine.qemu.path.clone()]);
    }
    let named = wanted.initrd.kernel.as_ref().map(PathBuf::from);
    inputs.paths.extend(
        named.iter().map(PathBuf::as_path).chain(wanted.ready_made).filter_map(|path| std::path::absolute(path).ok()),
    );
    prepared
}

fn below(root: &Root, wanted: &Wanted<'_>) -> anyhow::Result<Prepared> {
    let cache =
        Cache::open().map_err(|error| output::advise(error, "name a directory of yours in BOOTLING_CACHE_DIR"))?;
    let mut progress = Progress::new(wanted.quiet);
    let kernel = kernel::find(root, &wanted.initrd.kernel().unwrap_or(KernelRef::Newest), &cache, &mut |doing| {
        progress.show(doing);
    })?;
    // Firmware starts a kernel as boot loaders do, and that is the bzImage.
    let vmlinux = match wanted.spec.firmware {
        FirmwareRef::Direct => kernel::vmlinux(&kernel, &cache, &mut |doing| progress.show(doing))?,
        FirmwareRef::Bios | FirmwareRef::Uefi { .. } | FirmwareRef::File(_) => None,
    };
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
    let firmware = firmware_for(wanted.spec, &kernel, &machine_type, &qemu)?;
    let transport = transport(&kernel, root, &machine_type);
    let made = make_initrd(wanted, root, &kernel, transport)?;
    let initrd_len = rustix::fs::fstat(&made.initrd).context("sizing the initrd")?.st_size;
    let machine = Machine {
        qemu,
        accelerator,
        no_kvm,
        machine: machine_for(machine_type, &firmware),
        firmware,
        display: Display::None,
        cpu: wanted.spec.cpu.clone().unwrap_or_else(|| default_cpu(accelerator).into()),
        smp: wanted.spec.smp.clone(),
        memory_mib: memory_for(wanted.spec.memory_mib, u64::try_from(initrd_len).unwrap_or(0))?,
        command_line: command_line(wanted.spec, accelerator)?,
        extra: extra_arguments(&wanted.spec.qemu_args)?,
        transport: made.transport,
    };
    Ok(Prepared { machine, image, kernel: kernel.origin, initrd: made.initrd, cache })
}

/// `-cpu` where none was asked for.
pub const fn default_cpu(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    }
}

/// The firmware that was asked for, if it can start this kernel.
fn firmware_for(spec: &BootSpec, kernel: &Kernel, machine: &OsStr, qemu: &Qemu) -> anyhow::Result<Firmware> {
    let vars = spec.firmware_vars.as_deref();
    let firmware = firmware::find(&spec.firmware, vars, kernel.arch, machine, qemu)?;
    match (&firmware, kernel.kind) {
        (Firmware::Direct, _) | (Firmware::Bios(_), ImageKind::BzImage) => Ok(firmware),
        (Firmware::Uefi(_), ImageKind::BzImage) => {
            let is_pe = starts_as_pe(&kernel.image).with_context(|| format!("reading {}", kernel.origin))?;
            ensure!(is_pe, "starting {} by UEFI: it is no EFI program (CONFIG_EFI_STUB is off)", kernel.origin);
            Ok(firmware)
        }
        (Firmware::Bios(_) | Firmware::Uefi(_), ImageKind::VmlinuxPvh) => {
            let error = anyhow!("starting {} by firmware: it is a vmlinux, which no firmware starts", kernel.origin);
            Err(output::advise(error, "name the bzImage of the same build (arch/x86/boot/bzImage)"))
        }
    }
}

/// Whether a file starts as EFI programs do (PE/COFF: `MZ`).
fn starts_as_pe(path: &Path) -> std::io::Result<bool> {
    let mut magic = [0; 2];
    File::open(path)?.read_exact(&mut magic)?;
    Ok(magic == *b"MZ")
}

/// The fastest channel that this kernel has drivers for, on a machine of this type.
fn transport(kernel: &Kernel, root: &Root, machine: &OsStr) -> Transport {
    let driver = modules::channel_modules(kernel, root);
    match (driver, is_microvm(machine)) {
        (_, true) => Transport::VirtioMmio,
        (ChannelDriver::Builtin | ChannelDriver::Modules, false) => Transport::VirtioPci,
        (ChannelDriver::Absent, false) => Transport::Com2,
    }
}

/// The modules a transport needs where they are not built in.
const fn drivers(transport: Transport) -> &'static [&'static str] {
    match transport {
        Transport::VirtioPci => &["virtio_pci", "virtio_console"],
        Transport::VirtioMmio => &["virtio_mmio", "virtio_console"],
        Transport::Com2 | Transport::None => &[],
    }
}

/// In a segment on top of somebody's initrd, modules stand where they cannot collide with anything: a directory `/lib`
/// of ours would replace a link `/lib` of theirs (`init/initramfs.c`, `clean_path`).
fn move_modules(composition: &mut Composition) {
    let below = ArchivePath::new("/.bootling/modules");
    let facts = std::mem::take(&mut composition.facts);
    let job = &mut composition.job;
    for load in job.modules.iter_mut().chain(&mut job.channel_modules) {
        let moved = below.join(load.path.file_name());
        let found = facts.iter().find(|fact| fact.path == load.path);
        composition.facts.extend(found.map(|fact| Fact { path: moved.clone(), ..fact.clone() }));
        load.path = moved;
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
        let spec = wanted.initrd.spec(&[], wanted.what.clone())?;
        let mut composition = compose(root, &spec, kernel.arch)?;
        add_modules(&mut composition, root, &spec.modules, kernel, with_drivers(transport))?;
        settle(&mut composition, wanted)?;
        let plan = finish(composition, kernel.arch, Purpose::Image)?;
        return Ok(Made { initrd: write::memfd::memfd(&plan, 0)?, transport });
    };
    let opening = || format!("opening initrd {}", path.display());
    let mut file = File::open(path).with_context(opening)?;
    let metadata = file.metadata().with_context(opening)?;
    ensure!(metadata.is_file(), "opening initrd {}: it is not a regular file", path.display());
    let as_it_is = wanted.what == RunWhat::Shell;
    let job = match job_of(&file) {
        Err(error) if as_it_is && is_unknown(&error) => None,
        found => found.with_context(|| format!("reading initrd {}", path.display()))?,
    };
    if job.is_none() && as_it_is {
        ensure!(
            wanted.initrd.kmod.is_empty() && wanted.env.is_empty(),
            "using --kmod or --env with {}: it is not bootling's and boots as it is; give a COMMAND or --run",
            path.display()
        );
        file.seek(SeekFrom::Start(0)).with_context(opening)?;
        return Ok(Made { initrd: file.into(), transport: Transport::None });
    }
    let job = job.filter(|_| as_it_is).map(|bytes| Job::decode(&bytes)).transpose()?;
    let mut composition = Composition::default();
    if job.is_none() {
        composition.job.env = userland::base_environment();
    }
    add_modules(&mut composition, root, &wanted.initrd.kmod, kernel, with_drivers(transport))?;
    move_modules(&mut composition);
    settle(&mut composition, wanted)?;
    take_over(&mut composition.job, job, &wanted.what);
    let plan = finish(composition, kernel.arch, Purpose::Overlay)?;
    file.seek(SeekFrom::Start(0)).with_context(opening)?;
    Ok(Made { initrd: write::memfd::overlay(&mut file, &plan, 0)?, transport })
}

/// A channel and the modules it may need.
fn with_drivers(transport: Transport) -> Option<(Channel, &'static [&'static str])> {
    channel(transport).map(|channel| (channel, drivers(transport)))
}

/// What depends on this run rather than on the image: terminal and environment. Tells the notes.
fn settle(composition: &mut Composition, wanted: &Wanted<'_>) -> anyhow::Result<()> {
    composition.job.hostname = Some(HOSTNAME.into());
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
    Ok(())
}

/// Adds pid 1 and its job, and checks the whole.
fn finish(composition: Composition, arch: Arch, purpose: Purpose) -> anyhow::Result<CheckedPlan> {
    let image = pid1::image(arch).ok_or(MachineError::Arch(arch))?;
    let mut facts = composition.facts;
    facts.push(init(image));
    facts.extend(composition.job.facts()?);
    Ok(Plan::from_facts(facts)?.check(purpose)?)
}

/// The job of an initrd, if bootling built it; the last one counts, as it does for the kernel. The whole of it is read:
/// what the kernel would give up on in the middle hides all that stands behind it, and that is where ours goes.
fn job_of(file: &File) -> Result<Option<Vec<u8>>, ReadError> {
    /// A job holds arguments, an environment and module names.
    const LIMIT: u64 = 256 << 20;
    let wanted = ArchivePath::new(proto::job::PATH);
    let mut job = None;
    let reader = BufReader::with_capacity(1 << 16, file);
    write::read::walk(reader, &mut |member, data| {
        if ArchivePath::new(OsStr::from_bytes(&member.name)) == wanted {
            let mut bytes = Vec::new();
            data.take(LIMIT).read_to_end(&mut bytes)?;
            job = Some(bytes);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(job)
}

/// Whether a file starts in a way that we do not know, but a kernel may.
fn is_unknown(error: &ReadError) -> bool {
    matches!(error, ReadError::Broken { segment, rule: Rule::Magic(_), .. } if segment.number == 1)
}

/// What a ready-made initrd is to run: its own job over our channel, or what was asked for.
fn take_over(job: &mut Job, own: Option<Job>, what: &RunWhat) {
    match (own, what) {
        (Some(own), _) => {
            // Theirs is the command; ours are the way to talk, and what was asked for on top.
            let asked = std::mem::replace(job, own);
            (job.channel, job.channel_modules, job.tty) = (asked.channel, asked.channel_modules, asked.tty);
            job.modules.extend(asked.modules);
            set_variables(job, asked.env);
        }
        (None, RunWhat::Command(words)) => job.args.clone_from(words),
        (None, RunWhat::Line(line)) => job.args = vec!["/bin/sh".into(), "-c".into(), line.clone()],
        (None, RunWhat::Shell) => {}
    }
}

/// Keeps the initrd in the cache under a name that a person can paste.
pub fn keep(prepared: &Prepared) -> anyhow::Result<PathBuf> {
    let mut image = File::from(prepared.initrd.try_clone().context("reading the initrd")?);
    let mut bytes = Vec::new();
    image.seek(SeekFrom::Start(0)).and_then(|_| image.read_to_end(&mut bytes)).context("reading the initrd")?;
    let key = Key::of("initrd 1", &[&bytes]);
    prepared.cache.file(&key, |file| file.write_all(&bytes).context("keeping the initrd in the cache"))
}

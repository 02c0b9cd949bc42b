//! Everything before QEMU starts: kernel, accelerator, transport, initrd in memory, machine.

use crate::initrd::archive;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::bases::Bases;
use super::compose::{self, Drivers, Ground};
use super::hang::Inquest;
use super::initrd::{self, Made};
use super::snapshot::fit::unfit;
use super::snapshot::{self, Base, Warm};
use super::{Inputs, Listener, RunSpec, VmError};
use crate::cache::{Cache, Key};
use crate::initrd::check::CheckedPlan;
use crate::initrd::pid1;
use crate::qemu::firmware::{self, Firmware};
use crate::qemu::kvm;
use crate::qemu::machine::{
    Accelerator, Display, Machine, MachineError, Transport, choose_accelerator, command_line, extra_arguments,
    is_microvm, machine_for, memory_for,
};
use crate::qemu::program::Qemu;
use crate::root::kernel::symbols::Source;
use crate::root::kernel::{self, ImageKind, Kernel};
use crate::root::modules::{self, ChannelDriver, tables::ModuleTables};
use crate::root::root::Root;
use crate::{
    qemu::spec::{BootSpec, FirmwareRef},
    root::request::KernelRef,
};

/// Ready to boot.
#[derive(Debug)]
pub struct Prepared {
    /// The machine.
    pub machine: Machine,
    /// The kernel image.
    pub image: PathBuf,
    /// Where the kernel came from, in the user's words.
    pub kernel: String,
    /// How it gets its command.
    pub way: Way,
    /// What it was made from.
    pub inputs: Inputs,
    /// What is told to those who find out why it hangs, if it does.
    pub inquest: Inquest,
    pub(super) cache: Cache,
}

/// How a guest gets its command.
#[derive(Debug)]
pub enum Way {
    /// In the initrd that it boots with: in memory, or an open file.
    Boot(OwnedFd),
    /// Once it is there, restored from a base or about to be one.
    Restore(Box<Restore>),
}

/// A guest that is restored, and its command.
#[derive(Debug)]
pub struct Restore {
    /// What it is restored to.
    pub base: Base,
    /// The snapshot's name.
    pub key: Key,
    /// The command with all it needs.
    pub payload: CheckedPlan,
}

/// What could not be prepared, and what would have to change first.
#[derive(Debug)]
pub struct Unprepared {
    /// Why not.
    pub error: VmError,
    /// What was read, and looked for in vain, until then.
    pub inputs: Inputs,
}

impl fmt::Display for Unprepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Unprepared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Prepared {
    /// Where what is slow to make is kept.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether the initrd is somebody else's, booted as it is.
    pub fn is_foreign(&self) -> bool {
        self.machine.transport == Transport::None
    }

    /// Keeps the initrd in the cache under a name that a person can paste.
    pub fn keep(&self) -> Result<PathBuf, VmError> {
        let reading = || VmError::io("reading", "the initrd");
        let Way::Boot(initrd) = &self.way else {
            return Err(no_initrd());
        };
        let mut image = File::from(initrd.try_clone().map_err(reading())?);
        let mut bytes = Vec::new();
        image.seek(SeekFrom::Start(0)).and_then(|_| image.read_to_end(&mut bytes)).map_err(reading())?;
        let key = Key::of("initrd 1", &[&bytes]);
        self.cache.file(&key, |file| file.write_all(&bytes).map_err(VmError::io("keeping", "the initrd in the cache")))
    }
}

/// What is to boot was prepared to be restored.
pub(super) fn no_initrd() -> VmError {
    VmError::io("reading", "the initrd")(std::io::Error::other("a guest that is restored has none"))
}

/// Does all of it.
pub fn prepare(spec: &RunSpec, listener: &mut dyn Listener) -> Result<Prepared, Box<Unprepared>> {
    let mut inputs = Inputs::named(spec);
    let root = match Root::new(&spec.initrd.root) {
        Ok(root) => root,
        Err(error) => {
            inputs.extend([spec.initrd.root.as_path()]);
            return Err(Box::new(Unprepared { error: error.into(), inputs }));
        }
    };
    let prepared = below(&root, spec, &mut inputs, listener);
    inputs.add(&root);
    match prepared {
        Ok(prepared) => Ok(Prepared { inputs, ..prepared }),
        Err(error) => Err(Box::new(Unprepared { error, inputs })),
    }
}

/// Prepares what is found below `root`, and adds to `inputs` what is found elsewhere.
fn below(root: &Root, spec: &RunSpec, inputs: &mut Inputs, listener: &mut dyn Listener) -> Result<Prepared, VmError> {
    // A pattern that is none is better known now.
    spec.health.rules()?;
    Found::find(root, spec, inputs, listener)?.prepared(root, spec, listener)
}

/// What a run is made from, whatever its command.
#[derive(Debug)]
pub(super) struct Found {
    /// The kernel.
    pub(super) kernel: Kernel,
    /// The image of it that starts fastest.
    pub(super) image: PathBuf,
    /// That image's kind.
    pub(super) kind: ImageKind,
    /// What runs it.
    pub(super) platform: Platform,
    /// The tables of its modules.
    pub(super) tables: ModuleTables,
    /// The way its pid 1 could talk.
    pub(super) transport: Transport,
    /// Where what is slow to make is kept.
    pub(super) cache: Cache,
    /// What its guests are restored to.
    bases: Bases,
}

impl Found {
    /// Finds it, and adds to `inputs` what is not below the root.
    pub(super) fn find(
        root: &Root,
        spec: &RunSpec,
        inputs: &mut Inputs,
        listener: &mut dyn Listener,
    ) -> Result<Self, VmError> {
        let cache = spec.open_cache()?;
        let found = find_kernel(root, spec, &cache, listener);
        inputs.add_tree(spec, found.as_ref().ok().map(|(kernel, ..)| kernel.image.as_path()));
        let (kernel, image, kind) = found?;
        inputs.extend([kernel.image.as_path()]);
        let platform = Platform::find(spec, &kernel, &cache, listener)?;
        inputs.extend([platform.qemu.path.as_path()].into_iter().chain(platform.firmware.path()));
        let tables = ModuleTables::default();
        let transport = transport(&kernel, &tables, &platform.machine);
        let bases = Bases::default();
        Ok(Self { kernel, image, kind, platform, tables, transport, cache, bases })
    }

    /// Prepares a run of what this was found for: another command, with other files, in a guest of the same kind.
    pub(super) fn prepared(
        &self,
        root: &Root,
        spec: &RunSpec,
        listener: &mut dyn Listener,
    ) -> Result<Prepared, VmError> {
        let of = |machine: Machine, way: Way| Prepared {
            machine,
            image: self.image.clone(),
            kernel: self.kernel.origin.clone(),
            way,
            inputs: Inputs::default(),
            inquest: self.inquest(),
            cache: self.cache.clone(),
        };
        match spec.warm {
            Warm::No => {}
            // It is for a person to boot.
            Warm::Yes | Warm::Fresh if spec.for_pasting => {}
            Warm::Yes | Warm::Fresh => match self.restorable(root, spec, listener)? {
                Ok(restore) => return Ok(of(restore.base.machine.clone(), Way::Restore(Box::new(restore)))),
                Err(why) => listener.note(&format!("booting cold: {why}")),
            },
        }
        let Made { initrd, transport } = initrd::make(spec, self.ground(root), self.transport, listener)?;
        let size = rustix::fs::fstat(&initrd).map_err(|errno| VmError::io("sizing", "the initrd")(errno.into()))?;
        let size = u64::try_from(size.st_size).unwrap_or(0);
        let machine = self.platform.clone().machine(&spec.boot, size, transport)?;
        Ok(of(machine, Way::Boot(initrd)))
    }

    /// What is told to those who find out why a guest of it hangs.
    pub(super) fn inquest(&self) -> Inquest {
        inquest(&self.image, &self.kernel.image, self.kind)
    }

    /// What images of it are made from.
    fn ground<'a>(&'a self, root: &'a Root) -> Ground<'a> {
        Ground { root, kernel: &self.kernel, tables: &self.tables }
    }

    /// The two halves of a guest that is restored, or why it has to boot.
    pub(super) fn restorable(
        &self,
        root: &Root,
        spec: &RunSpec,
        listener: &mut dyn Listener,
    ) -> Result<Result<Restore, String>, VmError> {
        if let Some(why) = unfit(spec, &self.platform.machine, self.transport) {
            return Ok(Err(why));
        }
        let payload = self.payload(root, spec, listener)?;
        let len = archive::len(&payload, &archive::Options { align: true, mtime: 0 });
        let machine = self.platform.clone().machine(&spec.boot, len, self.transport)?;
        let window_mib = snapshot::base::window_mib(len);
        let modules = spec.base_modules.iter().map(|module| module.name.to_string_lossy().into_owned()).collect();
        let drivers = Drivers::of(self.transport);
        let make = || initrd::base(self.ground(root), drivers, &spec.base_modules, window_mib << 20);
        let ingredients = snapshot::key::ingredients(&machine, &self.image, window_mib, &self.cache);
        let (initrd, key) = self.bases.get(&spec.base_modules, window_mib, ingredients, make)?;
        let (image, kind, kernel) = (self.image.clone(), self.kind, self.kernel.origin.clone());
        let base = Base { machine, image, kind, kernel, initrd, modules, window_mib };
        Ok(Ok(Restore { base, key, payload }))
    }

    /// A command with all it needs, for a guest that is up.
    pub(super) fn payload(
        &self,
        root: &Root,
        spec: &RunSpec,
        listener: &mut dyn Listener,
    ) -> Result<CheckedPlan, VmError> {
        let mut command = compose::command(self.ground(root), &spec.initrd)?;
        initrd::settle(&mut command, root, spec, listener)?;
        initrd::payload(command)
    }
}

/// What is told to those who find out why a guest of this kernel hangs: its image, and what that was made from.
pub(super) fn inquest(image: &Path, origin: &Path, kind: ImageKind) -> Inquest {
    let may_move = match kind {
        ImageKind::BzImage => true,
        // It runs where it was linked to: there is nothing that would move it.
        ImageKind::VmlinuxPvh => false,
    };
    Inquest { symbols: Some(Source::new(image, origin)), may_move }
}

/// The kernel that is wanted, and the image of it that starts fastest, with its kind.
pub(super) fn find_kernel(
    root: &Root,
    spec: &RunSpec,
    cache: &Cache,
    listener: &mut dyn Listener,
) -> Result<(Kernel, PathBuf, ImageKind), VmError> {
    let mut progress = |doing: &str| listener.progress(doing);
    let wanted = spec.kernel.as_ref().unwrap_or(&KernelRef::Newest);
    let kernel = kernel::find(root, wanted, cache, &mut progress)?;
    // Firmware starts a kernel as boot loaders do, and that is the bzImage.
    let vmlinux = match spec.boot.firmware {
        FirmwareRef::Direct => kernel::vmlinux(&kernel, cache, &mut progress)?,
        FirmwareRef::Bios | FirmwareRef::Uefi { .. } | FirmwareRef::File(_) => None,
    };
    if pid1::image(kernel.arch).is_none() {
        return Err(MachineError::Arch(kernel.arch).into());
    }
    let (image, kind) = match vmlinux {
        Some(vmlinux) => (vmlinux, ImageKind::VmlinuxPvh),
        None => (kernel.image.clone(), kernel.kind),
    };
    Ok((kernel, image, kind))
}

/// What runs a kernel, whatever the initrd will be.
#[derive(Debug, Clone)]
pub(super) struct Platform {
    /// The program.
    pub(super) qemu: Qemu,
    /// What executes guest code.
    pub(super) accelerator: Accelerator,
    /// Why not KVM, where it was not asked against.
    pub(super) no_kvm: Option<String>,
    /// The machine type.
    pub(super) machine: OsString,
    /// What it starts with.
    pub(super) firmware: Firmware,
}

impl Platform {
    /// Finds what was asked for, and chooses where nothing was.
    pub(super) fn find(
        spec: &RunSpec,
        kernel: &Kernel,
        cache: &Cache,
        listener: &mut dyn Listener,
    ) -> Result<Self, VmError> {
        let qemu = Qemu::find(spec.boot.qemu.as_deref(), kernel.arch, Some(cache))?;
        let (accelerator, no_kvm) = choose_accelerator(spec.boot.accel, kernel.arch, kvm::probe)?;
        if let Some(why) = &no_kvm {
            listener.note(&format!("using TCG: {why}"));
        }
        let machine = spec.boot.machine.clone().unwrap_or_else(|| "q35".into());
        let firmware = firmware_for(&spec.boot, kernel, &machine, &qemu)?;
        Ok(Self { qemu, accelerator, no_kvm, machine, firmware })
    }

    /// The machine for an initrd of this many bytes.
    pub(super) fn machine(self, spec: &BootSpec, initrd_len: u64, transport: Transport) -> Result<Machine, VmError> {
        Ok(Machine {
            qemu: self.qemu,
            accelerator: self.accelerator,
            no_kvm: self.no_kvm,
            machine: machine_for(self.machine, &self.firmware),
            firmware: self.firmware,
            display: Display::None,
            cpu: spec.cpu.clone().unwrap_or_else(|| default_cpu(self.accelerator).into()),
            smp: spec.smp.clone(),
            memory_mib: memory_for(spec.memory_mib, initrd_len)?,
            command_line: command_line(spec, self.accelerator)?,
            extra: extra_arguments(&spec.qemu_args)?,
            transport,
        })
    }
}

/// `-cpu` where none was asked for.
pub const fn default_cpu(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "host",
        Accelerator::Tcg => "max",
    }
}

/// The firmware that was asked for, if it can start this kernel.
fn firmware_for(spec: &BootSpec, kernel: &Kernel, machine: &OsStr, qemu: &Qemu) -> Result<Firmware, VmError> {
    let vars = spec.firmware_vars.as_deref();
    let firmware = firmware::find(&spec.firmware, vars, kernel.arch, machine, qemu)?;
    match (&firmware, kernel.kind) {
        (Firmware::Direct, _) | (Firmware::Bios(_), ImageKind::BzImage) => Ok(firmware),
        (Firmware::Uefi(_), ImageKind::BzImage) => {
            let is_pe = starts_as_pe(&kernel.image).map_err(VmError::io("reading", kernel.origin.as_str()))?;
            if is_pe { Ok(firmware) } else { Err(VmError::NoEfiStub { origin: kernel.origin.clone() }) }
        }
        (Firmware::Bios(_) | Firmware::Uefi(_), ImageKind::VmlinuxPvh) => {
            Err(VmError::VmlinuxByFirmware { origin: kernel.origin.clone() })
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
fn transport(kernel: &Kernel, tables: &ModuleTables, machine: &OsStr) -> Transport {
    let driver = modules::channel_modules(kernel, tables);
    match (driver, is_microvm(machine)) {
        (_, true) => Transport::VirtioMmio,
        (ChannelDriver::Builtin | ChannelDriver::Modules, false) => Transport::VirtioPci,
        (ChannelDriver::Absent, false) => Transport::Com2,
    }
}

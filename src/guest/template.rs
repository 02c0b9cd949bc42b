//! Everything that the guests of one kernel on one machine share, looked up once: kernel, QEMU, accelerator, firmware,
//! module tables.
//!
//! A template also decides whether a guest is restored or booted, and prepares either.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::autoload::ModuleSource;
use super::bases::Bases;
use super::compose::{self, BuildContext, Drivers, Made};
use super::devices::host::port_notes;
use super::devices::{GuestDevices, add_name_server};
use super::disk::Disk;
use super::files::shares::FilesError;
use super::hang::HangInput;
use super::initrd;
use super::packages::fetch_kernel;
use super::platform::{Boots, Platform};
use super::preflight::{self, Requests};
use super::snapshot::base::no_snapshots;
use super::snapshot::fit::unfit;
use super::snapshot::{self, Base, KernelFile, Warm};
use super::transcript::KernelTraits;
use super::{Inputs, Listener, RunSpec, VmError, files};
use crate::cache::{Cache, Key};
use crate::initrd::archive;
use crate::initrd::check::CheckedPlan;
use crate::initrd::pid1;
use crate::qemu::device::files::Support;
use crate::qemu::machine::{Machine, MachineError};
use crate::qemu::machine_type::MachineType;
use crate::qemu::machine_type::Transport;
use crate::qemu::spec::FirmwareRef;
use crate::root::directory::Root;
use crate::root::kernel::symbols::Source;
use crate::root::kernel::{self, Config, ImageKind, Kernel};
use crate::root::modules::{self, ChannelDriver, tables::ModuleTables};
use crate::root::request::KernelRef;

/// Way to start a guest.
#[derive(Debug)]
pub(super) enum Start {
    /// It boots with its command.
    Boot {
        /// The kernel image.
        image: PathBuf,
        /// The initrd, in memory or an open file.
        initrd: OwnedFd,
    },
    /// It is restored from a snapshot of a base, and then receives its command.
    Restore(Box<Restore>),
    /// It boots a disk.
    Disk(Disk),
}

/// A base, and the command of a guest that is restored from it.
#[derive(Debug)]
pub(super) struct Restore {
    /// The base.
    pub(super) base: Base,
    /// The snapshot's key.
    pub(super) key: Key,
    /// The command and its files.
    pub(super) payload: CheckedPlan,
}

/// A kernel and the host side of its machine. Threads may share it.
#[derive(Debug)]
pub(crate) struct Template {
    /// The kernel.
    kernel: Arc<Kernel>,
    /// Its image that starts fastest.
    image: PathBuf,
    /// Kind of that image.
    kind: ImageKind,
    /// The host side of its machine.
    pub(super) platform: Platform,
    /// The tables of its modules.
    pub(super) tables: Arc<ModuleTables>,
    /// The channel that its pid 1 can use.
    transport: Transport,
    /// The cache.
    pub(super) cache: Cache,
    /// The bases of its snapshots.
    bases: Bases,
}

impl Template {
    /// Looks up everything that does not depend on the command. Adds files outside the root to `inputs`.
    pub(super) fn find(
        root: &Root,
        spec: &RunSpec,
        cache: &Cache,
        inputs: &mut Inputs,
        listener: &mut dyn Listener,
    ) -> Result<Self, VmError> {
        let found = find_kernel(root, spec, cache, listener);
        inputs.add_tree(spec, found.as_ref().ok().map(|(kernel, ..)| kernel.image.as_path()));
        let (kernel, image, kind) = found?;
        inputs.extend([kernel.image.as_path()]);
        let platform = Platform::find(&spec.boot, kernel.arch, cache, listener)?;
        platform.check_kernel(&kernel)?;
        inputs.extend([platform.qemu.path.as_path()].into_iter().chain(platform.firmware.path()));
        let tables = ModuleTables::in_cache(cache.clone());
        let transport = transport(&kernel, &tables, &platform);
        let cache = cache.clone();
        if let Some(error) = cache.unwritable() {
            listener.note(&format!("nothing is kept for later runs: {}", no_snapshots(&error)));
        }
        preflight::check(&kernel, spec, &Requests::of_machine(spec, transport), listener)?;
        if spec.boot.files.needs() != Support::Nothing && transport == Transport::Com2 {
            return Err(FilesError::NoPort.into());
        }
        let (kernel, tables) = (Arc::new(kernel), Arc::new(tables));
        Ok(Self { kernel, image, kind, platform, tables, transport, cache, bases: Bases::default() })
    }

    /// Returns the kernel's configuration if it is complete and trusted.
    pub(super) fn config(&self, spec: &RunSpec) -> Option<&Config> {
        preflight::trusted(&self.kernel, spec)
    }

    /// Decides whether a guest is restored or booted, and prepares it: restored if `spec` requests it and the guest can
    /// be restored, else booted. `refused` is the reason why an earlier restore has failed. No other function decides
    /// this.
    pub(super) fn start(
        &self,
        root: &Root,
        spec: &RunSpec,
        refused: Option<String>,
        listener: &mut dyn Listener,
    ) -> Result<(Machine, Start), VmError> {
        self.check_command(spec, listener)?;
        let restore = match (spec.warm, refused) {
            (Warm::No, _) => None,
            // The user boots it by hand.
            (Warm::Yes | Warm::Fresh, _) if spec.print_only => None,
            (Warm::Yes | Warm::Fresh, Some(why)) => Some(Err(why)),
            (Warm::Yes | Warm::Fresh, None) => Some(self.restore(root, spec, listener)?),
        };
        match restore {
            Some(Ok(restore)) => Ok((restore.base.machine.clone(), Start::Restore(Box::new(restore)))),
            other => {
                if let Some(Err(why)) = other {
                    listener.note(&format!("booting cold: {why}"));
                }
                let Made { initrd, transport } = initrd::make(spec, self.context(root), self.transport, listener)?;
                let size = rustix::fs::fstat(&initrd);
                let size = size.map_err(|errno| VmError::io("get the size of", "the initrd")(errno.into()))?.st_size;
                let boots = Boots::Linux { initrd_len: u64::try_from(size).unwrap_or(0), transport };
                let machine = self.machine(spec, boots, listener)?;
                Ok((machine, Start::Boot { image: self.image.clone(), initrd }))
            }
        }
    }

    /// Assembles the machine, with a note for each port that was chosen for it.
    fn machine(&self, spec: &RunSpec, boots: Boots, listener: &mut dyn Listener) -> Result<Machine, VmError> {
        let machine = self.platform.machine(&spec.boot, boots)?;
        port_notes(&spec.boot, &machine.devices).for_each(|note| listener.note(&note));
        Ok(machine)
    }

    /// Checks that the kernel has the options that the command of `spec` needs.
    pub(super) fn check_command(&self, spec: &RunSpec, listener: &mut dyn Listener) -> Result<(), VmError> {
        files::shares::find(&spec.boot.files)?;
        preflight::check(&self.kernel, spec, &Requests::of_command(spec), listener)
    }

    /// Origin of the kernel, in the user's words.
    pub(super) fn kernel_origin(&self) -> &str {
        &self.kernel.origin
    }

    /// Returns the properties of the kernel that its configuration reveals; unknown if `spec` does not trust that.
    pub(super) fn kernel_traits(&self, spec: &RunSpec) -> KernelTraits {
        preflight::traits(&self.kernel, spec)
    }

    /// Returns the input for a hang report about this kernel.
    pub(super) fn hang_input(&self) -> HangInput {
        hang_input(&self.image, &self.kernel.image, self.kind)
    }

    /// The modules that a guest receives on demand.
    pub(super) fn modules(&self, spec: &RunSpec) -> Option<ModuleSource> {
        let (kernel, tables) = (Arc::clone(&self.kernel), Arc::clone(&self.tables));
        spec.initrd.autoload.then(|| ModuleSource { root: spec.initrd.root.clone(), kernel, tables })
    }

    fn context<'a>(&'a self, root: &'a Root) -> BuildContext<'a> {
        BuildContext { root, kernel: &self.kernel, tables: &self.tables }
    }

    /// Prepares the base and the payload of a restored guest, or returns the reason why this guest cannot be restored.
    pub(super) fn restore(
        &self,
        root: &Root,
        spec: &RunSpec,
        listener: &mut dyn Listener,
    ) -> Result<Result<Restore, String>, VmError> {
        let why = unfit(spec, &self.platform.machine, self.transport);
        if let Some(why) = why.or_else(|| preflight::not_warm(&self.kernel, spec)) {
            return Ok(Err(why));
        }
        let payload = self.payload(root, spec, listener)?;
        let initrd_len = archive::len(&payload, &archive::Options { align: true, mtime: 0 });
        let machine = self.machine(spec, Boots::Linux { initrd_len, transport: self.transport }, listener)?;
        let window_mib = snapshot::base::window_mib(initrd_len);
        let modules = spec.base_modules.iter().map(|module| module.name.to_string_lossy().into_owned()).collect();
        let drivers = Drivers::of(self.transport);
        let devices = GuestDevices::of(&spec.boot);
        let make = || initrd::base(self.context(root), drivers, &spec.base_modules, &devices, window_mib << 20);
        let ingredients = snapshot::key::ingredients(&machine, &self.image, window_mib, &self.cache);
        let (initrd, key) = self.bases.get(&spec.base_modules, &devices, window_mib, ingredients, make)?;
        let (image, kernel) = (self.image.clone(), self.kernel.origin.clone());
        let kernel_file = KernelFile::of(&self.kernel.image);
        let base = Base { machine, image, kernel, kernel_file, initrd, modules, window_mib };
        Ok(Ok(Restore { base, key, payload }))
    }

    /// Builds the payload of a command for a guest that is up.
    pub(super) fn payload(
        &self,
        root: &Root,
        spec: &RunSpec,
        listener: &mut dyn Listener,
    ) -> Result<CheckedPlan, VmError> {
        let context = self.context(root);
        let mut command = match &spec.boot.files.root {
            None => compose::command(context, &spec.initrd)?,
            Some(request) => files::image::whole(context, &spec.initrd, Drivers::NONE, request)?,
        };
        GuestDevices::of(&spec.boot).add_to_command(&mut command);
        add_name_server(&mut command, &spec.boot);
        compose::apply_run_options(&mut command, root, spec, listener)?;
        initrd::payload(command)
    }
}

/// Returns the input for a hang report about a kernel: its image, and the file that the image was extracted from.
pub(super) fn hang_input(image: &Path, origin: &Path, kind: ImageKind) -> HangInput {
    let may_move = match kind {
        ImageKind::BzImage | ImageKind::Arm64 => true,
        // PVH enters a vmlinux at its link address: nothing relocates it.
        ImageKind::VmlinuxPvh | ImageKind::Absent => false,
    };
    HangInput { symbols: Some(Source::new(image, origin)), may_move }
}

/// Finds the requested kernel, and its image that starts fastest.
fn find_kernel(
    root: &Root,
    spec: &RunSpec,
    cache: &Cache,
    listener: &mut dyn Listener,
) -> Result<(Kernel, PathBuf, ImageKind), VmError> {
    fetch_kernel(spec, cache, listener)?;
    let mut progress = |doing: &str| listener.progress(doing);
    let requested = spec.kernel.as_ref().unwrap_or(&KernelRef::Newest);
    let kernel = kernel::find(root, requested, spec.boot.arch, cache, &mut progress)?;
    let unused = match requested {
        KernelRef::Named(name) => kernel::unused_sections(Path::new(name)),
        KernelRef::Newest => None,
    };
    // Firmware starts a kernel as a boot loader does: from the bzImage.
    let (kernel, vmlinux) = match spec.boot.firmware {
        FirmwareRef::Direct => {
            let vmlinux = kernel::vmlinux(&kernel, cache, &mut progress)?;
            (kernel, vmlinux)
        }
        FirmwareRef::Bios | FirmwareRef::Uefi { .. } | FirmwareRef::File(_) => (kernel.for_firmware()?, None),
    };
    if let Some(note) = unused {
        listener.note(&note);
    }
    if let Some(requested) = spec.boot.arch.filter(|arch| *arch != kernel.arch) {
        return Err(MachineError::ArchMismatch { requested, origin: kernel.origin, found: kernel.arch }.into());
    }
    if pid1::image(kernel.arch).is_none() {
        return Err(MachineError::Arch(kernel.arch).into());
    }
    let (image, kind) = match vmlinux {
        Some(vmlinux) => (vmlinux, ImageKind::VmlinuxPvh),
        None => (kernel.image.clone(), kernel.kind),
    };
    Ok((kernel, image, kind))
}

/// Returns the fastest channel that this kernel has drivers for on this machine type.
fn transport(kernel: &Kernel, tables: &ModuleTables, platform: &Platform) -> Transport {
    let driver = modules::channel_modules(kernel, tables);
    MachineType::of(&platform.machine).transport(driver != ChannelDriver::Absent)
}

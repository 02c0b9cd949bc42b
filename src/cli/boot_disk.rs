//! A disk image made ready to boot: opened without a way to write to it, and the machine around it.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::output;
use bootling::arch::Arch;
use bootling::cache::Cache;
use bootling::format::SectorSize;
use bootling::guest::launch::Artefact;
use bootling::guest::prepare::default_cpu;
use bootling::guest::unpack::unpack;
use bootling::qemu::argv::Payload;
use bootling::qemu::drive::{Bus, Drive, DriveError, Format, Image, identify};
use bootling::qemu::firmware;
use bootling::qemu::kvm;
use bootling::qemu::machine::{Display, Machine, Transport, choose_accelerator, extra_arguments, machine_for};
use bootling::qemu::program::Qemu;
use bootling::qemu::spec::BootSpec;

/// Memory of a machine whose needs nobody knows, in MiB: what installers ask for.
const MEMORY_MIB: u64 = 2048;

/// How an image is to be seen by its guest.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// `None`: a DVD where it is an ISO, else virtio.
    pub bus: Option<Bus>,
    /// Its logical sectors.
    pub sector: SectorSize,
    /// Whether it may name further files.
    pub naming: Naming,
    /// Whether it is unpacked where it is compressed.
    pub unpacking: Unpacking,
}

/// Whether an image may name further files, which QEMU opens with the user's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The user said so.
    Allowed,
    /// The user did not, but could.
    Refused,
    /// The verb does not let the user say so.
    Never,
}

/// What is done with a compressed image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacking {
    /// It is unpacked into a file without a name.
    Told,
    /// The same, and nothing is said.
    Silent,
    /// It is refused: a command that is only printed has to name a file.
    Refused,
}

/// An image, open.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    file: File,
    /// The drive it will be.
    pub drive: Drive,
    /// Whether QEMU has to open it by its name, for the names in it.
    by_name: bool,
}

impl Disk {
    /// Opens an image for reading, and unpacks it where it is compressed.
    pub fn open(path: &Path, seen: Seen) -> anyhow::Result<Self> {
        let opening = || format!("opening {}", path.display());
        let mut file = File::open(path).with_context(opening)?;
        let kind = file.metadata().with_context(opening)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            bail!("opening {}: it is neither a file nor a block device", path.display());
        }
        // Of what was unpacked there is no name.
        let mut by_name = seen.naming == Naming::Allowed;
        let mut image = look(&file, seen).map_err(|error| told(path, seen.naming, error))?;
        if let Image::Compressed(squeeze) = image {
            match seen.unpacking {
                Unpacking::Told => output::note(&format!("unpacking {} ({squeeze})", path.display())),
                Unpacking::Silent => {}
                Unpacking::Refused => {
                    let error = anyhow!("printing the command: {} is compressed ({squeeze})", path.display());
                    return Err(output::advise(
                        error,
                        "unpack it first, with zstd -d, gunzip or unxz, and name what comes of it",
                    ));
                }
            }
            by_name = false;
            let directory = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
            let unpacking = || format!("unpacking {} into {}", path.display(), directory.display());
            file = unpack(&file, squeeze, &directory)
                .with_context(unpacking)
                .map_err(|error| output::advise(error, "TMPDIR names another directory"))?;
            image = look(&file, seen).map_err(|error| told(path, seen.naming, error))?;
        }
        let (format, iso) = match image {
            Image::Drive { format, iso } => (format, iso),
            Image::Compressed(_) => bail!("opening {}: it is compressed twice", path.display()),
        };
        let bus = seen.bus.unwrap_or(if iso { Bus::Cd } else { Bus::Virtio });
        let drive = Drive::new(format, bus, seen.sector).map_err(|error| told(path, seen.naming, error))?;
        Ok(Self { path: path.to_owned(), file, drive, by_name })
    }

    /// What QEMU boots.
    pub fn payload(&self) -> anyhow::Result<Payload<Artefact>> {
        let image = match self.drive.format {
            // The names in it are relative to its own.
            Format::Qcow2 | Format::Vmdk if self.by_name => Artefact::Named(self.absolute()?),
            Format::Raw | Format::Qcow2 | Format::Vmdk | Format::Vpc | Format::Vhdx | Format::Vdi => Artefact::Open(
                self.file.try_clone().with_context(|| format!("opening {}", self.path.display()))?.into(),
            ),
        };
        Ok(Payload::Disk { image, drive: self.drive })
    }

    /// Its name from anywhere.
    pub fn absolute(&self) -> anyhow::Result<PathBuf> {
        std::path::absolute(&self.path).with_context(|| format!("opening {}", self.path.display()))
    }
}

/// What an image is.
fn look(mut file: &File, seen: Seen) -> Result<Image, DriveError> {
    // A block device's metadata does not know its length.
    let len = file.seek(SeekFrom::End(0))?;
    identify(file, len, seen.naming == Naming::Allowed)
}

fn told(path: &Path, naming: Naming, error: DriveError) -> anyhow::Error {
    let advice = match (&error, naming) {
        (DriveError::Names(_), Naming::Refused) => Some("--allow-backing lets it"),
        (DriveError::Names(_), Naming::Allowed | Naming::Never) => {
            Some("qemu-img convert -O qcow2 makes one image of it that names none")
        }
        (DriveError::Unreadable(_) | DriveError::Foreign(_) | DriveError::SectorSize(_), _) => None,
    };
    let error = anyhow!(error).context(format!("booting {}", path.display()));
    match advice {
        Some(advice) => output::advise(error, advice),
        None => error,
    }
}

/// The machine around a disk.
pub fn machine(spec: &BootSpec, display: Display, quiet: bool) -> anyhow::Result<Machine> {
    // What a disk is for cannot be told from outside: 64-bit PCs, as all firmware here is.
    let arch = Arch::X86_64;
    let cache =
        Cache::open().map_err(|error| output::advise(error, "name a directory of yours in BOOTLING_CACHE_DIR"))?;
    let qemu = Qemu::find(spec.qemu.as_deref(), arch, Some(&cache))?;
    let (accelerator, no_kvm) = choose_accelerator(spec.accel, arch, kvm::probe)?;
    if let Some(why) = no_kvm.as_ref().filter(|_| !quiet) {
        output::note(&format!("using TCG: {why}"));
    }
    let machine = spec.machine.clone().unwrap_or_else(|| "q35".into());
    let firmware = firmware::find(&spec.firmware, spec.firmware_vars.as_deref(), arch, &machine, &qemu)?;
    Ok(Machine {
        qemu,
        no_kvm,
        machine: machine_for(machine, &firmware),
        firmware,
        display,
        cpu: spec.cpu.clone().unwrap_or_else(|| default_cpu(accelerator).into()),
        accelerator,
        smp: spec.smp.clone(),
        memory_mib: spec.memory_mib.unwrap_or(MEMORY_MIB),
        command_line: "".into(),
        extra: extra_arguments(&spec.qemu_args)?,
        transport: Transport::None,
    })
}

//! A disk image opened read-only, and the machine that boots it.

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

/// Default memory in MiB; common installers require this much.
const MEMORY_MIB: u64 = 2048;

/// How an image is opened and attached.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Bus; `None`: a DVD for an ISO, else virtio.
    pub bus: Option<Bus>,
    /// Logical sector size.
    pub sector: SectorSize,
    /// Whether the image may refer to other files.
    pub naming: Naming,
    /// Handling of a compressed image.
    pub unpacking: Unpacking,
}

/// Whether an image may refer to other files, which QEMU opens with the user's permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Allowed by the user.
    Allowed,
    /// Not allowed by the user, who could allow it with `--allow-backing`.
    Refused,
    /// Not allowed; the verb has no option for it.
    Never,
}

/// Handling of a compressed image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpacking {
    /// Unpack it into an unnamed file and print a note.
    Told,
    /// Unpack it into an unnamed file.
    Silent,
    /// Refuse it: a printed command line must name an existing file.
    Refused,
}

/// An open disk image.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    file: File,
    /// The drive that QEMU attaches.
    pub drive: Drive,
    /// True if QEMU must open the image by name, because the image refers to files relative to it.
    by_name: bool,
}

impl Disk {
    /// Opens an image for reading, and unpacks it if it is compressed.
    pub fn open(path: &Path, seen: Seen) -> anyhow::Result<Self> {
        let opening = || format!("failed to open {}", path.display());
        let mut file = File::open(path).with_context(opening)?;
        let kind = file.metadata().with_context(opening)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            bail!("failed to open {}: neither a file nor a block device", path.display());
        }
        // An unpacked image has no name.
        let mut by_name = seen.naming == Naming::Allowed;
        let mut image = look(&file, seen).map_err(|error| told(path, seen.naming, error))?;
        if let Image::Compressed(compression) = image {
            match seen.unpacking {
                Unpacking::Told => output::note(&format!("unpacking {} ({compression})", path.display())),
                Unpacking::Silent => {}
                Unpacking::Refused => {
                    let error = anyhow!(
                        "--print-command does not support compressed images: {} ({compression})",
                        path.display()
                    );
                    return Err(output::advise(
                        error,
                        "decompress it first (zstd -d, gunzip, unxz) and use the result",
                    ));
                }
            }
            by_name = false;
            let directory = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
            let unpacking = || format!("failed to unpack {} into {}", path.display(), directory.display());
            file = unpack(&file, compression, &directory)
                .with_context(unpacking)
                .map_err(|error| output::advise(error, "set TMPDIR to use another directory"))?;
            image = look(&file, seen).map_err(|error| told(path, seen.naming, error))?;
        }
        let (format, iso) = match image {
            Image::Drive { format, iso } => (format, iso),
            Image::Compressed(_) => bail!("failed to open {}: compressed twice", path.display()),
        };
        let bus = seen.bus.unwrap_or(if iso { Bus::Cd } else { Bus::Virtio });
        let drive = Drive::new(format, bus, seen.sector).map_err(|error| told(path, seen.naming, error))?;
        Ok(Self { path: path.to_owned(), file, drive, by_name })
    }

    /// Returns the payload for QEMU.
    pub fn payload(&self) -> anyhow::Result<Payload<Artefact>> {
        let image = match self.drive.format {
            // File names in the image are relative to its directory.
            Format::Qcow2 | Format::Vmdk if self.by_name => Artefact::Named(self.absolute()?),
            Format::Raw | Format::Qcow2 | Format::Vmdk | Format::Vpc | Format::Vhdx | Format::Vdi => Artefact::Open(
                self.file.try_clone().with_context(|| format!("failed to open {}", self.path.display()))?.into(),
            ),
        };
        Ok(Payload::Disk { image, drive: self.drive })
    }

    /// Returns the absolute path.
    pub fn absolute(&self) -> anyhow::Result<PathBuf> {
        std::path::absolute(&self.path).with_context(|| format!("failed to open {}", self.path.display()))
    }
}

/// Identifies the format of an image.
fn look(mut file: &File, seen: Seen) -> Result<Image, DriveError> {
    // The metadata of a block device does not contain its size.
    let len = file.seek(SeekFrom::End(0))?;
    identify(file, len, seen.naming == Naming::Allowed)
}

fn told(path: &Path, naming: Naming, error: DriveError) -> anyhow::Error {
    let advice = match (&error, naming) {
        (DriveError::Names(_), Naming::Refused) => Some("use --allow-backing to allow this"),
        (DriveError::Names(_), Naming::Allowed | Naming::Never) => {
            Some("qemu-img convert -O qcow2 creates a single image that refers to no other file")
        }
        (DriveError::Unreadable(_) | DriveError::Foreign(_) | DriveError::SectorSize(_), _) => None,
    };
    let error = anyhow!(error).context(format!("failed to boot {}", path.display()));
    match advice {
        Some(advice) => output::advise(error, advice),
        None => error,
    }
}

/// Returns the machine that boots a disk.
pub fn machine(spec: &BootSpec, display: Display, quiet: bool) -> anyhow::Result<Machine> {
    // The architecture cannot be read from a disk. Only firmware for 64-bit PCs is supported.
    let arch = Arch::X86_64;
    let cache =
        Cache::open().map_err(|error| output::advise(error, "set BOOTLING_CACHE_DIR to a directory that you own"))?;
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

//! The options of `bootling disk`, as typed, and what they mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::boot_sector::BootSectorArgs;
use super::size::size;
use crate::cli::build::compression;
use crate::cli::options::{self, InitrdArgs};
use crate::cli::sign_options::SignOptions;
use crate::cli::typed::TypedIds;
use bootling::disk::plan::{Profile, Sectors};
use bootling::format::SectorSize;
use bootling::format::compression::Compression;
use bootling::{
    disk::spec::{DiskSpec, Format, RootFileSystem, RootSpec},
    root::request::Copy,
};

/// Compose an EFI-only disk image that boots the initrd and says so to a legacy BIOS
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling disk -o disk.img                            newest kernel, busybox, a shell
  bootling disk -o disk.img --run 'cat /proc/cpuinfo'  runs it and powers off
  bootling disk -o disk.qcow2 --kernel 6.1.0-56-amd64 --kmod virtio_blk
  bootling disk -o disk.raw.zst --checksums            compressed, with SHA256SUMS beside it
  bootling disk -o azure.vhd --size 1G
  bootling disk -o both.img --sector-size dual         for sectors of 512 and of 4096 bytes
  bootling disk -o shell.img --efi shellx64.efi --esp tiny --add-file startup.nsh
  bootling disk -o app.img --root ./rootfs --append 'root=PARTLABEL=root'
  bootling disk -o linux.efi                           the unified kernel image alone
  bootling disk -o disk.img --sign-key db.key --sign-cert db.crt --measure
  bootling disk --dry-run                              where everything would stand

The kernel must be an EFI program (CONFIG_EFI_STUB) and is put behind systemd's EFI stub
(Debian: systemd-boot-efi). GUIDs and serials come from the contents, times from
SOURCE_DATE_EPOCH: same inputs, same bytes.

Exit status: 0, 2 for wrong usage, 125 where the image cannot be made; then nothing is left.
")]
#[expect(clippy::struct_excessive_bools, reason = "they are switches of a command line")]
pub struct DiskArgs {
    #[command(flatten)]
    pub typed: TypedIds,
    #[command(flatten)]
    pub initrd: InitrdArgs,
    /// Where the image goes; `-` is standard output. A file appears whole or not at all. Its name tells --format and
    /// --compress where they are not given: `disk.qcow2`, `disk.raw.zst`.
    #[arg(long, short, value_name = "FILE", required_unless_present = "dry_run", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Use this initrd, as it is, instead of making one.
    #[arg(long = "initrd", value_name = "FILE", help_heading = "Image", conflicts_with_all = ["with", "copy", "kmod", "run", "no_busybox", "lib_path", "binaries", "initrd_compress"])]
    pub ready_made: Option<PathBuf>,
    /// Compress the initrd: none, gzip, zstd, xz or lz4. The kernel must have the same built in (`CONFIG_RD_ZSTD`).
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = compression(), help_heading = "Image")]
    pub initrd_compress: Compression,
    /// The kernel's command line, in place of `console=tty0 console=ttyS0 panic=60`.
    #[arg(long, value_name = "LINE", allow_hyphen_values = true, help_heading = "EFI program")]
    pub cmdline: Option<String>,
    /// Further words for the kernel's command line. May be repeated.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, help_heading = "EFI program")]
    pub append: Vec<String>,
    /// systemd's EFI stub. Default: the one of the system that the initrd is made from.
    #[arg(long, value_name = "FILE", help_heading = "EFI program")]
    pub stub: Option<PathBuf>,
    /// Start this EFI program instead of a kernel: a boot loader, a shell, a unified kernel image.
    #[arg(long, value_name = "FILE", help_heading = "EFI program", conflicts_with_all = [
        "ready_made", "cmdline", "append", "stub", "with", "copy", "kmod", "run", "no_busybox", "lib_path",
        "binaries", "initrd_compress", "sysroot",
    ])]
    pub efi: Option<PathBuf>,
    #[command(flatten)]
    pub sign: SignOptions,
    /// Write FILE.pcrs.json beside FILE: what a TPM's PCR 4 and PCR 11 will be once the kernel runs.
    #[arg(long, conflicts_with = "dry_run", help_heading = "Secure Boot and TPM")]
    pub measure: bool,
    /// Put a file, or a directory with everything in it, on the EFI system partition: at DST, or in its root by its own
    /// name. May be repeated.
    #[arg(long, value_name = "SRC[=DST]", value_parser = added_file(), help_heading = "Disk")]
    pub add_file: Vec<Copy>,
    /// Size of the disk, such as 512M or 2G; rounded up to whole MiB. Default: as small as can be.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Disk")]
    pub size: Option<u64>,
    /// Logical sectors of the disk that the image is for.
    #[arg(long, value_enum, value_name = "BYTES", default_value_t = SectorArg::S512, help_heading = "Disk")]
    pub sector_size: SectorArg,
    /// The EFI system partition's kind.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = EspArg::Standard, help_heading = "Disk")]
    pub esp: EspArg,
    /// A second partition: a file as it is (a file system's image), or a directory, made into a file system.
    #[arg(long, value_name = "DIR|FILE", help_heading = "Disk")]
    pub root: Option<PathBuf>,
    /// What a directory given to --root becomes.
    #[arg(long, value_enum, value_name = "FS", default_value_t = RootFsArg::Squashfs, help_heading = "Disk", requires = "root")]
    pub root_fs: RootFsArg,
    #[command(flatten)]
    pub boot_sector: BootSectorArgs,
    /// The container. Default: what FILE's name says, else raw.
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub format: Option<FormatArg>,
    /// Compress the image. Default: what FILE's name says, else none.
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Output")]
    pub compress: Option<CompressArg>,
    /// Write SHA256SUMS beside FILE, with the sums of FILE and of the image in it; lines of other files there are kept.
    #[arg(long, help_heading = "Output")]
    pub checksums: bool,
    /// Print where everything would stand, and write nothing.
    #[arg(long, conflicts_with_all = ["output", "checksums"], help_heading = "Output")]
    pub dry_run: bool,
    /// Print where everything stands as JSON.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Say what became of it: notes, places, sizes, time.
    #[arg(long, short, help_heading = "Output")]
    pub verbose: bool,
    /// Programs to include, by path or by name on PATH.
    #[arg(value_name = "BINARY", help_heading = "Arguments")]
    pub binaries: Vec<OsString>,
}

/// `--sector-size`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SectorArg {
    /// nearly every disk
    #[value(name = "512")]
    S512,
    /// "4Kn" disks
    #[value(name = "4096")]
    S4096,
    /// one image for both
    Dual,
}

/// `--esp`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EspArg {
    /// FAT32, which all firmware reads: a disk of 35 MiB, or 259 with sectors of 4096 bytes
    Standard,
    /// as small as its files allow, mostly FAT12 or FAT16: for virtual machines
    Tiny,
}

/// `--root-fs`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RootFsArg {
    /// read-only, compressed (mksquashfs)
    Squashfs,
    /// the usual one (mkfs.ext4); it keeps the times of the directory's files, so not the same bytes each time
    Ext4,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// the disk's own bytes, holes where there is nothing
    Raw,
    /// QEMU's
    Qcow2,
    /// of fixed size, as Azure takes it
    Vhd,
    /// `VMware`'s
    #[value(help = "VMware's and VirtualBox's, one sparse file")]
    Vmdk,
    /// no disk: the EFI program alone
    Uki,
}

/// `--compress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompressArg {
    /// as it is
    None,
    /// fast
    Zstd,
    /// small, and slow
    Xz,
    /// what everybody can unpack
    Gzip,
}

impl DiskArgs {
    /// `--format`, where it was given.
    pub fn format(&self) -> Option<Format> {
        self.format.map(|format| match format {
            FormatArg::Raw => Format::Raw,
            FormatArg::Qcow2 => Format::Qcow2,
            FormatArg::Vhd => Format::Vhd,
            FormatArg::Vmdk => Format::Vmdk,
            FormatArg::Uki => Format::Uki,
        })
    }

    /// `--compress`, where it was given.
    pub fn compression(&self) -> Option<Compression> {
        self.compress.map(|how| match how {
            CompressArg::None => Compression::None,
            CompressArg::Zstd => Compression::Zstd,
            CompressArg::Xz => Compression::Xz,
            CompressArg::Gzip => Compression::Gzip,
        })
    }

    /// `--sector-size`
    pub fn sectors(&self) -> Sectors {
        match self.sector_size {
            SectorArg::S512 => Sectors::One(SectorSize::S512),
            SectorArg::S4096 => Sectors::One(SectorSize::S4096),
            SectorArg::Dual => Sectors::Dual,
        }
    }

    /// `--esp`
    pub fn profile(&self) -> Profile {
        match self.esp {
            EspArg::Standard => Profile::Standard,
            EspArg::Tiny => Profile::Tiny,
        }
    }

    /// What goes on the disk, its EFI program apart.
    pub fn spec(&self) -> DiskSpec {
        let file_system = match self.root_fs {
            RootFsArg::Squashfs => RootFileSystem::Squashfs,
            RootFsArg::Ext4 => RootFileSystem::Ext4,
        };
        let root = self.root.clone().map(|source| RootSpec { source, file_system });
        DiskSpec { added: self.add_file.clone(), root }
    }
}

/// `SRC[=DST]`, as `--copy` splits it.
fn added_file() -> impl TypedValueParser<Value = Copy> {
    OsStringValueParser::new().try_map(|typed| options::copy(&typed, Path::new("/")).map_err(|error| error.to_string()))
}

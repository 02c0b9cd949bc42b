//! Options of `bootling disk`.

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
use bootling::disk::layout::{Profile, SectorSizes};
use bootling::format::SectorSize;
use bootling::format::compression::Compression;
use bootling::format::mbr::BOOT_CODE;
use bootling::{
    disk::spec::{DiskSpec, Format, RootFileSystem, RootSpec},
    root::request::Copy,
};

/// Build an EFI-only disk image that boots the initrd, and that asks users of a legacy BIOS to boot through UEFI
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling disk -o disk.img                            newest kernel, busybox, a shell
  bootling disk -o disk.img --run 'cat /proc/cpuinfo'  run the line and power off
  bootling disk -o disk.qcow2 --kernel 6.1.0-56-amd64 --kmod virtio_blk
  bootling disk -o disk.raw.zst --checksums            compressed, with SHA256SUMS next to it
  bootling disk -o azure.vhd --size 1G
  bootling disk -o both.img --sector-size dual         for sectors of 512 and of 4096 bytes
  bootling disk -o shell.img --efi shellx64.efi --esp tiny --add-file startup.nsh
  bootling disk -o app.img --root ./rootfs --append 'root=PARTLABEL=root'
  bootling disk -o linux.efi                           only the unified kernel image
  bootling disk -o disk.img --sign-key db.key --sign-cert db.crt --measure
  bootling disk --dry-run                              print the layout

The kernel must be an EFI program (CONFIG_EFI_STUB). It is combined with systemd's EFI stub
(Debian: systemd-boot-efi). GUIDs and serial numbers are derived from the contents, times from
SOURCE_DATE_EPOCH: the same inputs produce the same bytes.

Exit status: 0; 2 for usage errors; 125 if the image cannot be built. A failed build leaves no file.
")]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct DiskArgs {
    #[command(flatten)]
    pub typed: TypedIds,
    #[command(flatten)]
    pub initrd: InitrdArgs,
    /// Write the image to FILE ('-' for standard output). An incomplete FILE is never left behind. The file name
    /// selects --format and --compress unless they are given: `disk.qcow2`, `disk.raw.zst`.
    #[arg(long, short, value_name = "FILE", required_unless_present = "dry_run", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Use this initrd unchanged instead of building one.
    #[arg(long = "initrd", value_name = "FILE", help_heading = "Image", conflicts_with_all = ["with", "copy", "kmod", "run", "no_busybox", "lib_path", "binaries", "initrd_compress"])]
    pub ready_made: Option<PathBuf>,
    /// Compression of the initrd. The kernel must have the same one built in (such as `CONFIG_RD_ZSTD`).
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = compression(Compression::writable()), help_heading = "Image")]
    pub initrd_compress: Compression,
    /// Kernel command line. Default: `console=tty0 console=ttyS0 panic=60`.
    #[arg(long, value_name = "LINE", allow_hyphen_values = true, help_heading = "EFI program")]
    pub cmdline: Option<String>,
    /// Append to the kernel's command line. May be repeated.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, help_heading = "EFI program")]
    pub append: Vec<String>,
    /// systemd's EFI stub. Default: the one in the system that the initrd is built from.
    #[arg(long, value_name = "FILE", help_heading = "EFI program")]
    pub stub: Option<PathBuf>,
    /// Boot this EFI program instead of a kernel: a boot loader, a shell or a unified kernel image.
    #[arg(long, value_name = "FILE", help_heading = "EFI program", conflicts_with_all = [
        "ready_made", "cmdline", "append", "stub", "with", "copy", "kmod", "run", "no_busybox", "lib_path",
        "binaries", "initrd_compress", "sysroot",
    ])]
    pub efi: Option<PathBuf>,
    #[command(flatten)]
    pub sign: SignOptions,
    /// Write the expected TPM PCR 4 and PCR 11 values at kernel start to FILE.pcrs.json.
    #[arg(long, conflicts_with = "dry_run", help_heading = "Secure Boot and TPM")]
    pub measure: bool,
    /// Add a file or a directory tree to the EFI system partition, at DST or in its root directory. May be repeated.
    #[arg(long, value_name = "SRC[=DST]", value_parser = added_file(), help_heading = "Disk")]
    pub add_file: Vec<Copy>,
    /// Disk size, such as 512M or 2G, rounded up to MiB. Default: the minimum.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Disk")]
    pub size: Option<u64>,
    /// Logical sector size of the target disk.
    #[arg(long, value_enum, value_name = "BYTES", default_value_t = SectorArg::S512, help_heading = "Disk")]
    pub sector_size: SectorArg,
    /// Type of the EFI system partition.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = EspArg::Standard, help_heading = "Disk")]
    pub esp: EspArg,
    /// Add a second partition with this file system image, or with a file system created from this directory.
    #[arg(long, value_name = "DIR|FILE", help_heading = "Disk")]
    pub root: Option<PathBuf>,
    /// File system for a directory given to --root.
    #[arg(long, value_enum, value_name = "FS", default_value_t = RootFsArg::Squashfs, help_heading = "Disk", requires = "root")]
    pub root_fs: RootFsArg,
    #[command(flatten)]
    pub boot_sector: BootSectorArgs,
    /// Container format. Default: from the suffix of FILE, else raw.
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    pub format: Option<FormatArg>,
    /// Compression of the image. Default: from the suffix of FILE, else none.
    #[arg(long, value_name = "HOW", value_parser = compression(Compression::for_disks()), help_heading = "Output")]
    pub compress: Option<Compression>,
    /// Write SHA256SUMS next to FILE, with the checksums of FILE and of the uncompressed image. Lines for other files
    /// are kept.
    #[arg(long, help_heading = "Output")]
    pub checksums: bool,
    /// Print the layout without writing the image.
    #[arg(long, conflicts_with_all = ["output", "checksums"], help_heading = "Output")]
    pub dry_run: bool,
    /// Print the layout as JSON.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print notes, layout, sizes and time.
    #[arg(long, short, help_heading = "Output")]
    pub verbose: bool,
    /// Programs to include, by path or by name in PATH.
    #[arg(value_name = "BINARY", help_heading = "Arguments")]
    pub binaries: Vec<OsString>,
}

/// `--sector-size`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SectorArg {
    /// Nearly all disks
    #[value(name = "512")]
    S512,
    /// "4Kn" disks
    #[value(name = "4096")]
    S4096,
    /// One image for both
    Dual,
}

/// `--esp`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EspArg {
    /// FAT32, supported by all firmware; the minimum disk size is 35 MiB, or 259 MiB with sectors of 4096 bytes
    Standard,
    /// As small as possible, usually FAT12 or FAT16; for virtual machines
    Tiny,
}

/// `--root-fs`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RootFsArg {
    /// Read-only and compressed (mksquashfs)
    Squashfs,
    /// General-purpose (mkfs.ext4); not reproducible, because it keeps the times of the files
    Ext4,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// Plain disk image, sparse
    Raw,
    /// QEMU's format
    Qcow2,
    /// Fixed-size VHD, as required by Azure
    Vhd,
    /// `VMware`'s format
    #[value(help = "VMware's and VirtualBox's format, as one sparse file")]
    Vmdk,
    /// Only the EFI program, without a disk
    Uki,
}

impl DiskArgs {
    /// Returns `--format`, if given.
    pub(crate) fn format(&self) -> Option<Format> {
        self.format.map(|format| match format {
            FormatArg::Raw => Format::Raw,
            FormatArg::Qcow2 => Format::Qcow2,
            FormatArg::Vhd => Format::Vhd,
            FormatArg::Vmdk => Format::Vmdk,
            FormatArg::Uki => Format::Uki,
        })
    }

    /// Returns `--sector-size`.
    fn sectors(&self) -> SectorSizes {
        match self.sector_size {
            SectorArg::S512 => SectorSizes::Single(SectorSize::S512),
            SectorArg::S4096 => SectorSizes::Single(SectorSize::S4096),
            SectorArg::Dual => SectorSizes::Dual,
        }
    }

    /// Returns `--esp`.
    fn profile(&self) -> Profile {
        match self.esp {
            EspArg::Standard => Profile::Standard,
            EspArg::Tiny => Profile::Tiny,
        }
    }

    /// Returns the disk specification, without the EFI program. `time` is in seconds since 1970.
    pub(crate) fn spec(&self, boot_code: &[u8; BOOT_CODE], time: u32) -> DiskSpec {
        let file_system = match self.root_fs {
            RootFsArg::Squashfs => RootFileSystem::Squashfs,
            RootFsArg::Ext4 => RootFileSystem::Ext4,
        };
        let root = self.root.clone().map(|source| RootSpec { source, file_system });
        DiskSpec {
            added: self.add_file.clone(),
            root,
            sectors: self.sectors(),
            profile: self.profile(),
            size: self.size,
            boot_code: *boot_code,
            time,
        }
    }
}

/// Parser for `SRC[=DST]`, split like `--copy`.
fn added_file() -> impl TypedValueParser<Value = Copy> {
    OsStringValueParser::new().try_map(|typed| options::copy(&typed, Path::new("/")).map_err(|error| error.to_string()))
}

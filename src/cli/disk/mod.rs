//! `bootling disk`: an EFI-only disk image, in any container, from a kernel and the initrd that is made for it.

mod boot_sector;
mod describe;
mod measured;
mod program;
mod size;
mod target;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use self::boot_sector::BootSectorArgs;
use self::describe::Disk;
use self::program::{Program, program};
use self::target::Target;
use super::build::{compression, mtime};
use super::options::{self, InitrdArgs};
use super::output;
use super::progress::Progress;
use super::sign_options::SignOptions;
use crate::disk::pe::Machine;
use crate::disk::{Guid, SectorSize};
use crate::plan::disk::{EspEntry, EspNode, EspTree, Layout, LayoutError, Profile, Sectors, Wanted};
use crate::resolve::esp;
use crate::spec::{Copy, DiskSpec, Format, RootFileSystem, RootSpec};
use crate::write::disk::{Emitted, Image, ImageSpec, contain, emit, image, root_content, write_sums};
use crate::write::{Compression, Extents, Output};

/// Compose an EFI-only disk image that boots the initrd and says so to a legacy BIOS
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling disk -o disk.img                                newest kernel, busybox, a shell on the console
  bootling disk -o disk.img --run 'cat /proc/cpuinfo'      runs it and powers off
  bootling disk -o disk.qcow2 --kernel 6.1.0-56-amd64 --kmod virtio_blk
  bootling disk -o disk.raw.zst --checksums                compressed, with SHA256SUMS beside it
  bootling disk -o azure.vhd --size 1G
  bootling disk -o both.img --sector-size dual             one image for disks of 512 and of 4096 byte sectors
  bootling disk -o shell.img --efi shellx64.efi --esp tiny --add-file startup.nsh
  bootling disk -o app.img --root ./rootfs --append 'root=PARTLABEL=root'
  bootling disk -o linux.efi                               the unified kernel image alone
  bootling disk -o disk.img --sign-key db.key --sign-cert db.crt --measure
  bootling disk --dry-run                                  where everything would stand

The kernel must be an EFI program (CONFIG_EFI_STUB) and is put behind systemd's EFI stub (Debian: systemd-boot-efi).
GUIDs and serials come from the contents, times from SOURCE_DATE_EPOCH: same inputs, same bytes.
Exit status: 0, 2 for wrong usage, 125 where the image cannot be made; then nothing is left behind.
")]
#[expect(clippy::struct_excessive_bools, reason = "they are switches of a command line")]
pub struct DiskArgs {
    #[command(flatten)]
    initrd: InitrdArgs,
    /// Where the image goes; `-` is standard output. A file appears whole or not at all. Its name tells --format and
    /// --compress where they are not given: `disk.qcow2`, `disk.raw.zst`.
    #[arg(long, short, value_name = "FILE", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Use this initrd, as it is, instead of making one.
    #[arg(long = "initrd", value_name = "FILE", help_heading = "Image", conflicts_with_all = ["with", "copy", "kmod", "run", "no_busybox", "lib_path", "binaries", "initrd_compress"])]
    ready_made: Option<PathBuf>,
    /// Compress the initrd: none, gzip, zstd, xz or lz4. The kernel must have the same built in (`CONFIG_RD_ZSTD`).
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = compression(), help_heading = "Image")]
    initrd_compress: Compression,
    /// The kernel's command line, in place of `console=tty0 console=ttyS0 panic=60`.
    #[arg(long, value_name = "LINE", allow_hyphen_values = true, help_heading = "EFI program")]
    cmdline: Option<String>,
    /// Further words for the kernel's command line. May be repeated.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true, help_heading = "EFI program")]
    append: Vec<String>,
    /// systemd's EFI stub. Default: the one of the system that the initrd is made from.
    #[arg(long, value_name = "FILE", help_heading = "EFI program")]
    stub: Option<PathBuf>,
    /// Start this EFI program instead of a kernel: a boot loader, a shell, a unified kernel image.
    #[arg(long, value_name = "FILE", help_heading = "EFI program", conflicts_with_all = [
        "ready_made", "cmdline", "append", "stub", "kernel", "with", "copy", "kmod", "run", "no_busybox", "lib_path",
        "binaries", "initrd_compress", "sysroot",
    ])]
    efi: Option<PathBuf>,
    #[command(flatten)]
    sign: SignOptions,
    /// Write FILE.pcrs.json beside FILE: what a TPM's PCR 4 and PCR 11 will be once the kernel runs.
    #[arg(long, conflicts_with = "dry_run", help_heading = "Secure Boot and TPM")]
    measure: bool,
    /// Put a file, or a directory with everything in it, on the EFI system partition: at DST, or in its root by its own
    /// name. May be repeated.
    #[arg(long, value_name = "SRC[=DST]", value_parser = added_file(), help_heading = "Disk")]
    add_file: Vec<Copy>,
    /// Size of the disk, such as 512M or 2G; rounded up to whole MiB. Default: as small as can be.
    #[arg(long, value_name = "SIZE", value_parser = size::size, help_heading = "Disk")]
    size: Option<u64>,
    /// Logical sectors of the disk that the image is for.
    #[arg(long, value_enum, value_name = "BYTES", default_value_t = SectorArg::S512, help_heading = "Disk")]
    sector_size: SectorArg,
    /// The EFI system partition's kind.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = EspArg::Standard, help_heading = "Disk")]
    esp: EspArg,
    /// A second partition: a file as it is (a file system's image), or a directory, made into a file system.
    #[arg(long, value_name = "DIR|FILE", help_heading = "Disk")]
    root: Option<PathBuf>,
    /// What a directory given to --root becomes.
    #[arg(long, value_enum, value_name = "FS", default_value_t = RootFsArg::Squashfs, help_heading = "Disk", requires = "root")]
    root_fs: RootFsArg,
    #[command(flatten)]
    boot_sector: BootSectorArgs,
    /// The container. Default: what FILE's name says, else raw.
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Output")]
    format: Option<FormatArg>,
    /// Compress the image. Default: what FILE's name says, else none.
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Output")]
    compress: Option<CompressArg>,
    /// Write SHA256SUMS beside FILE, with the sums of FILE and of the image in it; lines of other files there are kept.
    #[arg(long, help_heading = "Output")]
    checksums: bool,
    /// Print where everything would stand, and write nothing.
    #[arg(long, conflicts_with_all = ["output", "checksums"], help_heading = "Output")]
    dry_run: bool,
    /// Print where everything stands as JSON.
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Say what became of it: notes, places, sizes, time.
    #[arg(long, short, help_heading = "Output")]
    verbose: bool,
    /// Programs to include, by path or by name on PATH.
    #[arg(value_name = "BINARY")]
    binaries: Vec<OsString>,
}

/// `--sector-size`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SectorArg {
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
enum EspArg {
    /// FAT32, which all firmware reads: 34 MiB and more, 258 with sectors of 4096 bytes
    Standard,
    /// as small as its files allow, mostly FAT12 or FAT16: for virtual machines
    Tiny,
}

/// `--root-fs`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RootFsArg {
    /// read-only, compressed (mksquashfs)
    Squashfs,
    /// the usual one (mkfs.ext4)
    Ext4,
}

/// `--format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// the disk's own bytes, holes where there is nothing
    Raw,
    /// QEMU's
    Qcow2,
    /// of fixed size, as Azure takes it
    Vhd,
    /// VMware's and VirtualBox's, one sparse file
    Vmdk,
    /// no disk: the EFI program alone
    Uki,
}

/// `--compress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompressArg {
    None,
    Zstd,
    Xz,
    Gzip,
}

impl DiskArgs {
    fn format(&self) -> Option<Format> {
        self.format.map(|format| match format {
            FormatArg::Raw => Format::Raw,
            FormatArg::Qcow2 => Format::Qcow2,
            FormatArg::Vhd => Format::Vhd,
            FormatArg::Vmdk => Format::Vmdk,
            FormatArg::Uki => Format::Uki,
        })
    }

    fn compression(&self) -> Option<Compression> {
        self.compress.map(|how| match how {
            CompressArg::None => Compression::None,
            CompressArg::Zstd => Compression::Zstd,
            CompressArg::Xz => Compression::Xz,
            CompressArg::Gzip => Compression::Gzip,
        })
    }

    fn sectors(&self) -> Sectors {
        match self.sector_size {
            SectorArg::S512 => Sectors::One(SectorSize::S512),
            SectorArg::S4096 => Sectors::One(SectorSize::S4096),
            SectorArg::Dual => Sectors::Dual,
        }
    }

    fn profile(&self) -> Profile {
        match self.esp {
            EspArg::Standard => Profile::Standard,
            EspArg::Tiny => Profile::Tiny,
        }
    }

    fn spec(&self) -> DiskSpec {
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

/// Runs the verb.
pub fn run(args: &DiskArgs, start: Instant) -> anyhow::Result<u8> {
    let target = Target::new(args.output.as_deref(), args.format(), args.compression());
    ensure!(
        !args.json || args.output.as_deref() != Some(Path::new("-")),
        "printing JSON: standard output is where the image goes"
    );
    for note in &target.notes {
        output::note(note);
    }
    // What is wrong with the message shows before anything takes time.
    let boot_code = args.boot_sector.code()?;
    let mut progress = Progress::new(false);
    let pcrs = measured::wanted(args.measure, args.output.as_deref())?;
    let program = program(args, &mut progress).map_err(program::advise)?;
    let pcrs = pcrs.map(|path| measured::of(&program).map(|values| (path, values))).transpose()?;
    if args.verbose {
        program.notes.iter().for_each(|note| output::note(note));
    }
    if target.format == Format::Uki {
        alone(args, &target, program, start)?;
        return measured::write(pcrs).map(|()| 0);
    }
    let spec = args.spec();
    let time = mtime()?;
    let root = root(args, &spec, time, &mut progress)?;
    let (tree, files) = partition(&spec, &program)?;
    let contents = tree.contents();
    let wanted = Wanted {
        sectors: args.sectors(),
        profile: args.profile(),
        contents: &contents,
        root: root.as_ref().map(Extents::size),
        size: args.size,
    };
    let layout = Layout::new(&wanted).map_err(advise_on_size)?;
    let root_kind = root_type(program.machine);
    let made = image(&ImageSpec {
        layout: &layout,
        tree: &tree,
        files: &files,
        root: root.as_ref().map(|root| (root, root_kind)),
        boot_code,
        time: time.into(),
    })?;
    let disk = Disk::new(&layout, &made, &tree);
    if let Some(path) = &args.output {
        let Image { extents, names, .. } = made;
        let container = contain(target.format, extents, names.disk, time.into())?;
        write(args, path, &target, &container, &mut progress, start)?;
    }
    measured::write(pcrs)?;
    tell(args, &disk)
}

/// The program itself, as a file.
fn alone(args: &DiskArgs, target: &Target, program: Program, start: Instant) -> anyhow::Result<()> {
    let disk_alone = [
        (args.root.is_some(), "--root"),
        (!args.add_file.is_empty(), "--add-file"),
        (args.size.is_some(), "--size"),
        (args.json, "--json"),
    ];
    if let Some((_, option)) = disk_alone.into_iter().find(|(given, _)| *given) {
        return Err(anyhow!("making an EFI program alone: {option} is for disks"));
    }
    let mut progress = Progress::new(false);
    match &args.output {
        Some(path) => write(args, path, target, &program.content, &mut progress, start)?,
        None => {
            let mut out = output::stdout();
            writeln!(out, "{} bytes, {}, {}", program.content.size(), program.machine, program.what)?;
            out.flush().context("printing")?;
        }
    }
    Ok(())
}

/// The root partition's content.
fn root(args: &DiskArgs, spec: &DiskSpec, time: u32, progress: &mut Progress) -> anyhow::Result<Option<Extents>> {
    let Some(root) = &spec.root else { return Ok(None) };
    // A file system may be larger than a /tmp in memory: it goes where the image will have to go, too.
    let beside = args.output.as_deref().filter(|path| *path != "-").and_then(Path::parent);
    let meanwhile = match beside {
        Some(parent) if parent == "" => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => std::env::temp_dir(),
    };
    progress.show("making the root partition");
    let content = root_content(root, &meanwhile, time);
    progress.clear();
    content.map(Some).map_err(|error| match error.package() {
        Some(package) => output::advise(error, format!("on Debian it is in the package {package}")),
        None => error.into(),
    })
}

/// What goes on the EFI system partition, and the contents of its files.
fn partition(spec: &DiskSpec, program: &Program) -> anyhow::Result<(EspTree, Vec<Arc<Extents>>)> {
    let loader = program.machine.default_loader().context("naming the EFI program")?;
    let mut files = vec![Arc::new(program.content.clone())];
    let mut entries = vec![EspEntry {
        path: format!("EFI/BOOT/{loader}"),
        what: EspNode::File { len: program.content.size(), source: 0 },
        why: program.what.clone(),
    }];
    for added in esp::added(&spec.added)? {
        let what = match &added.file {
            None => EspNode::Dir,
            Some(path) => {
                let content = Extents::of_path(path).with_context(|| format!("reading {}", path.display()))?;
                let len = content.size();
                files.push(Arc::new(content));
                EspNode::File { len, source: files.len() - 1 }
            }
        };
        entries.push(EspEntry { path: added.path, what, why: added.why });
    }
    Ok((EspTree::new(entries)?, files))
}

fn advise_on_size(error: LayoutError) -> anyhow::Error {
    match error {
        LayoutError::TooSmall { needed, .. } => {
            output::advise(error, format!("give --size {}M or more, or leave it out", needed >> 20))
        }
        LayoutError::TooLarge(_) | LayoutError::NoVolume => error.into(),
    }
}

/// The type that says which machines a root partition is for (UAPI.2, Discoverable Partitions Specification).
fn root_type(machine: Machine) -> Guid {
    match machine {
        Machine::X64 => Guid::ROOT_X86_64,
        Machine::IA32 => Guid::from_fields(0x4447_9540, 0xF297, 0x41B2, [0x9A, 0xF7], 0xD131_D5F0_458A),
        Machine::AA64 => Guid::from_fields(0xB921_B045, 0x1DF0, 0x41C3, [0xAF, 0x44], 0x4C6F_280D_3FAE),
        Machine::ARM => Guid::from_fields(0x69DA_D710, 0x2CE4, 0x4E3C, [0xB1, 0x6C], 0x21A1_D49A_BED3),
        _ => Guid::LINUX_DATA,
    }
}

/// Writes it out, sums and all.
fn write(
    args: &DiskArgs,
    path: &Path,
    target: &Target,
    image: &Extents,
    progress: &mut Progress,
    start: Instant,
) -> anyhow::Result<()> {
    let to_file = path != "-" && path.file_name().is_some();
    ensure!(
        to_file || !args.checksums,
        "writing SHA256SUMS: the image goes to standard output, so nothing is beside it"
    );
    let output = Output::create(path)?;
    progress.show(&format!("writing {}", path.display()));
    let emitted = emit(image, output, target.compression, args.checksums)?;
    progress.clear();
    if args.checksums {
        sums(path, target, &emitted)?;
    }
    if args.verbose {
        let time = start.elapsed().as_secs_f64() * 1000.0;
        output::note(&format!("{}: {}, {} bytes, {time:.1} ms", path.display(), target.format.name(), emitted.bytes));
    }
    Ok(())
}

fn sums(path: &Path, target: &Target, emitted: &Emitted) -> anyhow::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("writing SHA256SUMS: {} is not UTF-8", path.display()))?;
    ensure!(!name.contains(['\n', '\\']), "writing SHA256SUMS: {name:?} has characters that it cannot have");
    let directory = path.parent().filter(|parent| *parent != "").unwrap_or(Path::new("."));
    let inner = emitted.inner.map(|digest| (target.inner_name(name), digest));
    let outer = emitted.digest.map(|digest| (name.to_owned(), digest));
    let lines: Vec<_> = outer.into_iter().chain(inner).collect();
    write_sums(directory, &lines)?;
    Ok(())
}

/// Prints where everything stands, if anybody wants to know.
fn tell(args: &DiskArgs, disk: &Disk) -> anyhow::Result<u8> {
    let mut out = output::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, disk).context("printing")?;
        writeln!(out).context("printing")?;
    } else if args.dry_run {
        disk.print(&mut out).context("printing")?;
    } else if args.verbose {
        let mut text = Vec::new();
        disk.print(&mut text).context("printing")?;
        String::from_utf8_lossy(&text).lines().for_each(output::note);
    }
    out.flush().context("printing")?;
    Ok(0)
}

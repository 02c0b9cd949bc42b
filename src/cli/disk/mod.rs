//! `bootling disk`: builds an EFI-only disk image, in any container format, from a kernel and its initrd.

mod arguments;
mod boot_sector;
mod describe;
mod measured;
mod program;
mod size;
mod target;
mod written;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};

pub(crate) use self::arguments::DiskArgs;
use self::arguments::{EspArg, SectorArg};
use self::describe::Disk;
use self::program::{Program, program};
use self::target::Target;
use self::written::Written;
use super::build::mtime;
use super::output;
use super::progress::Progress;
use bootling::disk::esp;
use bootling::disk::image::assemble::{Image, ImageSpec, image};
use bootling::disk::image::{contain, root_content};
use bootling::disk::layout::{EspEntry, EspNode, EspTree, Layout, LayoutError, LayoutSpec};
use bootling::disk::spec::{DiskSpec, Format};
use bootling::format::Guid;
use bootling::format::mbr::BOOT_CODE;
use bootling::format::pe::Machine;
use bootling::output::extents::Extents;

/// Runs the verb.
pub(crate) fn run(args: &DiskArgs, start: Instant) -> anyhow::Result<u8> {
    let target = Target::new(args.output.as_deref(), args.format(), args.compress);
    ensure!(
        !args.json || args.output.as_deref() != Some(Path::new("-")),
        "--json cannot be used if the image is written to standard output"
    );
    written::check(args)?;
    for note in &target.notes {
        output::note(note);
    }
    // Report errors in the message before anything slow starts.
    let boot_code = args.boot_sector.code()?;
    let mut progress = Progress::new(false);
    let pcrs = measured::wanted(args.measure, args.output.as_deref())?;
    let program = program(args, &mut progress).map_err(program::advise)?;
    let pcrs = pcrs.map(|path| measured::of(&program).map(|values| (path, values))).transpose()?;
    if args.verbose {
        program.notes.iter().for_each(|note| output::note(note));
    }
    let (disk, content) = if target.format == Format::Uki {
        check_uki_only(args, &program)?;
        (None, program.content)
    } else {
        let (disk, content) = compose(args, &target, &program, &boot_code)?;
        (Some(disk), content)
    };
    let write = |path| written::write(args, path, &target, &content, pcrs.as_ref());
    let written: Option<Written> = args.output.as_deref().map(write).transpose()?;
    // Print before the files appear, since printing can fail and they would remain.
    disk.map_or(Ok(()), |disk| print_result(args, &disk))?;
    written.map_or(Ok(()), |written| written.finish(args, start)).map(|()| 0)
}

/// Checks the options for a plain EFI program, and prints what would be written if there is no output file.
fn check_uki_only(args: &DiskArgs, program: &Program) -> anyhow::Result<()> {
    let disk_alone = [
        (args.root.is_some(), "--root"),
        (!args.add_file.is_empty(), "--add-file"),
        (args.size.is_some(), "--size"),
        (args.sector_size != SectorArg::S512, "--sector-size"),
        (args.esp != EspArg::Standard, "--esp"),
        (args.boot_sector.is_asked_for(), "boot sector options"),
        (args.json, "--json"),
    ];
    if let Some((_, option)) = disk_alone.into_iter().find(|(given, _)| *given) {
        return Err(anyhow!("{option} cannot be used with the format uki, which is not a disk"));
    }
    if args.output.is_some() {
        return Ok(());
    }
    let mut out = output::stdout();
    writeln!(out, "{} bytes, {}, {}", program.content.size(), program.machine, program.what)?;
    out.flush().context("failed to write to standard output")
}

/// Builds the whole disk: its layout, and its bytes in the container format.
fn compose(
    args: &DiskArgs,
    target: &Target,
    program: &Program,
    boot_code: &[u8; BOOT_CODE],
) -> anyhow::Result<(Disk, Extents)> {
    let spec = args.spec();
    let time = mtime()?;
    let root = root(args, &spec, time)?;
    let (tree, files) = partition(&spec, program)?;
    let contents = tree.contents();
    let wanted = LayoutSpec {
        sectors: args.sectors(),
        profile: args.profile(),
        contents: &contents,
        root: root.as_ref().map(Extents::size),
        size: args.size,
    };
    let layout = Layout::new(&wanted).map_err(advise_on_size)?;
    let root_type = root_type(program.machine);
    let made = image(&ImageSpec {
        layout: &layout,
        tree: &tree,
        files: &files,
        root: root.as_ref().map(|root| (root, root_type)),
        boot_code: *boot_code,
        time: time.into(),
    })?;
    let disk = Disk::new(&layout, &made, &tree);
    let Image { extents, names, .. } = made;
    Ok((disk, contain(target.format, extents, names.disk, time.into())?))
}

/// Builds the content of the root partition.
fn root(args: &DiskArgs, spec: &DiskSpec, time: u32) -> anyhow::Result<Option<Extents>> {
    let Some(root) = &spec.root else { return Ok(None) };
    // The file system may not fit in a /tmp in memory, so it is built in the directory of the image.
    let beside = args.output.as_deref().filter(|path| *path != "-").and_then(Path::parent);
    let meanwhile = match beside {
        Some(parent) if parent == "" => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => std::env::temp_dir(),
    };
    let mut progress = Progress::new(false);
    progress.show("creating the root partition");
    let content = root_content(root, &meanwhile, time);
    progress.clear();
    let made = content.map_err(|error| match error.package() {
        Some(package) => output::advise(error, format!("on Debian, install the package {package}")),
        None => error.into(),
    })?;
    made.notes.iter().for_each(|note| output::note(note));
    Ok(Some(made.content))
}

/// Returns the tree of the EFI system partition, and the contents of its files.
fn partition(spec: &DiskSpec, program: &Program) -> anyhow::Result<(EspTree, Vec<Arc<Extents>>)> {
    let loader = program.machine.default_loader().context("failed to name the EFI program")?;
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
                let content = Extents::of_path(path).with_context(|| format!("failed to read {}", path.display()))?;
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
        LayoutError::TooSmall { required, .. } => {
            output::advise(error, format!("use --size {}M or more, or omit it", required >> 20))
        }
        LayoutError::TooLarge(_) | LayoutError::NoVolume => error.into(),
    }
}

/// Returns the type GUID of a root partition for a machine type (UAPI.2, Discoverable Partitions Specification).
fn root_type(machine: Machine) -> Guid {
    match machine {
        Machine::X64 => Guid::ROOT_X86_64,
        Machine::IA32 => Guid::from_fields(0x4447_9540, 0xF297, 0x41B2, [0x9A, 0xF7], 0xD131_D5F0_458A),
        Machine::AA64 => Guid::from_fields(0xB921_B045, 0x1DF0, 0x41C3, [0xAF, 0x44], 0x4C6F_280D_3FAE),
        Machine::ARM => Guid::from_fields(0x69DA_D710, 0x2CE4, 0x4E3C, [0xB1, 0x6C], 0x21A1_D49A_BED3),
        _ => Guid::LINUX_DATA,
    }
}

/// Prints the layout, if requested.
fn print_result(args: &DiskArgs, disk: &Disk) -> anyhow::Result<()> {
    let mut out = output::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, disk).context("failed to write to standard output")?;
        writeln!(out).context("failed to write to standard output")?;
    } else if args.dry_run {
        disk.print(&mut out).context("failed to write to standard output")?;
    } else if args.verbose {
        let mut text = Vec::new();
        disk.print(&mut text).context("failed to write to standard output")?;
        String::from_utf8_lossy(&text).lines().for_each(output::note);
    }
    out.flush().context("failed to write to standard output")
}

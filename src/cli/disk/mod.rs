//! `bootling disk`: an EFI-only disk image, in any container, from a kernel and the initrd that is made for it.

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

pub use self::arguments::DiskArgs;
use self::arguments::{EspArg, SectorArg};
use self::describe::Disk;
use self::program::{Program, program};
use self::target::Target;
use self::written::Written;
use super::build::mtime;
use super::output;
use super::progress::Progress;
use bootling::disk::esp;
use bootling::disk::plan::{EspEntry, EspNode, EspTree, Layout, LayoutError, Wanted};
use bootling::disk::spec::{DiskSpec, Format};
use bootling::disk::writer::{
    container::contain,
    image::{self, Image, ImageSpec},
    root::root_content,
};
use bootling::format::Guid;
use bootling::format::mbr::BOOT_CODE;
use bootling::format::pe::Machine;
use bootling::output::extents::Extents;

/// Runs the verb.
pub fn run(args: &DiskArgs, start: Instant) -> anyhow::Result<u8> {
    let target = Target::new(args.output.as_deref(), args.format(), args.compression());
    ensure!(
        !args.json || args.output.as_deref() != Some(Path::new("-")),
        "printing JSON: standard output is where the image goes"
    );
    written::check(args)?;
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
    let (disk, content) = if target.format == Format::Uki {
        alone(args, &program)?;
        (None, program.content)
    } else {
        let (disk, content) = compose(args, &target, &program, &boot_code)?;
        (Some(disk), content)
    };
    let write = |path| written::write(args, path, &target, &content, pcrs.as_ref());
    let written: Option<Written> = args.output.as_deref().map(write).transpose()?;
    // What is printed can fail, too; what has appeared by then would stay.
    disk.map_or(Ok(()), |disk| tell(args, &disk))?;
    written.map_or(Ok(()), |written| written.finish(args, start)).map(|()| 0)
}

/// The program itself, as a file. Says what it would be.
fn alone(args: &DiskArgs, program: &Program) -> anyhow::Result<()> {
    let disk_alone = [
        (args.root.is_some(), "--root"),
        (!args.add_file.is_empty(), "--add-file"),
        (args.size.is_some(), "--size"),
        (args.sector_size != SectorArg::S512, "--sector-size"),
        (args.esp != EspArg::Standard, "--esp"),
        (args.boot_sector.is_asked_for(), "a boot sector"),
        (args.json, "--json"),
    ];
    if let Some((_, option)) = disk_alone.into_iter().find(|(given, _)| *given) {
        return Err(anyhow!("making an EFI program alone: {option} is for disks"));
    }
    if args.output.is_some() {
        return Ok(());
    }
    let mut out = output::stdout();
    writeln!(out, "{} bytes, {}, {}", program.content.size(), program.machine, program.what)?;
    out.flush().context("printing")
}

/// The whole disk: where everything stands, and its bytes in their container.
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
    let wanted = Wanted {
        sectors: args.sectors(),
        profile: args.profile(),
        contents: &contents,
        root: root.as_ref().map(Extents::size),
        size: args.size,
    };
    let layout = Layout::new(&wanted).map_err(advise_on_size)?;
    let root_kind = root_type(program.machine);
    let made = image::image(&ImageSpec {
        layout: &layout,
        tree: &tree,
        files: &files,
        root: root.as_ref().map(|root| (root, root_kind)),
        boot_code: *boot_code,
        time: time.into(),
    })?;
    let disk = Disk::new(&layout, &made, &tree);
    let Image { extents, names, .. } = made;
    Ok((disk, contain(target.format, extents, names.disk, time.into())?))
}

/// The root partition's content.
fn root(args: &DiskArgs, spec: &DiskSpec, time: u32) -> anyhow::Result<Option<Extents>> {
    let Some(root) = &spec.root else { return Ok(None) };
    // A file system may be larger than a /tmp in memory: it goes where the image will have to go, too.
    let beside = args.output.as_deref().filter(|path| *path != "-").and_then(Path::parent);
    let meanwhile = match beside {
        Some(parent) if parent == "" => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => std::env::temp_dir(),
    };
    let mut progress = Progress::new(false);
    progress.show("making the root partition");
    let content = root_content(root, &meanwhile, time);
    progress.clear();
    let made = content.map_err(|error| match error.package() {
        Some(package) => output::advise(error, format!("on Debian it is in the package {package}")),
        None => error.into(),
    })?;
    made.notes.iter().for_each(|note| output::note(note));
    Ok(Some(made.content))
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

/// Prints where everything stands, if anybody wants to know.
fn tell(args: &DiskArgs, disk: &Disk) -> anyhow::Result<()> {
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
    out.flush().context("printing")
}

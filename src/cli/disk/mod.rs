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
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};

pub(crate) use self::arguments::DiskArgs;
use self::arguments::{EspArg, SectorArg};
use self::describe::Disk;
use self::program::program;
use self::target::Target;
use self::written::Written;
use super::build::mtime;
use super::output;
use super::progress::Progress;
use bootling::disk;
use bootling::disk::build::{DiskError, EfiProgram};
use bootling::disk::layout::LayoutError;
use bootling::disk::spec::Format;
use bootling::format::mbr::BOOT_CODE;
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
    let (program, notes) = program(args, &mut progress).map_err(program::advise)?;
    let pcrs = pcrs.map(|path| measured::of(&program).map(|values| (path, values))).transpose()?;
    if args.verbose {
        for note in &notes {
            output::note(note);
        }
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
fn check_uki_only(args: &DiskArgs, program: &EfiProgram) -> anyhow::Result<()> {
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
    program: &EfiProgram,
    boot_code: &[u8; BOOT_CODE],
) -> anyhow::Result<(Disk, Extents)> {
    // The root's file system may not fit in a /tmp in memory, so it is built in the directory of the image.
    let beside = args.output.as_deref().filter(|path| *path != "-").and_then(Path::parent);
    let scratch = match beside {
        Some(parent) if parent == "" => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => std::env::temp_dir(),
    };
    let mut progress = Progress::new(false);
    if args.root.is_some() {
        progress.show("creating the root partition");
    }
    let built = disk::build::Disk::new(program, &args.spec(boot_code, mtime()?), &scratch);
    progress.clear();
    let built = built.map_err(advise)?;
    built.notes.iter().for_each(|note| output::note(note));
    Ok((Disk::new(&built.layout, &built.image, &built.tree), built.contain(target.format)?))
}

fn advise(error: DiskError) -> anyhow::Error {
    let advice = match &error {
        DiskError::Layout(LayoutError::TooSmall { required, .. }) => {
            Some(format!("use --size {}M or more, or omit it", required >> 20))
        }
        DiskError::Root(error) => error.package().map(|package| format!("on Debian, install the package {package}")),
        _ => None,
    };
    match advice {
        Some(advice) => output::advise(error, advice),
        None => error.into(),
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

//! The EFI program on the disk: an existing one, or a unified kernel image built here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};

use super::DiskArgs;
use crate::cli::build::{OpenCache, check_compression, healing, mtime};
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::reporter::Reporter;
use bootling::arch::Arch;
use bootling::disk::build::EfiProgram;
use bootling::disk::signing::sign;
use bootling::disk::uki::image::Uki;
use bootling::guest::image::plan;
use bootling::guest::packages::root_directory;
use bootling::initrd::check::Purpose;
use bootling::initrd::memfd;
use bootling::output::extents::{Extents, SourceFile};
use bootling::root::kernel::{self, Kernel};
use bootling::{disk::uki, root::directory::Root};
use bootling::{root::request::KernelRef, root::spec::RunWhat};

/// Opens or builds the EFI program. Also returns notes for `--verbose`.
pub(crate) fn program(args: &DiskArgs, progress: &mut Progress) -> anyhow::Result<(EfiProgram, Vec<String>)> {
    let signer = args.sign.signer()?;
    let (mut program, mut notes) = match &args.efi {
        Some(path) => {
            // A kernel from the environment is only a default, and does not conflict.
            ensure!(!args.typed.has("kernel"), "--efi cannot be used together with --kernel");
            (EfiProgram::open(path)?, Vec::new())
        }
        None => unified(args, progress)?,
    };
    if let Some(signer) = signer {
        program.content = sign(&program.content, &signer)?;
        notes.push(format!("signed by {}", signer.subject));
    }
    Ok((program, notes))
}

/// Builds a unified kernel image from systemd's stub, the kernel, the initrd and the command line.
fn unified(args: &DiskArgs, progress: &mut Progress) -> anyhow::Result<(EfiProgram, Vec<String>)> {
    // The program's content holds its files open, so it outlives a temporary cache.
    Ok(healing(|cache| unified_from(args, cache, progress))?.0)
}

fn unified_from(
    args: &DiskArgs,
    cache: OpenCache<'_>,
    progress: &mut Progress,
) -> anyhow::Result<(EfiProgram, Vec<String>)> {
    let typed = args.initrd.sysroot.as_deref().unwrap_or(Path::new("/"));
    let root = Root::new(root_directory(typed, None, &mut Reporter::new(false)).map_err(output::advised)?)?;
    let wanted = args.initrd.kernel().unwrap_or(KernelRef::Newest);
    let kernel = kernel::find(&root, &wanted, None, &cache()?, &mut |doing| progress.show(doing))?;
    progress.clear();
    let parts = uki::resolve(&root, &kernel, args.stub.as_deref())?;
    let (initrd, mut notes) = match &args.ready_made {
        Some(path) => (existing(path)?, Vec::new()),
        None => composed(args, &root, &kernel)?,
    };
    let line = command_line(args, kernel.arch);
    notes.push(format!("kernel: {}", kernel.origin));
    notes.push(format!("initrd: {} bytes", initrd.size()));
    notes.push(format!("kernel command line: {line}"));
    let uki = Uki::new(parts, &line, initrd)?;
    let what = format!("unified kernel image of {}", kernel.origin);
    Ok((EfiProgram { content: uki.extents(), machine: uki.machine(), what }, notes))
}

/// Opens an existing initrd, which is used unchanged.
fn existing(path: &Path) -> anyhow::Result<Extents> {
    let file = SourceFile::open(path).with_context(|| format!("failed to read initrd {}", path.display()))?;
    Ok(Extents::of_file(&file))
}

/// Builds an initrd as `build` does.
fn composed(args: &DiskArgs, root: &Root, kernel: &Kernel) -> anyhow::Result<(Extents, Vec<String>)> {
    check_compression(kernel, args.initrd_compress, "--initrd-compress")?;
    let what = args.initrd.run.clone().map_or(RunWhat::Shell, RunWhat::Line);
    let spec = args.initrd.spec(&args.binaries, what)?;
    let (plan, notes) = plan(root, Some(kernel), &spec, None)?;
    let memory = memfd::packed(&plan.check(Purpose::Image)?, args.initrd_compress, mtime()?)?;
    let file = SourceFile::new(File::from(memory), PathBuf::from("the initrd in memory"))
        .context("failed to get the size of the initrd")?;
    Ok((whole(&file), notes))
}

/// Returns the whole content of a file, without looking for holes.
fn whole(file: &Arc<SourceFile>) -> Extents {
    let mut extents = Extents::new(file.len);
    extents.add(0, file.len, bootling::output::extents::Source::File(Arc::clone(file)), 0);
    extents
}

/// Returns the kernel's command line. The serial port follows the screen, because the kernel uses the last console that
/// exists as /dev/console; a machine without a serial port thus uses its screen. `panic=60` leaves time to read a
/// panic.
fn command_line(args: &DiskArgs, arch: Arch) -> String {
    let serial = arch.console();
    let mut line = match &args.cmdline {
        Some(line) => line.clone(),
        None => format!("console=tty0 console={serial} panic=60"),
    };
    for words in &args.append {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(words);
    }
    line
}

/// Adds advice if the kernel or the stub is missing.
pub(crate) fn advise(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<uki::UkiError>().and_then(uki::UkiError::advice) {
        Some(advice) => output::advise(error, advice),
        None => error,
    }
}

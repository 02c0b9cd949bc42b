//! What firmware starts from the disk: an EFI program that is given, or a unified kernel image made here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};

use super::DiskArgs;
use crate::cli::build::{check_compression, mtime};
use crate::cli::output;
use crate::cli::progress::Progress;
use bootling::arch::Arch;
use bootling::cache::Cache;
use bootling::disk::signature::sign;
use bootling::disk::uki::image::Uki;
use bootling::format::pe::Machine;
use bootling::guest::image::plan;
use bootling::initrd::check::Purpose;
use bootling::initrd::memfd;
use bootling::output::extents::{Extents, SourceFile};
use bootling::root::kernel::{self, Kernel};
use bootling::{
    disk::{esp, uki},
    root::root::Root,
};
use bootling::{initrd::spec::RunWhat, root::request::KernelRef};

/// A program for `EFI/BOOT`.
#[derive(Debug)]
pub struct Program {
    /// The file.
    pub content: Extents,
    /// What it runs on.
    pub machine: Machine,
    /// In words what it is.
    pub what: String,
    /// Lines for those who want to know.
    pub notes: Vec<String>,
}

/// Finds or makes it.
pub fn program(args: &DiskArgs, progress: &mut Progress) -> anyhow::Result<Program> {
    let signer = args.sign.signer()?;
    let mut program = match &args.efi {
        Some(path) => {
            // One in the environment is meant for whoever needs one.
            ensure!(!args.typed.has("kernel"), "taking both --efi and --kernel: give one of them");
            given(path)
        }
        None => unified(args, progress),
    }?;
    if let Some(signer) = signer {
        program.content = sign(&program.content, &signer)?;
        program.notes.push(format!("signed by {}", signer.subject));
    }
    Ok(program)
}

/// A program that is there.
fn given(path: &Path) -> anyhow::Result<Program> {
    let machine = esp::program(path)?;
    let file = SourceFile::open(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Program {
        content: Extents::of_file(&file),
        machine,
        what: format!("--efi {}", path.display()),
        notes: Vec::new(),
    })
}

/// Kernel, initrd and command line behind systemd's stub.
fn unified(args: &DiskArgs, progress: &mut Progress) -> anyhow::Result<Program> {
    let root = Root::new(args.initrd.sysroot.as_deref().unwrap_or(Path::new("/")))?;
    let wanted = args.initrd.kernel().unwrap_or(KernelRef::Newest);
    let kernel = kernel::find(&root, &wanted, &Cache::open()?, &mut |doing| progress.show(doing))?;
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
    Ok(Program { content: uki.extents(), machine: uki.machine(), what, notes })
}

/// An initrd that is there, booted as it is.
fn existing(path: &Path) -> anyhow::Result<Extents> {
    let file = SourceFile::open(path).with_context(|| format!("reading initrd {}", path.display()))?;
    Ok(Extents::of_file(&file))
}

/// An initrd as `build` makes it.
fn composed(args: &DiskArgs, root: &Root, kernel: &Kernel) -> anyhow::Result<(Extents, Vec<String>)> {
    check_compression(kernel, args.initrd_compress, "--initrd-compress")?;
    let what = args.initrd.run.clone().map_or(RunWhat::Shell, RunWhat::Line);
    let spec = args.initrd.spec(&args.binaries, what)?;
    let (plan, notes) = plan(root, Some(kernel), &spec, None)?;
    let memory = memfd::packed(&plan.check(Purpose::Image)?, args.initrd_compress, mtime()?)?;
    let file =
        SourceFile::new(File::from(memory), PathBuf::from("the initrd in memory")).context("sizing the initrd")?;
    Ok((whole(&file), notes))
}

/// All of a file that has no holes to speak of.
fn whole(file: &Arc<SourceFile>) -> Extents {
    let mut extents = Extents::new(file.len);
    extents.add(0, file.len, bootling::output::extents::Source::File(Arc::clone(file)), 0);
    extents
}

/// The screen and the first serial port, the port last: the kernel makes the last one that is there the console that
/// programs talk to, so a machine without a port uses its screen. After a panic there is a minute to read it.
fn command_line(args: &DiskArgs, arch: Arch) -> String {
    let serial = match arch {
        Arch::X86_64 | Arch::X86 | Arch::X32 | Arch::Riscv64 | Arch::Ppc64le => "ttyS0",
        Arch::Aarch64 | Arch::Arm => "ttyAMA0",
        Arch::S390x => "ttysclp0",
    };
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

/// Says what may help where the kernel or the stub is not there.
pub fn advise(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<uki::UkiError>().and_then(uki::UkiError::advice) {
        Some(advice) => output::advise(error, advice),
        None => error,
    }
}

//! `bootling bundle`: records a run in one file, for others to repeat.

pub mod list;
pub mod repeat;
mod script;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Seek;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::output;
use super::reporter::Reporter;
use super::run::RunArgs;
use super::run_options::RunOptions;
use bootling::guest::prebuilt::console_archive;
use bootling::guest::report::ExpectedResult;
use bootling::guest::verdict::Outcome;
use bootling::guest::{self, Output, Prepared, RunSpec, Warm, limits};
use bootling::initrd::spec::RunWhat;
use bootling::output as outputs;
use bootling::qemu::argv::{Ends, Payload, Wires, argv};
use bootling::qemu::firmware::Firmware;
use bootling::qemu::machine::{Machine, Transport};
use bootling::regress::bundle::{
    Contents, JOINED, KernelNote, MachineNote, Manifest, QemuNote, VERSION, compression, write,
};
use bootling::root::kernel::ImageKind;

/// Maximum number of bytes recorded of each output.
const ROOM: usize = 1 << 20;

/// Record a run in one file, with kernel, initrd, QEMU command line and result, for others to repeat
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
pub struct BundleArgs {
    /// File to write. Compressed with zstd; with gzip if the name ends in .gz or .tgz; uncompressed if it ends in .tar.
    #[arg(long, short, value_name = "FILE", help_heading = "Bundle")]
    output: PathBuf,
    /// Do not run COMMAND. The bundle then contains no expected result.
    #[arg(long, help_heading = "Bundle")]
    no_run: bool,
    /// Include the last lines of the console. They contain times, so bundles are not reproducible.
    #[arg(long, help_heading = "Bundle", conflicts_with = "no_run")]
    with_console: bool,
    /// Print only errors.
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    options: RunOptions,
}

macro_rules! examples {
    () => {
        "Examples:
  bootling bundle -o bug.bundle --kernel . --kmod 'loop max_loop=4' -- ./reproducer
  bootling bundle -o bug.tgz --cpu max,-svm --run 'echo c >/proc/sysrq-trigger'
  bootling run bug.bundle                           repeat the run, and compare the result
  bootling run --qemu ~/qemu/build/qemu-system-x86_64 bug.bundle
  bootling ls bug.bundle
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
Contents:
  The kernel image and the initrd as booted, with all programs, files and modules that the run needs; QEMU's command
  line; the result and the command's output (1 MiB per stream); the SHA-256 of each file; a README; and a script that
  repeats the run with only QEMU installed: tar -xf bug.bundle && sh bootling-*/run.sh
  (like any script from an untrusted source, read it first; `bootling run FILE` never runs it).
  The same inputs produce the same bytes if the command's output is the same. A bundle contains everything named by
  --copy, --with and --env. Check it before you send it (bootling ls, bootling cat FILE initrd | bootling ls -).

Repeating:
  `bootling run FILE` verifies each file, starts the host's own QEMU with a machine like the recorded one, and reports
  whether the result is the recorded one; the exit status is the command's. An untrusted bundle can only run a guest:
  arguments that could give QEMU access to files of the host are printed and refused unless --trust is given, and a
  run.sh that bootling would not have written is reported. --qemu, --accel, --cpu, --machine, --smp, --memory,
  --timeout and --health replace the recorded settings; --append, --fast-boot, --qemu-arg, --health-allow and
  --health-deny add to them; options that select what to run are refused.

Exit status: 0 if the bundle was written, regardless of the result; 125 if not.
"
);

/// Runs the verb.
pub fn run(args: &BundleArgs) -> anyhow::Result<u8> {
    let run = args.options.read()?;
    let mut output = outputs::Output::create(&args.output)?;
    let mut reporter = Reporter::new(args.quiet);
    let spec = RunSpec { warm: Warm::No, ..run.spec(false)? };
    let on_console_only = spec.initrd.run == RunWhat::Shell && spec.ready_made.is_none();
    ensure!(!on_console_only, "cannot bundle a shell: give COMMAND or --run LINE");
    let prepared = guest::prepare(&spec, &mut reporter).map_err(|failed| output::advised(failed.error))?;
    let machine = prepared.machine.clone();
    ensure!(
        machine.transport != Transport::None,
        "cannot bundle an initrd not built by bootling: give COMMAND or --run LINE"
    );
    let bios = is_bios(&machine)?;
    let (image, initrd) = prepared.boot_files().context("cannot bundle a run that does not boot")?;
    let kernel = File::open(image).with_context(|| format!("failed to open {}", image.display()))?;
    let initrd = initrd.try_clone().context("failed to keep the initrd")?;
    let mut kept = Contents {
        kernel,
        on_console: console_archive(&File::from(initrd.try_clone().context("failed to keep the initrd")?))
            .map_err(output::advised)?,
        initrd: initrd.into(),
        outputs: None,
        console: None,
    };
    let is_elf = is_elf(&kept.kernel)?;
    let limit = run.limits().total.or(limits::total(&machine));
    let note = machine_note(&machine, &spec, bios, limit)?;
    let origin = origin(&prepared.kernel);
    let ran = if args.no_run { None } else { Some(once(&run, prepared, &mut reporter)?) };
    let manifest = Manifest {
        version: VERSION,
        made_by: script::name_and_version(),
        command: command(&spec.initrd.run),
        arch: "x86_64".to_owned(),
        kernel: KernelNote { origin, release: ran.as_ref().and_then(|ran| ran.release.clone()), is_elf },
        qemu: qemu_note(&machine)?,
        machine: note,
        health: spec.health.clone(),
        expected: ran.as_ref().map(|ran| expected(&ran.outcome)),
        files: <_>::default(),
    };
    let told = manifest.expected.as_ref().map(ExpectedResult::describe);
    if let Some(ran) = ran {
        if args.with_console {
            kept.console = Some((ran.console.join("\n") + "\n").into_bytes());
        }
        kept.outputs = Some([ran.stdout, ran.stderr]);
    }
    write(manifest, &kept, compression(&args.output), &mut output)
        .with_context(|| format!("failed to write {}", output.name()))?;
    let bytes = output.file().stream_position().unwrap_or_default();
    output.finish()?;
    if !args.quiet {
        let told = told.map_or_else(|| "not run".to_owned(), |told| format!("recorded: {told}"));
        let tenths = (bytes * 10) >> 20;
        let size = format!("{}.{} MiB", tenths / 10, tenths % 10);
        output::note(&format!("wrote {}, {size}; {told}", args.output.display()));
    }
    Ok(0)
}

/// Returns true if the machine starts with SeaBIOS, which every QEMU installation contains.
fn is_bios(machine: &Machine) -> anyhow::Result<bool> {
    match machine.firmware {
        Firmware::Direct => Ok(false),
        Firmware::Bios(None) => Ok(true),
        Firmware::Bios(Some(_)) | Firmware::Uefi(_) => {
            bail!("cannot bundle a run with firmware of the host: only --firmware none and bios are portable")
        }
    }
}

/// Runs the command to record the expected result.
fn once(run: &RunArgs, prepared: Prepared, reporter: &mut Reporter) -> anyhow::Result<Output> {
    let ran: Output = prepared.run(run.recorded(Vec::new(), ROOM), reporter).map_err(output::advised)?.into();
    if let Outcome::CouldNotTest { why } = &ran.outcome {
        bail!("failed to run the command: {why}");
    }
    if ran.cut {
        output::note(&format!("recorded output truncated to {} MiB", ROOM >> 20));
    }
    Ok(ran)
}

/// Returns the expected result for the manifest.
fn expected(outcome: &Outcome) -> ExpectedResult {
    ExpectedResult { outcome: outcome.name().to_owned(), exit_code: outcome.exit_code(), message: outcome.sentence() }
}

/// Returns the command for the manifest.
fn command(what: &RunWhat) -> Vec<String> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    match what {
        RunWhat::Command(words) => words.iter().map(text).collect(),
        RunWhat::Line(line) => vec!["sh".to_owned(), "-c".to_owned(), text(line)],
        RunWhat::Shell => vec!["what the initrd says".to_owned()],
    }
}

/// Converts a machine argument to UTF-8.
fn text(word: &OsStr) -> anyhow::Result<String> {
    word.to_str().map(str::to_owned).with_context(|| format!("cannot bundle argument {}: not UTF-8", word.display()))
}

fn machine_note(
    machine: &Machine,
    spec: &RunSpec,
    bios: bool,
    limit: Option<std::time::Duration>,
) -> anyhow::Result<MachineNote> {
    let texts = |words: &[OsString]| words.iter().map(|word| text(word)).collect::<anyhow::Result<Vec<_>>>();
    Ok(MachineNote {
        machine: text(&machine.machine)?,
        accel: machine.accelerator.name().to_owned(),
        cpu: text(&machine.cpu)?,
        smp: machine.smp.as_deref().map(text).transpose()?,
        memory_mib: machine.memory_mib,
        bios,
        append: texts(&spec.boot.append)?,
        fast_boot: spec.boot.fast_boot,
        tty: spec.boot.tty,
        channel: machine.transport.name().to_owned(),
        qemu_args: texts(&machine.extra)?,
        timeout_ms: limit.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// Describes QEMU, with the command line to start it by hand.
fn qemu_note(machine: &Machine) -> anyhow::Result<QemuNote> {
    let payload = Payload::Linux { kernel: "kernel".into(), initrd: JOINED.into(), warm: None };
    let mut line = argv(machine, &Wires { payload, flash: None, ends: Ends::Stdio });
    let program = machine.qemu.path.file_name().unwrap_or_default().to_owned();
    if let Some(first) = line.first_mut() {
        first.clone_from(&program);
    }
    let line = line.iter().map(|word| text(word)).collect::<anyhow::Result<_>>()?;
    Ok(QemuNote { program: text(&program)?, version: machine.qemu.facts.version.clone(), line })
}

/// Returns the file name of the kernel's source, without the directories of this host.
fn origin(kernel: &str) -> String {
    let path = std::path::absolute(kernel).unwrap_or_else(|_| kernel.into());
    Path::new(&path).file_name().map_or_else(|| kernel.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn is_elf(kernel: &File) -> anyhow::Result<bool> {
    let mut magic = [0; 4];
    kernel.read_exact_at(&mut magic, 0).context("failed to read the kernel")?;
    Ok(&magic == b"\x7fELF")
}

/// Returns the image type of a bundle's kernel.
fn kind(note: &KernelNote) -> ImageKind {
    if note.is_elf { ImageKind::VmlinuxPvh } else { ImageKind::BzImage }
}

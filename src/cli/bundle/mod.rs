//! `bootling bundle`: records a run in one file, for others to repeat.

pub(crate) mod list;
pub(crate) mod repeat;

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;

use super::output;
use super::reporter::Reporter;
use super::run::RunArgs;
use super::run_options::RunOptions;
use bootling::format::compression::Compression;
use bootling::guest::verdict::Outcome;
use bootling::guest::{self, Prepared, RunSpec, Warm, limits};
use bootling::output::Output;
use bootling::regress::bundle::{Bundle, is_bundle};
use bootling::root::spec::RunWhat;

/// Maximum recorded size of each output, in bytes.
const ROOM: usize = 1 << 20;

/// Record a run in one file, with kernel, initrd, QEMU command line and result, for others to repeat
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
pub(crate) struct BundleArgs {
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
pub(crate) fn run(args: &BundleArgs) -> anyhow::Result<u8> {
    let run = args.options.read()?;
    let mut output = Output::create(&args.output)?;
    let mut reporter = Reporter::new(args.quiet);
    let spec = RunSpec { warm: Warm::No, ..run.spec(false)? };
    let is_shell = spec.initrd.run == RunWhat::Shell && spec.ready_made.is_none();
    ensure!(!is_shell, "cannot bundle a shell: give COMMAND or --run LINE");
    let prepared = guest::prepare(&spec, &mut reporter).map_err(|failed| output::advised(failed.error))?;
    let timeout = run.limits().total.or(limits::total(&prepared.machine));
    let mut bundle = Bundle::new(&spec, &prepared, timeout)?;
    if !args.no_run {
        bundle.add_result(&record_once(&run, prepared, &mut reporter)?, args.with_console)?;
    }
    let failed = || format!("failed to write {}", args.output.display());
    let bytes = bundle.write(compression(&args.output), output.file()).with_context(failed)?;
    output.finish()?;
    if !args.quiet {
        let result = bundle.manifest.expected.map(|expected| format!("recorded: {}", expected.describe()));
        let result = result.unwrap_or_else(|| "not run".to_owned());
        let tenths = (bytes * 10) >> 20;
        output::note(&format!("wrote {}, {}.{} MiB; {result}", args.output.display(), tenths / 10, tenths % 10));
    }
    Ok(0)
}

/// Opens a file if it is a bundle. Files that are missing or unreadable are reported by the caller.
fn open(path: &Path) -> anyhow::Result<Option<File>> {
    let Some(Ok(mut file)) = path.is_file().then(|| File::open(path)) else { return Ok(None) };
    let found = is_bundle(&mut file).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(found.then_some(file))
}

/// Returns the compression for a file name: zstd, unless the extension selects another.
fn compression(path: &Path) -> Compression {
    match path.extension().and_then(OsStr::to_str) {
        Some("tar") => Compression::None,
        Some("tgz") => Compression::Gzip,
        extension => extension.and_then(Compression::from_extension).unwrap_or(Compression::Zstd),
    }
}

/// Runs the command to record the expected result.
fn record_once(run: &RunArgs, prepared: Prepared, reporter: &mut Reporter) -> anyhow::Result<guest::Output> {
    let ran: guest::Output = prepared.run(run.recorded(Vec::new(), ROOM), reporter).map_err(output::advised)?.into();
    if let Outcome::CouldNotTest { why } = &ran.outcome {
        bail!("failed to run the command: {why}");
    }
    if ran.cut {
        output::note(&format!("recorded output truncated to {} MiB", ROOM >> 20));
    }
    Ok(ran)
}

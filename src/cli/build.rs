//! `bootling build`: writes an initrd to a file, lists its contents, or explains why an entry is in it.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::options::InitrdArgs;
use super::output;
use super::progress::Progress;
use super::reporter::Reporter;
use bootling::VmError;
use bootling::cache::{Cache, CacheError};
use bootling::format::compression::Compression;
use bootling::guest::image::plan;
use bootling::guest::packages::root_directory;
use bootling::initrd::archive;
use bootling::initrd::{check::Purpose, explain};
use bootling::output::file::Output;
use bootling::root::directory::Root;
use bootling::root::kernel::{self, Kernel, KernelError};
use bootling::{
    format::archive_path::ArchivePath,
    root::request::KernelRef,
    root::spec::{InitrdSpec, RunWhat},
};

/// Build a tiny initrd from busybox, programs of the host with their libraries, kernel modules and files
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling build -o tiny-initrd.img                        busybox with a shell on the console
  bootling build -o tiny-initrd.img --run 'cat /proc/cpuinfo'
  bootling build -o hw.img lstopo-no-graphics hwloc-info   programs with their libraries
  bootling build -o wd.img --kernel 6.1.0-56-amd64 --kmod iTCO_wdt --kmod 'loop max_loop=4'
  bootling build -o conf.img --copy /etc/os-release --copy ./tests=/opt/tests
  bootling build -o small.img --compress zstd
  bootling build --dry-run lstopo                          list the contents and their sources
  bootling build --why /lib/x86_64-linux-gnu/libc.so.6 lstopo

All files have the time in SOURCE_DATE_EPOCH, or 1970 if it is unset. The same inputs produce the same bytes.
Exit status: 0; 2 for usage errors; 125 if the image cannot be built. A failed build leaves no file.
")]
pub(crate) struct BuildArgs {
    /// Programs to include, by path or by name in PATH.
    #[arg(value_name = "BINARY")]
    binaries: Vec<OsString>,
    #[command(flatten)]
    initrd: InitrdArgs,
    /// Write the image to FILE ('-' for standard output). An incomplete FILE is never left behind.
    #[arg(long, short, value_name = "FILE", required_unless_present_any = ["dry_run", "why"], help_heading = "Output")]
    output: Option<PathBuf>,
    /// Compression. The kernel must have the same one built in (such as `CONFIG_RD_ZSTD`).
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = compression(Compression::writable()), help_heading = "Output")]
    compress: Compression,
    /// List the contents of the image, one entry per line, without writing it.
    #[arg(long, conflicts_with_all = ["output", "why"], help_heading = "Output")]
    dry_run: bool,
    /// Print the chain of entries that require PATH in the image, without writing it.
    #[arg(long, value_name = "PATH", conflicts_with = "output", help_heading = "Output")]
    why: Option<PathBuf>,
    /// Print notes, size, number of entries and time.
    #[arg(long, short, help_heading = "Output")]
    verbose: bool,
}

/// Parser for an option that selects one of `formats`.
pub(crate) fn compression(formats: impl Iterator<Item = Compression>) -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(formats.map(|format| PossibleValue::new(format.name()).help(format.properties().summary)))
        .try_map(|name| Compression::ALL.into_iter().find(|format| format.name() == name).ok_or("unknown compression"))
}

/// A requested image.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// Contents.
    pub spec: InitrdSpec,
    /// Kernel for the image, if known; required for modules.
    pub kernel: Option<KernelRef>,
    /// Number of block devices that pid 1 waits for.
    pub block_devices: Option<u32>,
    /// Compression.
    pub compression: Compression,
    /// Action.
    pub action: Action<'a>,
    /// True to print notes and statistics.
    pub verbose: bool,
    /// True to also list the contents when writing.
    pub list: bool,
    /// Start of bootling, for the elapsed time.
    pub start: Instant,
}

/// Action on an image.
#[derive(Debug)]
pub(crate) enum Action<'a> {
    /// Write it to this file.
    Write(&'a Path),
    /// List its contents.
    List,
    /// Explain why it contains this entry.
    Why(&'a Path),
}

/// Runs the verb.
pub(crate) fn run(args: &BuildArgs, start: Instant) -> anyhow::Result<u8> {
    let what = args.initrd.run.clone().map_or(RunWhat::Shell, RunWhat::Line);
    let action = match (&args.why, &args.output) {
        (Some(path), _) => Action::Why(path),
        (None, Some(path)) => Action::Write(path),
        (None, None) => Action::List,
    };
    make(&Request {
        spec: args.initrd.spec(&args.binaries, what)?,
        kernel: args.initrd.kernel(),
        block_devices: None,
        compression: args.compress,
        action,
        verbose: args.verbose,
        list: false,
        start,
    })
}

/// Builds the requested image.
pub(crate) fn make(request: &Request<'_>) -> anyhow::Result<u8> {
    // The plan refers to files that are removed with the cache, if it is temporary.
    let ((plan, notes), _cache) = healing(|cache| {
        let directory = root_directory(&request.spec.root, None, &mut Reporter::new(false)).map_err(output::advised)?;
        let root = Root::new(directory)?;
        let kernel = find_kernel(&root, request, cache)?;
        if let Some(kernel) = &kernel {
            check_compression(kernel, request.compression, "--compress")?;
        }
        Ok(plan(&root, kernel.as_ref(), &request.spec, request.block_devices)?)
    })?;
    if request.verbose {
        for note in &notes {
            output::note(note);
        }
    }
    let mut out = output::stdout();
    match request.action {
        Action::Why(path) => explain::why(&plan, &ArchivePath::new(path), &mut out)?,
        Action::List => explain::list(&plan.check(Purpose::Image)?, &mut out)?,
        Action::Write(path) => {
            let checked = plan.check(Purpose::Image)?;
            if request.list {
                explain::list(&checked, &mut out)?;
            }
            let size = archive::image(&checked, Output::create(path)?, request.compression, mtime()?)?;
            if request.verbose {
                let (name, entries) = (path.display(), checked.members().count());
                let time = request.start.elapsed().as_secs_f64() * 1000.0;
                output::note(&format!("{name}: {size} bytes, {entries} entries, {time:.1} ms"));
            }
        }
    }
    out.flush().context("failed to write to standard output")?;
    Ok(0)
}

/// Makes an attempt, and a second one if the first fails because of a damaged file in the cache: its entry has then
/// been discarded, and is made again. The result may refer to files in the cache, which it must not outlive.
pub(crate) fn healing<T>(
    mut attempt: impl FnMut(OpenCache<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<(T, Option<Cache>)> {
    let opened = OnceCell::new();
    let open = || match opened.get() {
        Some(cache) => Ok(Cache::clone(cache)),
        None => Cache::open().map(|cache| opened.get_or_init(|| cache).clone()),
    };
    let error = match attempt(&open) {
        Err(error) => error,
        Ok(done) => return Ok((done, opened.get().cloned())),
    };
    let kernels = error.downcast_ref::<KernelError>().and_then(KernelError::file);
    let file = kernels.or_else(|| error.downcast_ref::<VmError>().and_then(VmError::file));
    match file.filter(|file| opened.get().is_some_and(|cache| cache.discard_holder(file))) {
        Some(file) => {
            output::note(&format!("making an entry of the cache again: {} is damaged", file.display()));
            Ok((attempt(&open)?, opened.get().cloned()))
        }
        None => Err(error),
    }
}

/// Opens the cache when it is needed.
pub(crate) type OpenCache<'a> = &'a dyn Fn() -> Result<Cache, CacheError>;

/// Returns the requested kernel, or the newest one if modules are requested; otherwise `None`.
fn find_kernel(root: &Root, request: &Request<'_>, cache: OpenCache<'_>) -> anyhow::Result<Option<Kernel>> {
    let wanted = match &request.kernel {
        Some(kernel) => kernel,
        None if request.spec.modules.is_empty() => return Ok(None),
        None => &KernelRef::Newest,
    };
    let mut progress = Progress::new(false);
    Ok(Some(kernel::find_to_build(root, wanted, None, &cache()?, &mut |doing| progress.show(doing))?))
}

/// Rejects compressions that the kernel cannot unpack: it would treat the image as a disk and find no root file system
/// (`init/do_mounts.c`). `option` selects the compression.
pub(crate) fn check_compression(kernel: &Kernel, compression: Compression, option: &str) -> anyhow::Result<()> {
    let (Some(setting), Some(config)) = (compression.properties().config, &kernel.config) else { return Ok(()) };
    if config.supports_initrd(compression) {
        return Ok(());
    }
    let supported = Compression::writable().filter(|other| config.supports_initrd(*other));
    let others: Vec<&str> = supported.map(Compression::name).collect();
    let error = anyhow::anyhow!(
        "invalid compression {}: kernel {} does not support it: CONFIG_{setting} is not set",
        compression.name(),
        kernel.origin
    );
    Err(output::advise(error, format!("this kernel supports {option} {}", others.join(", "))))
}

/// Returns `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>), or 0.
pub(crate) fn mtime() -> anyhow::Result<u32> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty()) else { return Ok(0) };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    seconds.with_context(|| format!("invalid SOURCE_DATE_EPOCH {}: not a 32-bit number", value.display()))
}

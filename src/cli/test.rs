//! `bootling test`: runs a manifest's tests with each kernel on each machine and writes reports.

mod baseline;
mod cell_text;
mod emit;
mod imported;
mod list;
mod merge;
mod options;
mod outputs;
mod progress;
mod report_options;
mod signals;

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use self::baseline::Baselines;
pub(crate) use self::options::TestArgs;
use self::outputs::ReportFiles;
use self::progress::Progress;
use self::signals::SignalWatcher;
use super::output;
use super::reporter::Reporter;
use bootling::cache::Cache;
use bootling::guest::verdict::code;
use bootling::suite::lock::{self, LockMode};
use bootling::suite::manifest::{KernelSpec, Origin, STARTER, TestSpec};
use bootling::suite::plan::Plan;

use bootling::suite::run::{self, EventChannel, Options};
use bootling::suite::shard;
use bootling::suite::times::CellDurations;

/// Default manifest file name.
const MANIFEST: &str = "bootling.toml";

/// Runs the verb.
pub(crate) fn run(args: &TestArgs) -> anyhow::Result<u8> {
    let (manifest, id_filters) = manifest(&args.positional);
    if args.init {
        return init(args, &manifest);
    }
    if let Some(system) = args.reports.emit {
        return emit::run(system, args.reports.shards, &default_suite_name(&manifest));
    }
    if !args.reports.merge.is_empty() {
        return merge::run(args, &manifest, id_filters);
    }
    let mut plan = plan(args, &manifest, id_filters)?;
    if args.list {
        return list::write(&plan, args.json).map(|()| 0);
    }
    // Detect an unwritable report before the tests, not after an hour of them.
    let report_files = ReportFiles::open(args)?;
    let baselines = Baselines::open(args)?;
    let channel = EventChannel::default();
    let signals = SignalWatcher::start(channel.stop_handle())?;
    let cache =
        Cache::open().map_err(|error| output::advise(error, "set BOOTLING_CACHE_DIR to a directory that you own"))?;
    lock(args, &manifest, &mut plan, &cache)?;
    let mut times = CellDurations::load(&cache, &manifest);
    let options = Options {
        jobs: args.execution.jobs,
        memory_mib: args.execution.memory_budget,
        fail_fast: args.execution.fail_fast,
        times: times.clone(),
        interruptible: true,
        cache: None,
        suite: default_suite_name(&manifest),
        command_line: repeat_command(args, &manifest),
        known: baselines.known().cloned(),
        run_id: shard::run_from_env(&|name| std::env::var_os(name)),
    };
    let mut progress = Progress::new(args, &plan);
    let report = run::run(plan.clone(), options, &channel, &mut |event| progress.handle(event));
    progress.finish(&report);
    let comparison = baselines.compare(&report);
    let written = report_files.write(&report, comparison.as_ref());
    times.add(&report.cells);
    if let Err(error) = times.save(&cache, &manifest) {
        output::note(&format!("failed to save the times of this run: {error}"));
    }
    written?;
    let exit_code = baselines.finish(&report)?;
    Ok(signals.signal().map_or(exit_code, |signal| code::SIGNAL.saturating_add(signal)))
}

/// Splits the arguments into the manifest and the rest. The first argument names the manifest if it ends in `.toml` or
/// is a directory that contains a `bootling.toml`.
fn manifest(words: &[String]) -> (PathBuf, &[String]) {
    let Some((first, rest)) = words.split_first() else { return (MANIFEST.into(), words) };
    let path = Path::new(first);
    if path.extension().is_some_and(|extension| extension == "toml") {
        return (path.to_owned(), rest);
    }
    let inside = path.join(MANIFEST);
    if inside.is_file() { (inside, rest) } else { (MANIFEST.into(), words) }
}

/// Writes the starter manifest, or that of a test suite.
fn init(args: &TestArgs, manifest: &Path) -> anyhow::Result<u8> {
    let kernels = args.selection.typed_kernels()?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let text =
        imported::tests(args, imported::head(args), Origin { file: "bootling.toml", folder, kernels: &kernels })?;
    let writing = || format!("failed to write {}", manifest.display());
    let file = fs::File::options().write(true).create_new(true).open(manifest);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{}: file already exists", writing()),
        file => file.with_context(writing)?,
    };
    file.write_all(
        text.map_or_else(|| STARTER.to_owned(), |tests| imported::head(args).to_owned() + &tests).as_bytes(),
    )
    .with_context(writing)?;
    output::note(&format!("wrote {}; run it with `bootling test`", manifest.display()));
    Ok(0)
}

/// Reads the manifest and plans the selected cells.
fn plan(args: &TestArgs, manifest: &Path, id_filters: &[String]) -> anyhow::Result<Plan> {
    let reading = || format!("failed to read {}", manifest.display());
    // A manifest that was not named does not mix its tests with the suite's.
    let is_used = !imported::is_requested(args) || is_named(args);
    let text = match if is_used { fs::read_to_string(manifest) } else { Ok(imported::head(args).to_owned()) } {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let error = anyhow::Error::from(error).context(reading());
            return Err(output::advise(error, "`bootling test --init` writes a starter manifest"));
        }
        text => text.with_context(reading)?,
    };
    let kernels: Vec<KernelSpec> = args.selection.typed_kernels()?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let file = manifest.display().to_string();
    let origin = Origin { file: &file, folder, kernels: &kernels };
    let imported = imported::tests(args, &text, origin)?;
    let text = text + imported.as_deref().unwrap_or_default();
    let mut spec = TestSpec::parse(&text, origin).map_err(|error| anyhow::anyhow!("{}\n{error}", reading()))?;
    apply_environment(&mut spec.kernels);
    args.execution.overrides().apply(&mut spec);
    let mut filter = args.selection.filter(id_filters);
    if args.kselftest.is_some() {
        // Names contain no slashes: net.forwarding:TEST.
        for name in filter.tests.iter_mut().chain(&mut filter.skip_tests) {
            *name = name.replace('/', ".");
        }
    }
    Ok(Plan::new(spec, &filter, args.selection.shard()?)?)
}

/// Pins the kernels that are packages to fetch, with the lock beside the manifest.
fn lock(args: &TestArgs, manifest: &Path, plan: &mut Plan, cache: &Cache) -> anyhow::Result<()> {
    let mode = match (args.update_lock, args.locked) {
        (true, _) => LockMode::Update,
        (false, true) => LockMode::Locked,
        (false, false) => LockMode::Extend,
    };
    let mut reporter = Reporter::new(args.quiet);
    let applied = lock::apply(plan, &lock::path(manifest), mode, cache, &mut reporter);
    applied.map_err(output::advised)
}

/// Applies `BOOTLING_KERNEL`, as in `bootling run`, if the manifest names no kernel.
fn apply_environment(kernels: &mut [KernelSpec]) {
    if let [only] = kernels
        && only.kernel.is_none()
        && let Some(kernel) = std::env::var_os("BOOTLING_KERNEL").and_then(|kernel| kernel.into_string().ok())
    {
        (only.kernel, only.is_typed) = (Some(kernel), true);
    }
}

/// Returns true if the first argument names the manifest.
fn is_named(args: &TestArgs) -> bool {
    manifest(&args.positional).1.len() < args.positional.len()
}

/// Suite name if the manifest has no `name`: its directory's name.
fn default_suite_name(manifest: &Path) -> String {
    let absolute = std::path::absolute(manifest).ok();
    let directory = absolute.as_deref().and_then(Path::parent).and_then(Path::file_name);
    directory.map_or_else(|| "tests".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Command line that repeats the run, without the selection of cells.
fn repeat_command(args: &TestArgs, manifest: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["bootling".into(), "test".into()];
    if manifest != Path::new(MANIFEST) {
        words.push(manifest.into());
    }
    words.extend(args.kunit.then(|| "--kunit".into()));
    words.extend(args.kselftest.iter().flat_map(|tree| ["--kselftest".into(), tree.into()]));
    words.extend(args.selection.repeat_args());
    words.extend(args.execution.repeat_args());
    words
}

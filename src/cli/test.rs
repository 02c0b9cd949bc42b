//! `bootling test`: runs a manifest's tests with each kernel on each machine and writes reports.

mod baseline;
mod cell_text;
mod emit;
mod list;
mod merge;
mod options;
mod outputs;
mod progress;
mod signals;

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

pub use self::options::TestArgs;
use self::outputs::Outputs;
use self::progress::Progress;
use self::signals::Endings;
use super::output;
use bootling::cache::Cache;
use bootling::guest::verdict::code;
use bootling::suite::manifest::{KernelSpec, Origin, STARTER, TestSpec};
use bootling::suite::plan::Plan;

use bootling::suite::run::{self, Mailbox, Options};
use bootling::suite::shard;
use bootling::suite::times::Times;

/// Default manifest file name.
const MANIFEST: &str = "bootling.toml";

/// Runs the verb.
pub fn run(args: &TestArgs) -> anyhow::Result<u8> {
    let (manifest, parts) = manifest(&args.words);
    if args.init {
        return init(&manifest);
    }
    if let Some(system) = args.reports.emit {
        return emit::run(system.system(), args.reports.shards, &suite(&manifest));
    }
    if !args.reports.merge.is_empty() {
        return merge::run(args, &manifest, parts);
    }
    let plan = plan(args, &manifest, parts)?;
    if args.list {
        return list::write(&plan, args.json).map(|()| 0);
    }
    // Find out before an hour of tests, not after it, that a report cannot be written.
    let outputs = Outputs::open(args)?;
    let earlier = args.reports.baseline.as_deref().map(baseline::read).transpose()?;
    let mailbox = Mailbox::default();
    let endings = Endings::watch(mailbox.stopper())?;
    let cache =
        Cache::open().map_err(|error| output::advise(error, "set BOOTLING_CACHE_DIR to a directory that you own"))?;
    let mut times = Times::load(&cache, &manifest);
    let options = Options {
        jobs: args.how.jobs,
        memory_mib: args.how.memory_budget,
        fail_fast: args.how.fail_fast,
        times: times.clone(),
        cache: None,
        suite: suite(&manifest),
        words: words(args, &manifest),
        run: shard::run_from_env(&|name| std::env::var_os(name)),
    };
    let mut progress = Progress::new(args, &plan);
    let report = run::run(plan.clone(), options, &mailbox, &mut |happened| progress.tell(&happened));
    progress.end(&report);
    let comparison = earlier.map(|earlier| baseline::compare(&earlier, &report));
    let written = outputs.write(&report, comparison.as_ref());
    times.add(&report.cells);
    if let Err(error) = times.keep(&cache, &manifest) {
        output::note(&format!("failed to save the times of this run: {error}"));
    }
    written?;
    Ok(endings.signal().map_or_else(|| report.exit_code(), |signal| code::SIGNAL.saturating_add(signal)))
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

/// Writes the starter manifest.
fn init(manifest: &Path) -> anyhow::Result<u8> {
    let writing = || format!("failed to write {}", manifest.display());
    let file = fs::File::options().write(true).create_new(true).open(manifest);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{}: file already exists", writing()),
        file => file.with_context(writing)?,
    };
    file.write_all(STARTER.as_bytes()).with_context(writing)?;
    output::note(&format!("wrote {}; run it with `bootling test`", manifest.display()));
    Ok(0)
}

/// Reads the manifest and plans the selected cells.
fn plan(args: &TestArgs, manifest: &Path, parts: &[String]) -> anyhow::Result<Plan> {
    let reading = || format!("failed to read {}", manifest.display());
    let text = match fs::read_to_string(manifest) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let error = anyhow::Error::from(error).context(reading());
            return Err(output::advise(error, "`bootling test --init` writes a starter manifest"));
        }
        text => text.with_context(reading)?,
    };
    let kernels: Vec<KernelSpec> = args.choose.typed_kernels()?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let file = manifest.display().to_string();
    let mut spec = TestSpec::parse(&text, Origin { file: &file, folder, kernels: &kernels })
        .map_err(|mistakes| anyhow::anyhow!("{}\n{mistakes}", reading()))?;
    // BOOTLING_KERNEL applies as in `bootling run` if the manifest names no kernel.
    if let [only] = &mut spec.kernels[..]
        && only.kernel.is_none()
        && let Some(kernel) = std::env::var_os("BOOTLING_KERNEL").and_then(|kernel| kernel.into_string().ok())
    {
        (only.kernel, only.is_typed) = (Some(kernel), true);
    }
    args.how.overrides().apply(&mut spec);
    Ok(Plan::new(spec, &args.choose.filter(parts), args.choose.part()?)?)
}

/// Suite name if the manifest has no `name`: its directory's name.
fn suite(manifest: &Path) -> String {
    let absolute = std::path::absolute(manifest).ok();
    let directory = absolute.as_deref().and_then(Path::parent).and_then(Path::file_name);
    directory.map_or_else(|| "tests".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Command line that repeats the run, without the selection of cells.
fn words(args: &TestArgs, manifest: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["bootling".into(), "test".into()];
    if manifest != Path::new(MANIFEST) {
        words.push(manifest.into());
    }
    words.extend(args.choose.repeated());
    words.extend(args.how.repeated());
    words
}

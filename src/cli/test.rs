//! `bootling test`: the tests of a manifest with each of its kernels on each of its machines, and reports of what came of it.

mod earlier;
mod emit;
mod endings;
mod list;
mod merge;
mod options;
mod outputs;
mod progress;
mod show;

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use self::endings::Endings;
pub use self::options::TestArgs;
use self::outputs::Outputs;
use self::progress::Progress;
use super::output;
use bootling::cache::Cache;
use bootling::guest::verdict::code;
use bootling::suite::manifest::{KernelSpec, Origin, STARTER, TestSpec};
use bootling::suite::plan::Plan;
use bootling::suite::report::{Report, Status};
use bootling::suite::run::{self, Mailbox, Options};
use bootling::suite::shard;
use bootling::suite::times::Times;

/// The manifest where none is named.
const MANIFEST: &str = "bootling.toml";
/// What it exits with where a cell did not pass.
const FAILED: u8 = 1;

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
    // What cannot be written is better known before an hour of tests than after it.
    let outputs = Outputs::open(args)?;
    let earlier = args.reports.baseline.as_deref().map(earlier::read).transpose()?;
    let mailbox = Mailbox::default();
    let endings = Endings::watch(mailbox.stopper())?;
    let cache =
        Cache::open().map_err(|error| output::advise(error, "name a directory of yours in BOOTLING_CACHE_DIR"))?;
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
    let comparison = earlier.map(|earlier| earlier::compare(&earlier, &report));
    let written = outputs.write(&report, comparison.as_ref());
    times.add(&report.cells);
    if let Err(error) = times.keep(&cache, &manifest) {
        output::note(&format!("keeping the times of this run: {error}"));
    }
    written?;
    Ok(endings.signal().map_or_else(|| exit_code(&report), |signal| code::SIGNAL.saturating_add(signal)))
}

/// 0 only where the report is good; 125 where none of its cells could be tested.
fn exit_code(report: &Report) -> u8 {
    let all = |wanted: fn(Status) -> bool| report.cells.iter().all(|cell| wanted(cell.status));
    if report.is_good() {
        0
    } else if all(|status| matches!(status, Status::Error | Status::Skipped)) {
        code::COULD_NOT_TEST
    } else {
        FAILED
    }
}

/// The manifest, and what else was typed: a file's name ends in `.toml`, or it is a directory with a `bootling.toml`.
fn manifest(words: &[String]) -> (PathBuf, &[String]) {
    let Some((first, rest)) = words.split_first() else { return (MANIFEST.into(), words) };
    let path = Path::new(first);
    if path.extension().is_some_and(|extension| extension == "toml") {
        return (path.to_owned(), rest);
    }
    let inside = path.join(MANIFEST);
    if inside.is_file() { (inside, rest) } else { (MANIFEST.into(), words) }
}

/// Writes the starter.
fn init(manifest: &Path) -> anyhow::Result<u8> {
    let writing = || format!("writing {}", manifest.display());
    let file = fs::File::options().write(true).create_new(true).open(manifest);
    let mut file = match file {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{}: it is there already", writing()),
        file => file.with_context(writing)?,
    };
    file.write_all(STARTER.as_bytes()).with_context(writing)?;
    output::note(&format!("wrote {}; `bootling test` runs it", manifest.display()));
    Ok(0)
}

/// Reads the manifest, and plans what is wanted of it.
fn plan(args: &TestArgs, manifest: &Path, parts: &[String]) -> anyhow::Result<Plan> {
    let reading = || format!("reading {}", manifest.display());
    let text = match fs::read_to_string(manifest) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let error = anyhow::Error::from(error).context(reading());
            return Err(output::advise(error, "`bootling test --init` writes one to begin with"));
        }
        text => text.with_context(reading)?,
    };
    let kernels: Vec<KernelSpec> = args.choose.typed_kernels()?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let file = manifest.display().to_string();
    let mut spec = TestSpec::parse(&text, Origin { file: &file, folder, kernels: &kernels })
        .map_err(|mistakes| anyhow::anyhow!("{}\n{mistakes}", reading()))?;
    // As for `bootling run`, where the manifest has none.
    if let [only] = &mut spec.kernels[..]
        && only.kernel.is_none()
        && let Some(kernel) = std::env::var_os("BOOTLING_KERNEL").and_then(|kernel| kernel.into_string().ok())
    {
        (only.kernel, only.is_typed) = (Some(kernel), true);
    }
    args.how.overrides().apply(&mut spec);
    Ok(Plan::new(spec, &args.choose.filter(parts), args.choose.part()?)?)
}

/// What the whole is called where the manifest does not say: its directory.
fn suite(manifest: &Path) -> String {
    let absolute = std::path::absolute(manifest).ok();
    let directory = absolute.as_deref().and_then(Path::parent).and_then(Path::file_name);
    directory.map_or_else(|| "tests".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What repeats a run, up to which cells.
fn words(args: &TestArgs, manifest: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["bootling".into(), "test".into()];
    if manifest != Path::new(MANIFEST) {
        words.push(manifest.into());
    }
    words.extend(args.choose.repeated());
    words.extend(args.how.repeated());
    words
}

#[cfg(test)]
mod tests {
    use super::{FAILED, exit_code};
    use bootling::guest::verdict::code::COULD_NOT_TEST;
    use bootling::suite::report::sample::sample;
    use bootling::suite::report::{Report, Shard, Status};

    #[test]
    fn what_tested_nothing_is_no_success_and_a_shard_may_leave_it_to_the_others() {
        use Status::{Error, Failed, Flaky, NotRun, Passed, Skipped};
        let shard = Some(Shard { index: 1, total: 2 });
        // The cells, and the status of the whole and of a shard.
        let cases: [(&[Status], u8, u8); 9] = [
            (&[Passed, Flaky, Skipped], 0, 0),
            (&[Skipped, Skipped], COULD_NOT_TEST, 0),
            (&[], COULD_NOT_TEST, 0),
            (&[Skipped, Error], COULD_NOT_TEST, COULD_NOT_TEST),
            (&[Error], COULD_NOT_TEST, COULD_NOT_TEST),
            (&[Passed, Error], FAILED, FAILED),
            (&[Skipped, Failed], FAILED, FAILED),
            (&[Skipped, NotRun], FAILED, FAILED),
            (&[Passed, NotRun], FAILED, FAILED),
        ];
        for (statuses, whole, of_shard) in cases {
            let Report { header, cells } = sample();
            let cells = statuses.iter().map(|&status| {
                let cell = cells.iter().find(|cell| cell.status == status).expect("the sample has each");
                cell.clone()
            });
            let mut report = Report { header, cells: cells.collect() };
            assert_eq!(exit_code(&report), whole, "{statuses:?}");
            report.header.shard = shard;
            assert_eq!(exit_code(&report), of_shard, "a shard: {statuses:?}");
            assert_eq!(report.is_good(), of_shard == 0, "what the page says: {statuses:?}");
        }
    }
}

//! Command-line options of `bootling test`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum, value_parser};

use super::report_options::ReportArgs;
use crate::cli::boot_options::{AccelArg, limit};
use crate::cli::health::PolicyArg;
use bootling::format::amount;
use bootling::guest::TimeLimit;
use bootling::guest::health::Kind;
use bootling::suite::manifest::{BootWay, Isolate, KernelSpec, NAME_RULE, Overrides, is_name};
use bootling::suite::plan::Filter;
use bootling::suite::report::Shard;
use bootling::suite::shard::{self, ShardError};

/// Run a manifest's tests with each kernel on each machine, in parallel
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate option")]
pub(crate) struct TestArgs {
    /// The manifest: a .toml file, or a directory with a bootling.toml (default: ./bootling.toml), followed by parts of
    /// cell ids; only cells whose ids contain one of the parts are run
    #[arg(value_name = "MANIFEST|PART")]
    pub(super) positional: Vec<String>,
    /// Write a starter manifest and exit; with --kselftest or --kunit, a manifest of its tests
    #[arg(long)]
    pub(super) init: bool,
    /// Run the kernel's selftests: DIR is an installed tree (with kselftest-list.txt), or a kernel tree, whose selftests
    /// are then built and installed into the cache. The tests are named COLLECTION:TEST. A manifest, if named, provides
    /// kernels, machines and defaults
    #[arg(long, value_name = "DIR", conflicts_with = "emit")]
    pub(super) kselftest: Option<PathBuf>,
    /// Refuse to run if the lock (bootling.lock beside bootling.toml) lacks the package of a `debian:` kernel
    #[arg(long, conflicts_with = "update_lock")]
    pub(super) locked: bool,
    /// Replace the packages in the lock by the newest ones
    #[arg(long)]
    pub(super) update_lock: bool,
    /// Run the KUnit tests of the kernels: each module with KUnit suites is loaded in a guest, and each built-in suite runs
    /// in a boot of its own. The tests are named after the modules, or builtin:SUITE. A manifest, if named, provides
    /// kernels, machines and defaults
    #[arg(long, conflicts_with_all = ["emit", "kselftest"])]
    pub(super) kunit: bool,
    /// List the cells with their tags and exit
    #[arg(long)]
    pub(super) list: bool,
    /// With --list: print a JSON array
    #[arg(long, requires = "list")]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) execution: ExecutionArgs,
    #[command(flatten)]
    pub(super) reports: ReportArgs,
    /// Print only failures and the summary
    #[arg(long, short, help_heading = "Output", conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Print every result, on a terminal too, and the times of each cell
    #[arg(long, short, help_heading = "Output")]
    pub(super) verbose: bool,
}

/// Examples at the end of `-h` and `--help`.
macro_rules! examples {
    () => {
        "Examples:
  bootling test --init                      write a starter bootling.toml
  bootling test                             run all cells
  bootling test boots/ --kernel next        the cells whose ids contain `boots/`, with one kernel
  bootling test --tag smoke -j 4 --junit report.xml
  bootling test -K mine=../linux --repeat 20 --fail-fast
  bootling test --html report.html --baseline yesterday.jsonl
  bootling test --baseline known-failures.toml --update-baseline
  bootling test --kselftest ../linux -t timers: -t futex: --skip rtcpie -K ../linux
  bootling test --kunit -K ../linux
  bootling test --shard 2/4 --jsonl part2.jsonl
  bootling test --merge part*.jsonl --junit report.xml
  bootling test --emit slurm --shards 8 > tests.sbatch
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
A cell is one test with one kernel on one machine: TEST/KERNEL/MACHINE, followed by #N if it is repeated. Each cell has
its own guest, restored from a snapshot, unless its test requests otherwise. docs/testing.md describes the manifest.

Exit status:
  0      every cell passed, possibly after a retry, failed as the list of known failures states, or was
         skipped, and not all were skipped. A shard may skip all: --merge decides whether anything was tested
  1      some cells failed, could not be tested, were not run, or passed although they are known to fail
  125    nothing was tested: invalid manifest, no cell selected, no kernel, no QEMU; or every cell was
         skipped or could not be tested
  128+n  interrupted by signal n; reports are written and list the remaining cells as not run
"
);

/// Options that select cells.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cells")]
pub(crate) struct SelectionArgs {
    /// Only tests whose names contain NAME or match it as a pattern (`*`, `?`, `[...]`). Repeatable
    #[arg(long, short, value_name = "NAME")]
    test: Vec<String>,
    /// Exclude tests whose names contain NAME or match it as a pattern. Repeatable
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
    /// Only cells with at least one of these tags. Repeatable
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Exclude cells with this tag. Repeatable
    #[arg(long, value_name = "TAG")]
    skip_tag: Vec<String>,
    /// Only this kernel of the manifest. Repeatable
    #[arg(long, short, value_name = "NAME")]
    kernel: Vec<String>,
    /// Only this machine of the manifest. Repeatable
    #[arg(long, short = 'M', value_name = "NAME")]
    machine: Vec<String>,
    /// Only the cell with exactly this id. Repeatable
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Add a kernel, or replace the manifest's kernel NAME. KERNEL is anything that `run --kernel` accepts. Without
    /// NAME= it is named `given`, the next ones `given-2`, `given-3`, ...; then only the kernels of the command line
    /// are used. Repeatable
    #[arg(long, short = 'K', value_name = "[NAME=]KERNEL")]
    kernel_file: Vec<String>,
    /// Run only part INDEX (from 1) of TOTAL equal parts, to share the work between hosts. `auto` takes the part from
    /// the environment: a Slurm array, a parallel GitLab job, an indexed Kubernetes job, or `BOOTLING_SHARD`
    #[arg(long, value_name = "INDEX/TOTAL", value_parser = parse_shard)]
    pub(super) shard: Option<ShardArg>,
}

/// Options that control how cells run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runs")]
pub(crate) struct ExecutionArgs {
    /// Maximum number of concurrent guests (default: as many as the CPUs allow, counting each guest's virtual CPUs)
    #[arg(long, short, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000))]
    pub(super) jobs: Option<u32>,
    /// Memory for all guests together: MiB, or with suffix K, M, G (default: three quarters of the available memory,
    /// including control group limits). A booting guest counts with its full memory, a restored one with half of it
    #[arg(long, value_name = "SIZE", value_parser = amount::memory_mib)]
    pub(super) memory_budget: Option<u64>,
    /// Start no further cells after N cells have failed (1 if N is omitted)
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = parse_failures)]
    pub(super) fail_fast: Option<usize>,
    /// Retry failed cells up to N times. A cell that then passes is reported as flaky
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=10_000))]
    retries: Option<u32>,
    /// Run each cell N times
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000))]
    repeat: Option<u32>,
    /// Time limit for each test, such as 90, 90s, 5m
    #[arg(long, value_name = "TIME", value_parser = parse_limit)]
    timeout: Option<Duration>,
    /// Time limit without guest activity
    #[arg(long, value_name = "TIME", value_parser = parse_limit)]
    idle_timeout: Option<Duration>,
    /// Time for the hang report of a test that reaches a time limit; `none`: no hang report
    #[arg(long, value_name = "TIME", value_parser = limit)]
    hang_report: Option<TimeLimit>,
    /// Effect of an unhealthy kernel on a test
    #[arg(long, value_enum, value_name = "POLICY")]
    health: Option<PolicyArg>,
    /// End a test as failed as soon as the kernel reports this kind of finding, such as soft-lockup. May be repeated
    #[arg(long, value_name = "KIND")]
    fail_on: Vec<Kind>,
    /// Whether to restore guests from snapshots or to boot each one
    #[arg(long, value_name = "HOW", value_parser = choice(BOOT_WAYS))]
    boot: Option<BootWay>,
    /// Whether each cell has its own guest or cells share guests
    #[arg(long, value_name = "HOW", value_parser = choice(ISOLATES))]
    isolate: Option<Isolate>,
    /// Accelerator that runs guest code
    #[arg(long, value_enum, env = "BOOTLING_ACCEL")]
    accel: Option<AccelArg>,
    /// QEMU program: a path, or a name on PATH
    #[arg(long, value_name = "PATH", env = "BOOTLING_QEMU")]
    qemu: Option<PathBuf>,
}

/// `--shard`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShardArg {
    /// Taken from the environment.
    Auto,
    /// Given on the command line.
    Given(Shard),
}

/// Values of an option: name, help and value.
pub(super) type Choices<T> = [(&'static str, &'static str, T)];

/// Values of `--boot`.
const BOOT_WAYS: &Choices<BootWay> =
    &[("warm", "Restore from a snapshot if possible", BootWay::Warm), ("cold", "Boot every guest", BootWay::Cold)];

/// Values of `--isolate`.
const ISOLATES: &Choices<Isolate> =
    &[("vm", "One guest for each cell", Isolate::Vm), ("none", "Share guests between cells", Isolate::Nothing)];

/// Returns a parser of these values.
pub(super) fn choice<T: Copy + Send + Sync + 'static>(
    choices: &'static Choices<T>,
) -> impl TypedValueParser<Value = T> {
    let values = choices.iter().map(|(name, help, _)| PossibleValue::new(*name).help(*help));
    let find = |name: String| choices.iter().find(|choice| choice.0 == name).map(|choice| choice.2);
    PossibleValuesParser::new(values).try_map(move |name| find(name).ok_or("unknown value"))
}

impl SelectionArgs {
    /// Returns the selected shard.
    pub(super) fn shard(&self) -> anyhow::Result<Option<Shard>> {
        match self.shard {
            None => Ok(None),
            Some(ShardArg::Given(shard)) => Ok(Some(shard)),
            Some(ShardArg::Auto) => {
                let found = shard::from_env(&|name| std::env::var_os(name)).context("invalid --shard auto")?;
                // Running all cells on every host would look like a success.
                ensure!(found.is_some(), "invalid --shard auto: none of {} is set", shard::variables());
                Ok(found)
            }
        }
    }

    /// Returns the cell filter.
    pub(super) fn filter(&self, parts: &[String]) -> Filter {
        Filter {
            tests: self.test.clone(),
            skip_tests: self.skip.clone(),
            tags: self.tag.clone(),
            skip_tags: self.skip_tag.clone(),
            kernels: if self.kernel.is_empty() { self.only_kernels() } else { self.kernel.clone() },
            machines: self.machine.clone(),
            ids: parts.to_vec(),
            only: self.only.clone(),
        }
    }

    /// Returns the collections of selftests that the tests belong to, if all of them are named with their collections.
    pub(super) fn collections(&self) -> Vec<String> {
        let collection = |test: &String| {
            let (name, _) = test.split_once(':')?;
            (!name.contains(['*', '?', '['])).then(|| name.to_owned())
        };
        let mut names = self.test.iter().map(collection).collect::<Option<Vec<_>>>().unwrap_or_default();
        names.sort();
        names.dedup();
        names
    }

    /// Returns the kernels of --kernel-file.
    pub(super) fn typed_kernels(&self) -> anyhow::Result<Vec<KernelSpec>> {
        let mut kernels: Vec<KernelSpec> = Vec::new();
        for (typed, (name, kernel)) in self.kernel_file.iter().zip(self.named_kernels()) {
            ensure!(!kernel.is_empty(), "invalid --kernel-file {typed}: missing kernel");
            ensure!(is_name(&name), "invalid --kernel-file {typed}: invalid name {name:?}: {NAME_RULE}");
            let is_new = kernels.iter().all(|kernel| kernel.name != name);
            ensure!(is_new, "invalid --kernel-file {typed}: another one is named {name:?}");
            kernels.push(KernelSpec { name, kernel: Some(kernel.to_owned()), is_typed: true, ..KernelSpec::default() });
        }
        Ok(kernels)
    }

    /// Returns the kernels of --kernel-file with their names.
    fn named_kernels(&self) -> impl Iterator<Item = (String, &str)> {
        let mut unnamed = 0;
        self.kernel_file.iter().map(move |typed| match split_name(typed) {
            (Some(name), kernel) => (name.to_owned(), kernel),
            (None, kernel) => {
                unnamed += 1;
                (if unnamed == 1 { UNNAMED.to_owned() } else { format!("{UNNAMED}-{unnamed}") }, kernel)
            }
        })
    }

    /// Returns the names of the only kernels used, those of the command line, if one of them was given without NAME=.
    fn only_kernels(&self) -> Vec<String> {
        let has_unnamed = self.kernel_file.iter().any(|typed| split_name(typed).0.is_none());
        self.named_kernels().map(|(name, _)| name).filter(|_| has_unnamed).collect()
    }

    /// Returns the options that change what a cell consists of, not which cells run.
    pub(super) fn repeat_args(&self) -> impl Iterator<Item = OsString> {
        self.kernel_file.iter().flat_map(|typed| ["--kernel-file".into(), typed.into()])
    }
}

/// Name of the first kernel given without NAME=.
const UNNAMED: &str = "given";

/// Splits `[NAME=]KERNEL`.
fn split_name(typed: &str) -> (Option<&str>, &str) {
    match typed.split_once('=') {
        Some((name, kernel)) if !name.contains('/') => (Some(name), kernel),
        Some(_) | None => (None, typed),
    }
}

impl ExecutionArgs {
    /// Returns the values that override the manifest.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            accel: self.accel.map(AccelArg::accel),
            qemu: self.qemu.clone(),
            timeout: self.timeout,
            idle_timeout: self.idle_timeout,
            hang_report: self.hang_report,
            retries: self.retries,
            repeat: self.repeat,
            health: self.health.map(PolicyArg::policy),
            fail_on: self.fail_on.clone(),
            boot: self.boot,
            isolate: self.isolate,
        }
    }

    /// Returns the options that a command to repeat a cell needs.
    pub(super) fn repeat_args(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut push = |option: &str, value: Option<OsString>| {
            if let Some(value) = value {
                words.extend([option.into(), value]);
            }
        };
        let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| OsString::from(value.get_name()));
        let time = |limit: Option<Duration>| limit.map(|limit| format!("{}ms", limit.as_millis()).into());
        push("--repeat", self.repeat.map(|times| times.to_string().into()));
        push("--timeout", time(self.timeout));
        push("--idle-timeout", time(self.idle_timeout));
        push("--hang-report", self.hang_report.and_then(TimeLimit::word).map(Into::into));
        push("--health", name(self.health.and_then(|policy| policy.to_possible_value())));
        for kind in &self.fail_on {
            push("--fail-on", Some(kind.name().into()));
        }
        let boot = BOOT_WAYS.iter().find(|(_, _, boot)| Some(*boot) == self.boot);
        push("--boot", boot.map(|(name, ..)| (*name).into()));
        push("--accel", name(self.accel.and_then(|accel| accel.to_possible_value())));
        push("--qemu", self.qemu.clone().map(PathBuf::into_os_string));
        words
    }
}

/// Parses `2/4` or `auto`.
fn parse_shard(text: &str) -> Result<ShardArg, String> {
    if text == "auto" {
        return Ok(ShardArg::Auto);
    }
    text.parse().map(ShardArg::Given).map_err(|error: ShardError| error.to_string())
}

fn parse_failures(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("invalid number of failures {text:?}: expected a number above zero"))
}

fn parse_limit(text: &str) -> Result<Duration, String> {
    amount::time(text)?.ok_or_else(|| "a time limit above zero is required, so that the tests end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::TestArgs;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: TestArgs,
    }

    /// Returns the kernels of a command line, as `NAME=KERNEL`, and those that the cells are limited to.
    fn kernels(words: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let line = Line::try_parse_from(["test"].iter().chain(words)).expect("a valid command line");
        let selection = line.args.selection;
        let typed = selection.typed_kernels().map_err(|error| error.to_string())?;
        let named = typed.into_iter().map(|kernel| format!("{}={}", kernel.name, kernel.kernel.unwrap_or_default()));
        Ok((named.collect(), selection.filter(&[]).kernels))
    }

    #[test]
    fn every_kernel_of_the_command_line_is_used() {
        let is = |words: &[&str], named: &[&str], only: &[&str]| {
            let [named, only] = [named, only].map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(kernels(words), Ok((named, only)), "{words:?}");
        };
        is(&["-K", "a.deb"], &["given=a.deb"], &["given"]);
        is(&["-K", "a.deb", "-K", "b.deb"], &["given=a.deb", "given-2=b.deb"], &["given", "given-2"]);
        is(&["-K", "a.deb", "-K", "x=b.deb"], &["given=a.deb", "x=b.deb"], &["given", "x"]);
        is(&["-K", "x=b.deb"], &["x=b.deb"], &[]);
        is(&["-K", "./a=b.deb", "-k", "x"], &["given=./a=b.deb"], &["x"]);
        let twice = kernels(&["-K", "x=a.deb", "-K", "x=b.deb"]);
        assert_eq!(twice.expect_err("an error"), "invalid --kernel-file x=b.deb: another one is named \"x\"");
    }
}

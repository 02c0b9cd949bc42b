//! What can be typed after `bootling test`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::cli::boot_options::AccelArg;
use crate::cli::health::PolicyArg;
use bootling::format::amount;
use bootling::suite::emit::System;
use bootling::suite::manifest::{BootWay, Isolate, KernelSpec, NAME_RULE, Overrides, is_name};
use bootling::suite::plan::Filter;
use bootling::suite::report::Shard;
use bootling::suite::shard::{self, ShardError};

/// Run the tests of a manifest with each of its kernels on each of its machines, many at a time
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct TestArgs {
    /// The manifest, a .toml file or the directory of a bootling.toml (default: the one in this directory); then parts of
    /// the ids of the cells that are wanted.
    #[arg(value_name = "MANIFEST|PART")]
    pub(super) words: Vec<String>,
    /// Write a manifest to begin with, and run nothing.
    #[arg(long)]
    pub(super) init: bool,
    /// List the cells with their tags, and run nothing.
    #[arg(long)]
    pub(super) list: bool,
    /// With --list: as JSON, one array.
    #[arg(long, requires = "list")]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) choose: ChooseArgs,
    #[command(flatten)]
    pub(super) how: HowArgs,
    #[command(flatten)]
    pub(super) reports: ReportArgs,
    /// Tell only what fails, and the sum.
    #[arg(long, short, help_heading = "Output", conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// Tell also what passes where standard error is a terminal, and times of each cell.
    #[arg(long, short, help_heading = "Output")]
    pub(super) verbose: bool,
}

/// What `-h` ends with, and `--help` goes on from.
macro_rules! examples {
    () => {
        "Examples:
  bootling test --init                      write a bootling.toml to begin with
  bootling test                             run all of it
  bootling test boots/ --kernel next        the cells whose ids have `boots/` in them, with one kernel
  bootling test --tag smoke -j 4 --junit report.xml
  bootling test -K mine=../linux --repeat 20 --fail-fast
  bootling test --html report.html --baseline yesterday.jsonl
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
A cell is a test with a kernel on a machine: TEST/KERNEL/MACHINE, and #N where it is repeated. Each has a guest of its
own, restored from a snapshot, unless its test says otherwise; docs/testing.md tells what a manifest can say.

Exit status:
  0 every cell passed, at once or when it was tried again, or was skipped, and one passed; of a
    shard none need have: whether anything was tested is for --merge to say
  1 some did not: they failed, could not be tested, or were not run
  125 nothing was tested: a mistake in the manifest, no cell left, no kernel, no QEMU; all cells
    were skipped, or some were and the others could not be tested
  128+n signal n ended it; reports are written, with what was not run as such
"
);

/// Which cells.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cells")]
pub struct ChooseArgs {
    /// Only tests with this in their names, or whose names match this pattern (`*`, `?`, `[...]`). May be repeated.
    #[arg(long, short, value_name = "NAME")]
    test: Vec<String>,
    /// Only cells with this tag. May be repeated: one of them.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// No cells with this tag. May be repeated.
    #[arg(long, value_name = "TAG")]
    skip_tag: Vec<String>,
    /// Only this kernel of the manifest. May be repeated.
    #[arg(long, short, value_name = "NAME")]
    kernel: Vec<String>,
    /// Only this machine of the manifest. May be repeated.
    #[arg(long, short = 'M', value_name = "NAME")]
    machine: Vec<String>,
    /// Only the cell with exactly this id. May be repeated.
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// A kernel beside the manifest's, or in place of the one with this name: anything that `run --kernel` takes. Without
    /// NAME= it is called `given`, and is the only one. May be repeated.
    #[arg(long, short = 'K', value_name = "[NAME=]KERNEL")]
    kernel_file: Vec<String>,
    /// Only one of TOTAL equal parts, counted from 1: for as many hosts. `auto`: the one that a Slurm array, a parallel
    /// job of GitLab, an indexed job of Kubernetes or `BOOTLING_SHARD` says.
    #[arg(long, value_name = "INDEX/TOTAL", value_parser = shard)]
    pub(super) shard: Option<ShardArg>,
}

/// How they are run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Runs")]
pub struct HowArgs {
    /// Guests at once. Default: as many as there are processors for theirs.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) jobs: Option<u32>,
    /// Memory for all guests together: MiB, or with K, M, G. Default: three quarters of what is available, control groups
    /// counted. A guest that boots counts with all of its memory, a restored one with half of it.
    #[arg(long, value_name = "SIZE", value_parser = amount::memory_mib)]
    pub(super) memory_budget: Option<u64>,
    /// Begin nothing more after a cell, or N cells, have failed.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = failures)]
    pub(super) fail_fast: Option<usize>,
    /// Try what fails N times again; what passes then is flaky, which is told.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    retries: Option<u32>,
    /// Run each cell N times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: Option<u32>,
    /// Longest time for each test, such as 90, 90s, 5m.
    #[arg(long, value_name = "TIME", value_parser = limit)]
    timeout: Option<Duration>,
    /// Longest time without a sign of life.
    #[arg(long, value_name = "TIME", value_parser = limit)]
    idle_timeout: Option<Duration>,
    /// What a kernel that is not well does to a test.
    #[arg(long, value_enum, value_name = "POLICY")]
    health: Option<PolicyArg>,
    /// Restore guests from snapshots, or boot each.
    #[arg(long, value_enum, value_name = "HOW")]
    boot: Option<BootArg>,
    /// A guest for each cell, or cells that share guests.
    #[arg(long, value_enum, value_name = "HOW")]
    isolate: Option<IsolateArg>,
    /// What runs guest code.
    #[arg(long, value_enum, env = "BOOTLING_ACCEL")]
    accel: Option<AccelArg>,
    /// The QEMU program: a path, or a name on PATH.
    #[arg(long, value_name = "PATH", env = "BOOTLING_QEMU")]
    qemu: Option<PathBuf>,
}

/// What is written of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub struct ReportArgs {
    /// Write JUnit XML to FILE, or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Write TAP 14.
    #[arg(long, value_name = "FILE")]
    pub(super) tap: Option<PathBuf>,
    /// Write KTAP, the kernel's dialect of TAP.
    #[arg(long, value_name = "FILE")]
    pub(super) ktap: Option<PathBuf>,
    /// Write all that is known, as JSON Lines.
    #[arg(long, value_name = "FILE")]
    pub(super) jsonl: Option<PathBuf>,
    /// Write one page to look at with a browser, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Tell what is different from an earlier report (that --jsonl wrote): what broke, what was mended, what got slower.
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<PathBuf>,
    /// Run nothing: join what shards wrote with --jsonl. A shard without a report is a failure. Give the manifest and the
    /// choice of cells as for the shards, so that what is missing is told by its name.
    #[arg(long, value_name = "REPORT", num_args = 1.., conflicts_with_all = ["init", "list", "shard"])]
    pub(super) merge: Vec<PathBuf>,
    /// With --merge: take reports of different runs of a job system, too. Otherwise they are refused, since what an earlier run
    /// has left behind would pass for this one's.
    #[arg(long, requires = "merge")]
    pub(super) mixed_runs: bool,
    /// Run nothing: write a job file that runs the matrix in shards and joins their reports, to standard output.
    #[arg(long, value_enum, value_name = "SYSTEM", conflicts_with_all = ["init", "list", "shard", "merge"])]
    pub(super) emit: Option<SystemArg>,
    /// With --emit: in how many parts.
    #[arg(long, value_name = "N", requires = "emit", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=200))]
    pub(super) shards: u32,
}

/// `--shard`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShardArg {
    /// As the environment says.
    Auto,
    /// This one.
    Given(Shard),
}

/// `--emit`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SystemArg {
    /// A workflow of GitHub Actions
    Github,
    /// Jobs for .gitlab-ci.yml
    Gitlab,
    /// A script for sbatch
    Slurm,
    /// An indexed job
    Kubernetes,
}

impl SystemArg {
    /// The same for the library.
    pub(super) const fn system(self) -> System {
        match self {
            Self::Github => System::Github,
            Self::Gitlab => System::Gitlab,
            Self::Slurm => System::Slurm,
            Self::Kubernetes => System::Kubernetes,
        }
    }
}

/// `--boot`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BootArg {
    /// From snapshots, where that can be
    Warm,
    /// Each by itself
    Cold,
}

/// `--isolate`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IsolateArg {
    /// A guest for each
    Vm,
    /// Guests are shared
    None,
}

impl ChooseArgs {
    /// Which part is wanted.
    pub(super) fn part(&self) -> anyhow::Result<Option<Shard>> {
        match self.shard {
            None => Ok(None),
            Some(ShardArg::Given(shard)) => Ok(Some(shard)),
            Some(ShardArg::Auto) => {
                let found = shard::from_env(&|name| std::env::var_os(name)).context("reading --shard auto")?;
                // All of it on every host would look like a success, too.
                ensure!(found.is_some(), "reading --shard auto: none of {} is set", shard::variables());
                Ok(found)
            }
        }
    }

    /// Which cells are wanted.
    pub(super) fn filter(&self, parts: &[String]) -> Filter {
        Filter {
            tests: self.test.clone(),
            tags: self.tag.clone(),
            skip_tags: self.skip_tag.clone(),
            kernels: if self.kernel.is_empty() { self.given() } else { self.kernel.clone() },
            machines: self.machine.clone(),
            ids: parts.to_vec(),
            only: self.only.clone(),
        }
    }

    /// Kernels of the command line: name, and what it is.
    pub(super) fn typed_kernels(&self) -> anyhow::Result<Vec<KernelSpec>> {
        self.kernel_file
            .iter()
            .map(|typed| {
                let (name, kernel) = named(typed);
                ensure!(!kernel.is_empty(), "reading --kernel-file {typed}: no kernel is named");
                ensure!(is_name(name), "reading --kernel-file {typed}: {name:?} is no name: {NAME_RULE}");
                let (name, kernel) = (name.to_owned(), Some(kernel.to_owned()));
                Ok(KernelSpec { name, kernel, is_typed: true, ..KernelSpec::default() })
            })
            .collect()
    }

    /// The kernel that was typed without a name, which is then the only one.
    fn given(&self) -> Vec<String> {
        let has = self.kernel_file.iter().any(|typed| named(typed).0 == GIVEN);
        if has { vec![GIVEN.to_owned()] } else { Vec::new() }
    }

    /// The words that choose what a cell is made of, rather than which.
    pub(super) fn repeated(&self) -> impl Iterator<Item = OsString> {
        self.kernel_file.iter().flat_map(|typed| ["--kernel-file".into(), typed.into()])
    }
}

/// What a kernel is called that was typed without a name.
const GIVEN: &str = "given";

/// A name, and what stands behind its `=`.
fn named(typed: &str) -> (&str, &str) {
    match typed.split_once('=') {
        Some((name, kernel)) if !name.contains('/') => (name, kernel),
        Some(_) | None => (GIVEN, typed),
    }
}

impl HowArgs {
    /// What counts in place of the manifest's words.
    pub(super) fn overrides(&self) -> Overrides {
        Overrides {
            accel: self.accel.map(AccelArg::meant),
            qemu: self.qemu.clone(),
            timeout: self.timeout,
            idle_timeout: self.idle_timeout,
            retries: self.retries,
            repeat: self.repeat,
            health: self.health.map(PolicyArg::meant),
            boot: self.boot.map(|boot| match boot {
                BootArg::Warm => BootWay::Warm,
                BootArg::Cold => BootWay::Cold,
            }),
            isolate: self.isolate.map(|isolate| match isolate {
                IsolateArg::Vm => Isolate::Vm,
                IsolateArg::None => Isolate::Nothing,
            }),
        }
    }

    /// The words that make a cell another one.
    pub(super) fn repeated(&self) -> Vec<OsString> {
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
        push("--health", name(self.health.and_then(|policy| policy.to_possible_value())));
        push("--boot", name(self.boot.and_then(|boot| boot.to_possible_value())));
        push("--accel", name(self.accel.and_then(|accel| accel.to_possible_value())));
        push("--qemu", self.qemu.clone().map(PathBuf::into_os_string));
        words
    }
}

/// Reads `2/4`, or `auto`.
fn shard(text: &str) -> Result<ShardArg, String> {
    if text == "auto" {
        return Ok(ShardArg::Auto);
    }
    text.parse().map(ShardArg::Given).map_err(|error: ShardError| error.to_string())
}

fn failures(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text:?} is no number of failures"))
}

fn limit(text: &str) -> Result<Duration, String> {
    amount::time(text)?.ok_or_else(|| "a matrix is to end by itself: give a time above zero".to_owned())
}

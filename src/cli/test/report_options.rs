//! Command-line options of `bootling test` that control reports.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::options::{Choices, choice};
use bootling::suite::emit::System;
use bootling::suite::report::{FORMATS, Format};

/// Options that control reports.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reports")]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(super) files: FileArgs,
    /// Compare with an earlier --jsonl report: list what newly fails, passes again, or got slower. Or judge by a list of
    /// known failures (TOML; docs/testing.md): only failures that are not listed, and listed ones that pass, count.
    /// Repeatable: one report and one list
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Vec<PathBuf>,
    /// Add failures to the list of known failures, which is created if it does not exist, and remove entries whose
    /// results all pass. Reasons and comments are kept
    #[arg(long, requires = "baseline", conflicts_with_all = ["init", "list", "emit"])]
    pub(super) update_baseline: bool,
    /// Merge the --jsonl reports of shards instead of running tests. A missing shard counts as a failure. Pass the same
    /// manifest and selection of cells as for the shards, so that missing cells are reported by name
    #[arg(long, value_name = "REPORT", num_args = 1.., conflicts_with_all = ["init", "list", "shard"])]
    pub(super) merge: Vec<PathBuf>,
    /// With --merge: accept reports of different runs of a job system. By default they are refused, so that a report
    /// left over from an earlier run is not mistaken for one of this run
    #[arg(long, requires = "merge")]
    pub(super) mixed_runs: bool,
    /// Write a job file that runs the matrix in shards and merges their reports, to standard output, instead of running
    /// tests
    #[arg(long, value_name = "SYSTEM", value_parser = choice(SYSTEMS), conflicts_with_all = ["init", "list", "shard", "merge"])]
    pub(super) emit: Option<System>,
    /// With --emit: number of shards
    #[arg(long, value_name = "N", requires = "emit", default_value_t = 4, value_parser = value_parser!(u32).range(2..=200))]
    pub(super) shards: u32,
}

/// `--FORMAT FILE`, for each report format.
#[derive(Debug)]
pub(crate) struct FileArgs(pub(super) Vec<(&'static Format, PathBuf)>);

impl Args for FileArgs {
    fn augment_args(command: Command) -> Command {
        command.args(FORMATS.into_iter().map(|format| {
            let argument = Arg::new(format.name).long(format.name).value_name("FILE").help(format.help);
            argument.value_parser(value_parser!(PathBuf))
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FileArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = |format: &'static Format| Some((format, matches.get_one::<PathBuf>(format.name)?.clone()));
        Ok(Self(FORMATS.into_iter().filter_map(file).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Values of `--emit`.
const SYSTEMS: &Choices<System> = &[
    ("github", "GitHub Actions workflow", System::Github),
    ("gitlab", "Jobs to include in .gitlab-ci.yml", System::Gitlab),
    ("slurm", "Script for sbatch", System::Slurm),
    ("kubernetes", "Indexed Job", System::Kubernetes),
];

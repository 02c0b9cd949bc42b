//! Builds and tests a candidate.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{seconds, with_tree};
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::run::RunArgs;
use crate::cli::run_options::{self, RunOptions, Typed};
use bootling::guest::verdict::Outcome;
use bootling::guest::{self, Output, RunSpec, Silent, VmError};
use bootling::process::shell::{Build, Built};
use bootling::process::signals::Signals;
use bootling::regress::bisect::build::quietly;
use bootling::regress::bisect::trial::{Try, judge};
use bootling::regress::bisect::{Candidate, Judged, Kind, Stopped, Tester};

/// Number of lines shown of a build or a console.
const LINES: usize = 8;

/// Source of a candidate's kernel.
#[derive(Debug, Clone, Copy)]
pub enum Kernel<'a> {
    /// Built from a commit.
    Built {
        /// Working tree.
        tree: &'a Path,
        /// Shell line of the build.
        line: Option<&'a OsStr>,
        /// Time limit of the build.
        limit: Option<Duration>,
        /// True to show the build's output.
        verbose: bool,
    },
    /// The candidate is the kernel file.
    Listed,
}

/// Tests candidates.
pub struct Tests<'a> {
    /// Options of each run.
    pub options: &'a RunOptions,
    /// Kernel source.
    pub kernel: Kernel<'a>,
    /// Number of runs per candidate.
    pub tries: u32,
    /// Signals that end the bisection.
    pub signals: Signals,
}

impl Tester for Tests<'_> {
    fn test(&mut self, candidate: &Candidate) -> Result<Judged, Stopped> {
        let mut progress = Progress::new(false);
        let mut built_in = None;
        if let Kernel::Built { tree, line: Some(line), limit, verbose } = self.kernel {
            progress.show(&format!("building {}", candidate.title));
            let start = Instant::now();
            let build = Build { line, directory: tree, limit, kept: None };
            let ended = if verbose {
                build.run(&mut self.signals).map(|built| (built, Vec::new()))
            } else {
                quietly(&build, &mut self.signals, LINES)
            };
            let ended = ended.context("failed to run --build").map_err(failed)?;
            progress.clear();
            match ended {
                (Built::Done, _) => built_in = Some(start.elapsed()),
                (Built::Interrupted(signal), _) => return Err(Stopped::Interrupted(signal)),
                (Built::Failed(why), said) => {
                    show(&said);
                    return Ok(Judged { kind: Kind::NotBuilt, why });
                }
            }
        }
        progress.show(&format!("testing {}", candidate.title));
        let start = Instant::now();
        let mut judged = self.guests(candidate, &mut progress)?;
        let built = built_in.map(|time| format!("built in {}, ", seconds(time))).unwrap_or_default();
        judged.why = format!("{} ({built}tested in {})", judged.why, seconds(start.elapsed()));
        Ok(judged)
    }
}

impl Tests<'_> {
    fn guests(&mut self, candidate: &Candidate, progress: &mut Progress) -> Result<Judged, Stopped> {
        let run = self.run(candidate).context("invalid options").map_err(failed)?;
        let spec = run.spec(false).map_err(failed)?;
        let mut tries = Vec::new();
        for _ in 0..self.tries {
            let came = guest(&run, &spec, &mut self.signals);
            if let Some(signal) = self.signals.ending() {
                return Err(Stopped::Interrupted(signal));
            }
            match came {
                // The signal arrived while the guest ran, and ended it.
                Ok((Try { outcome: Outcome::Interrupted { signal }, .. }, _)) => {
                    return Err(Stopped::Interrupted(signal));
                }
                Ok((one, console)) => {
                    if !one.booted {
                        progress.clear();
                        show(&console[console.len().saturating_sub(LINES)..]);
                    }
                    tries.push(one);
                }
                // The build succeeded, but produced no usable kernel.
                Err(VmError::Kernel(error)) => {
                    let why = output::one_line(&error.into());
                    return Ok(Judged { kind: Kind::NotBuilt, why: why.replace('\n', " ") });
                }
                Err(error) => return Err(failed(output::advised(error))),
            }
        }
        judge(&tries).map_err(|code| Stopped::Interrupted(i32::from(code.saturating_sub(128))))
    }

    /// Returns the run options for a candidate.
    fn run(&self, candidate: &Candidate) -> Result<RunArgs, clap::Error> {
        let tree = match self.kernel {
            Kernel::Built { tree, .. } => Some(tree),
            Kernel::Listed => None,
        };
        let (mut kernel, mut typed) = (None, Vec::new());
        for option in &self.options.typed {
            let value = option.value.as_ref().map(|value| with_tree(value, tree));
            if option.long == "kernel" {
                kernel = value;
            } else {
                typed.push(Typed { value, ..option.clone() });
            }
        }
        let kernel: OsString = match tree {
            Some(tree) => kernel.map_or_else(|| tree.to_owned(), |kernel| tree.join(kernel)).into(),
            None => candidate.id.clone().into(),
        };
        typed.push(Typed { long: "kernel".to_owned(), place: 0, value: Some(kernel), is_list: false });
        let command: Vec<OsString> = self.options.command.iter().map(|word| with_tree(word, tree)).collect();
        run_options::read(&typed, &command)
    }
}

/// Runs one guest. Returns the result and the last lines of its console. A signal ends the guest.
fn guest(run: &RunArgs, spec: &RunSpec, signals: &mut Signals) -> Result<(Try, Vec<String>), VmError> {
    let options = guest::RunOptions { signals: Some(signals), ..run.recorded(Vec::new(), 0) };
    let output: Output = guest::run(spec, options, &mut Silent)?.into();
    Ok((Try { booted: output.hello.is_some(), outcome: output.outcome }, output.console))
}

fn failed(error: impl Into<anyhow::Error>) -> Stopped {
    Stopped::Failed(error.into().into_boxed_dyn_error())
}

/// Prints lines of a build or a console.
fn show(lines: &[String]) {
    let dim = anstyle::Style::new().dimmed();
    for line in lines {
        output::to_stderr(&format!("{dim}  | {line}{dim:#}\n"));
    }
}

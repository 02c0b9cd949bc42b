//! Builds and tests a candidate.

use std::error::Error;
use std::io::{self, BufReader, Seek};
use std::time::Instant;

use super::excerpt::excerpt;
use super::trial::judge;
use super::{Attempt, Candidate, Judgment, Progress};
use crate::format::duration::duration;
use crate::guest::verdict::Outcome;
use crate::process::shell::{Build, Built};
use crate::process::signals::Signals;

/// Number of lines reported of a console.
const LINES: usize = 8;

/// Reason why a candidate was not tested.
#[derive(Debug)]
pub enum NotTested {
    /// The build failed, or left no usable kernel.
    NoKernel(String),
    /// A signal to bootling.
    Interrupted(i32),
    /// A failure that is unrelated to the candidate, and would repeat with every other.
    Failed(Box<dyn Error + Send + Sync>),
}

/// Builds and tests candidates.
pub struct Tester<'a> {
    /// Build command; `None` if the kernels exist.
    pub build: Option<Build<'a>>,
    /// True to print the output of builds on standard error.
    pub verbose: bool,
    /// Number of guests per candidate.
    pub tries: u32,
    /// Signals that end a build or a guest.
    pub signals: Signals,
    /// Runs one guest.
    pub run_guest: &'a mut dyn FnMut(&Candidate, &mut Signals) -> Result<Attempt, NotTested>,
}

impl Tester<'_> {
    /// Builds and tests a candidate.
    pub fn test(
        &mut self,
        candidate: &Candidate,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Judgment, NotTested> {
        let mut built = String::new();
        if let Some(build) = &self.build {
            progress(Progress::Building(candidate));
            let start = Instant::now();
            let (ended, output) = run(build, self.verbose, &mut self.signals)
                .map_err(|error| NotTested::Failed(format!("failed to run --build: {error}").into()))?;
            match ended {
                Built::Done => built = format!("built in {}, ", duration(start.elapsed())),
                Built::Interrupted(signal) => return Err(NotTested::Interrupted(signal)),
                Built::Failed(reason) => {
                    progress(Progress::Output(&output));
                    return Err(NotTested::NoKernel(reason));
                }
            }
        }
        progress(Progress::Testing(candidate));
        let start = Instant::now();
        let mut attempts = Vec::new();
        for _ in 0..self.tries {
            let attempt = (self.run_guest)(candidate, &mut self.signals);
            if let Some(signal) = self.signals.ending() {
                return Err(NotTested::Interrupted(signal));
            }
            let attempt = attempt?;
            if let Outcome::Interrupted { signal } = attempt.outcome {
                return Err(NotTested::Interrupted(signal));
            }
            if !attempt.booted {
                progress(Progress::Output(last_lines(&attempt.console)));
            }
            attempts.push(attempt);
        }
        let Judgment { kind, reason } =
            judge(&attempts).map_err(|code| NotTested::Interrupted(i32::from(code.saturating_sub(128))))?;
        Ok(Judgment { kind, reason: format!("{reason} ({built}tested in {})", duration(start.elapsed())) })
    }
}

/// Runs a build. Returns the result and, unless `verbose`, the first errors and the last lines of the output.
fn run(build: &Build<'_>, verbose: bool, signals: &mut Signals) -> io::Result<(Built, Vec<String>)> {
    if verbose {
        return Ok((build.run(signals)?, Vec::new()));
    }
    let mut file = tempfile::tempfile()?;
    let ended = Build { kept: Some(&file), ..*build }.run(signals)?;
    file.rewind()?;
    Ok((ended, excerpt(BufReader::new(file))?))
}

fn last_lines(lines: &[String]) -> &[String] {
    &lines[lines.len().saturating_sub(LINES)..]
}

#[cfg(test)]
mod tests {
    use super::{NotTested, Tester, run};

    use crate::guest::verdict::Outcome;
    use crate::process::shell::{Build, Built};
    use crate::process::signals::Signals;
    use crate::regress::bisect::{Attempt, Candidate, CandidateKind, Judgment, Progress};
    use std::ffi::OsStr;
    use std::path::Path;

    fn build(line: &str) -> Build<'_> {
        Build { line: OsStr::new(line), directory: Path::new("/"), limit: None, kept: None }
    }

    #[test]
    fn the_last_lines_of_the_build_output_are_kept() {
        let line = "seq 1 20000; echo two >&2; printf 'th\\033ree\\n'; exit 3";
        let (ended, output) = run(&build(line), false, &mut Signals::catch().expect("signals")).expect("it runs");
        assert_eq!(ended, Built::Failed("exit 3".to_owned()));
        assert_eq!(output, ["19995", "19996", "19997", "19998", "19999", "20000", "two", "three"]);
    }

    #[test]
    fn a_failed_build_is_not_tested_and_the_console_is_reported_if_a_guest_does_not_boot() {
        let test = |line: &str, attempts: Vec<Attempt>| {
            let mut shown = Vec::new();
            let tries = u32::try_from(attempts.len()).expect("few");
            let mut attempts = attempts.into_iter();
            let mut tester = Tester {
                build: Some(build(line)),
                verbose: false,
                tries,
                signals: Signals::catch().expect("signals"),
                run_guest: &mut |_, _| Ok(attempts.next().expect("another guest")),
            };
            let candidate = Candidate { id: "x".to_owned(), title: "x".to_owned() };
            let judgment = tester.test(&candidate, &mut |progress| {
                if let Progress::Output(lines) = progress {
                    shown.extend_from_slice(lines);
                }
            });
            (judgment, shown)
        };
        let (judgment, shown) = test("echo nonsense; exit 2", Vec::new());
        assert!(matches!(judgment, Err(NotTested::NoKernel(reason)) if reason == "exit 2"));
        assert_eq!(shown, ["nonsense"]);
        let exited =
            |status| Attempt { outcome: Outcome::Exited { status }, booted: true, console: vec!["a".to_owned()] };
        let Judgment { kind, reason } = test("true", vec![exited(0), exited(1)]).0.expect("tested");
        assert_eq!(kind, CandidateKind::Flaky);
        assert!(reason.starts_with("1 of 2 tries passed, one failed: exited with 1 (built in "), "{reason}");
        let reset = Attempt { outcome: Outcome::Reset { silent: false }, booted: false, console: vec!["b".to_owned()] };
        let (judgment, shown) = test("true", vec![reset]);
        assert_eq!((judgment.expect("tested").kind, shown), (CandidateKind::NotBooted, vec!["b".to_owned()]));
        let interrupted = Attempt { outcome: Outcome::Interrupted { signal: 15 }, booted: true, console: Vec::new() };
        assert!(matches!(test("true", vec![interrupted, exited(0)]).0, Err(NotTested::Interrupted(15))));
    }
}

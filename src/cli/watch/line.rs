//! One line per round, on standard error and as JSON Lines.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anstyle::AnsiColor;
use anyhow::Context;
use serde::Serialize;

use crate::cli::output;
use bootling::format::duration::duration;
use bootling::guest::verdict::{Outcome, signal_name};
use bootling::sys;
use bootling::watch::Change;

/// Output of the lines, and state of the current round.
pub(crate) struct Lines {
    current_dir: PathBuf,
    json: Option<Json>,
    round: u64,
    /// Changed files; empty for the first round.
    changed_paths: Vec<String>,
    last_change: Instant,
}

struct Json {
    path: PathBuf,
    out: Box<dyn Write>,
}

/// Result of a round.
pub(crate) enum RoundResult<'a> {
    /// The guest ended.
    Judged(&'a Outcome),
    /// No guest was started.
    NotTested,
    /// The build failed.
    NotBuilt(&'a str),
}

/// A round as written by `--json`: its context and the fields of a plain run. New versions only add fields.
#[derive(Debug, Serialize)]
struct Entry<'a, T> {
    /// Number, starting with 1.
    round: u64,
    /// End time, milliseconds since 1970.
    at_ms: u64,
    /// Changed files.
    after: &'a [String],
    /// Time from the last change to the verdict, milliseconds; for the first round, from the start.
    save_to_verdict_ms: f64,
    #[serde(flatten)]
    verdict: &'a T,
}

impl Lines {
    /// Opens the file to append lines to.
    pub(crate) fn new(current_dir: PathBuf, json: Option<&Path>) -> anyhow::Result<Self> {
        let json = json.map(|path| {
            let out: Box<dyn Write> = if path.as_os_str() == "-" {
                Box::new(output::report())
            } else {
                let file = File::options().append(true).create(true).open(path);
                Box::new(file.with_context(|| format!("failed to write results to {}", path.display()))?)
            };
            anyhow::Ok(Json { path: path.to_owned(), out })
        });
        Ok(Self {
            current_dir,
            json: json.transpose()?,
            round: 0,
            changed_paths: Vec::new(),
            last_change: Instant::now(),
        })
    }

    /// Starts the next round, triggered by `change`.
    pub(crate) fn begin_round(&mut self, change: Option<&Change>, start: Instant) {
        self.round += 1;
        self.last_change = change.map_or(start, |change| change.saved);
        let paths = change.map_or(&[][..], |change| &change.paths);
        self.changed_paths = paths.iter().map(|path| self.display_path(path)).collect();
    }

    /// Returns the path relative to the current directory if it is below it.
    pub(crate) fn display_path(&self, path: &Path) -> String {
        match path.strip_prefix(&self.current_dir) {
            Ok(below) => format!("./{}", below.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// Reports the result of the round.
    pub(crate) fn report(&mut self, result: &RoundResult<'_>, verdict: &impl Serialize) -> anyhow::Result<()> {
        let took = self.last_change.elapsed();
        let good = matches!(result, RoundResult::Judged(Outcome::Exited { status: 0 }));
        let style = if good { AnsiColor::Green } else { AnsiColor::Red }.on_default().bold();
        let description = describe(result);
        print(&format!("{style}{description}{style:#} in {}{}", duration(took), self.reason()));
        let Some(json) = &mut self.json else { return Ok(()) };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let entry = Entry {
            round: self.round,
            at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            after: &self.changed_paths,
            save_to_verdict_ms: (took.as_secs_f64() * 1e6).round() / 1e3,
            verdict,
        };
        let failed = || format!("failed to write results to {}", json.path.display());
        let mut line = serde_json::to_vec(&entry).with_context(failed)?;
        line.push(b'\n');
        json.out.write_all(&line).and_then(|()| json.out.flush()).with_context(failed)
    }

    /// Reports that a change ended the round.
    pub(crate) fn report_restart() {
        print("starting over: inputs have changed");
    }

    fn reason(&self) -> String {
        match &self.changed_paths[..] {
            [] => String::new(),
            [one] => format!(" after {one} changed"),
            [one, others @ ..] => format!(" after {one} and {} more changed", others.len()),
        }
    }
}

fn print(text: &str) {
    let (hour, minute, second) = sys::local_time();
    output::to_stderr(&format!("bootling: [{hour:02}:{minute:02}:{second:02}] {text}\n"));
}

/// Returns a short description of the result.
fn describe(result: &RoundResult<'_>) -> String {
    match result {
        RoundResult::Judged(Outcome::Exited { status: 0 }) => "passed (exit 0)".to_owned(),
        RoundResult::Judged(Outcome::Exited { status } | Outcome::NotExecuted { status, .. }) => {
            format!("failed (exit {status})")
        }
        RoundResult::Judged(Outcome::Signaled { signal, .. }) => {
            format!("failed ({})", signal_name(i32::from(*signal)))
        }
        RoundResult::Judged(Outcome::CouldNotTest { .. }) | RoundResult::NotTested => "could not test".to_owned(),
        RoundResult::Judged(other) => format!("failed ({})", other.name().replace('-', " ")),
        RoundResult::NotBuilt(how) => format!("build failed ({how})"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Lines, Outcome, RoundResult, describe};
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    #[test]
    fn lines_contain_a_short_result_and_the_changed_paths() {
        let judged = |outcome: &Outcome| describe(&RoundResult::Judged(outcome));
        assert_eq!(judged(&Outcome::Exited { status: 0 }), "passed (exit 0)");
        assert_eq!(judged(&Outcome::Exited { status: 3 }), "failed (exit 3)");
        assert_eq!(judged(&Outcome::Signaled { signal: 11, core: false, crash: None }), "failed (SIGSEGV)");
        assert_eq!(judged(&Outcome::WentAway { how: "x" }), "failed (went away)");
        assert_eq!(describe(&RoundResult::NotBuilt("exit 2")), "build failed (exit 2)");
        let mut lines = Lines::new(PathBuf::from("/home/me"), None).expect("no file");
        assert_eq!(lines.reason(), "");
        let paths: Vec<PathBuf> = ["/home/me/a", "/lib/b"].map(PathBuf::from).into();
        lines.begin_round(Some(&Change { paths, saved: Instant::now() }), Instant::now());
        assert_eq!(lines.reason(), " after ./a and 1 more changed");
        assert_eq!(lines.display_path(Path::new("/lib/b")), "/lib/b");
    }
}

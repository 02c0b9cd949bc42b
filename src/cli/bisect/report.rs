//! Progress and result of a bisection, as text and as JSON.

use std::io::Write;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use serde::Serialize;

use crate::cli::output;
use bootling::output::file::Output;
use bootling::regress::bisect::log::{Mark, Writer};
use bootling::regress::bisect::{Answer, BisectError, Candidate, Found, Judged, Teller};

/// Prints progress to standard error, and records the steps.
#[derive(Debug)]
pub struct Told {
    log: PathBuf,
    /// All tested candidates, including the ends.
    pub steps: Vec<Step>,
    /// True if the log can be resumed.
    pub is_logged: bool,
}

/// A tested candidate.
#[derive(Debug, Serialize)]
pub struct Step {
    id: String,
    title: String,
    kind: &'static str,
    answer: &'static str,
    why: String,
}

impl Told {
    /// Creates a reporter with the path of the log. `is_logged`: the log exists already.
    pub fn new(log: &Path, is_logged: bool) -> Self {
        Self { log: log.to_owned(), steps: Vec::new(), is_logged }
    }

    fn keep(&mut self, Candidate { id, title }: &Candidate, kind: &'static str, why: &str, answer: Answer) {
        let (id, title, why) = (id.clone(), title.clone(), why.to_owned());
        self.steps.push(Step { id, title, kind, answer: answer.name(), why });
    }
}

impl Teller for Told {
    fn as_before(&mut self, Mark { candidate, judged, answer }: &Mark) {
        let (kind, why) =
            judged.as_ref().map_or((answer.name(), "from the log"), |judged| (judged.kind.name(), &judged.why));
        self.keep(candidate, kind, why, *answer);
    }

    fn end(&mut self, candidate: &Candidate, said: Answer) {
        output::note(&format!("checking the {} end: {}", said.name(), candidate.title));
    }

    fn step(&mut self, number: u32, left: u32, candidate: &Candidate) {
        let about = number + left;
        output::note(&format!("step {number} of about {about}: {}", candidate.title));
    }

    fn judged(&mut self, candidate: &Candidate, judged: &Judged, answer: Answer) {
        let style = match answer {
            Answer::Good => AnsiColor::Green.on_default(),
            Answer::Bad => AnsiColor::Red.on_default(),
            Answer::Skip => AnsiColor::Yellow.on_default(),
        };
        let taken = match answer {
            _ if judged.kind.name() == answer.name() => "",
            Answer::Good => ", treated as good",
            Answer::Bad => ", treated as bad",
            Answer::Skip => ", skipped",
        };
        output::to_stderr(&format!("  {style}{}{style:#}{taken}: {}\n", judged.kind.name(), judged.why));
        self.keep(candidate, judged.kind.name(), &judged.why, answer);
    }

    fn log(&mut self, log: &Writer) -> Result<(), BisectError> {
        let failed = |source| BisectError::Io { doing: "writing", path: self.log.clone(), source };
        let mut output = Output::create(&self.log).map_err(|error| failed(std::io::Error::other(error)))?;
        output.write_all(log.text.as_bytes()).map_err(failed)?;
        output.finish().map_err(|error| failed(std::io::Error::other(error)))?;
        self.is_logged = true;
        Ok(())
    }
}

/// Result as JSON. New versions only add fields.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// First bad candidate, if found.
    first_bad: Option<Named<'a>>,
    /// All candidates that may be the first bad one.
    suspects: Vec<Named<'a>>,
    /// Tested candidates in order.
    steps: &'a [Step],
}

/// A candidate.
#[derive(Debug, Clone, Serialize)]
struct Named<'a> {
    id: &'a str,
    title: &'a str,
}

impl<'a> Report<'a> {
    /// Creates the report.
    pub fn new(found: &'a Found, steps: &'a [Step]) -> Self {
        let suspects: Vec<Named<'a>> =
            found.suspects.iter().map(|Candidate { id, title }| Named { id, title }).collect();
        Self { first_bad: suspects.first().filter(|_| suspects.len() == 1).cloned(), suspects, steps }
    }
}

/// Prints the result to standard output. Ids come first, so that scripts can extract them.
pub fn found(found: &Found, told: &Told) -> anyhow::Result<()> {
    let bold = Style::new().bold();
    let mut out = output::stdout();
    let mut write = || -> std::io::Result<()> {
        match &found.suspects[..] {
            [Candidate { id, title }] => {
                writeln!(out, "{id} is the first bad one")?;
                writeln!(out, "{bold}{title}{bold:#}")?;
            }
            all => {
                writeln!(out, "one of these is the first bad one; candidates between them were skipped:")?;
                for Candidate { id, title } in all {
                    let why = told.steps.iter().find(|step| step.id == *id);
                    let why = why.map(|step| format!(" ({}: {})", step.kind, step.why)).unwrap_or_default();
                    writeln!(out, "{id} {bold}{title}{bold:#}{why}")?;
                }
            }
        }
        out.flush()
    };
    write().context("failed to write to standard output")?;
    let tested = told.steps.len();
    output::note(&format!(
        "{tested} candidates tested, {} of them between the ends; log: {}",
        found.steps,
        told.log.display()
    ));
    Ok(())
}

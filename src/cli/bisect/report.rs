//! Progress and result of a bisection as text.

use std::io::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use anyhow::Context;

use crate::cli::output;
use crate::cli::progress::Progress as ProgressLine;
use bootling::regress::bisect::{BisectAnswer, BisectResult, Candidate, Progress, Step};

/// Prints progress to standard error.
pub(crate) fn progress(line: &mut ProgressLine, progress: &Progress<'_>) {
    line.clear();
    match progress {
        Progress::Building(candidate) => line.show(&format!("building {}", candidate.title)),
        Progress::Testing(candidate) => line.show(&format!("testing {}", candidate.title)),
        Progress::End(candidate, expected) => {
            output::note(&format!("checking the {} end: {}", expected.name(), candidate.title));
        }
        Progress::Candidate { number, left, candidate } => {
            let total = number + *left as usize;
            output::note(&format!("step {number} of about {total}: {}", candidate.title));
        }
        Progress::Output(lines) => {
            let dim = Style::new().dimmed();
            for line in *lines {
                output::to_stderr(&format!("{dim}  | {line}{dim:#}\n"));
            }
        }
        Progress::Judged(step) => judged(step),
    }
}

fn judged(Step { judgment, answer, .. }: &Step) {
    let (color, treated) = match answer {
        BisectAnswer::Good => (AnsiColor::Green, ", treated as good"),
        BisectAnswer::Bad => (AnsiColor::Red, ", treated as bad"),
        BisectAnswer::Skip => (AnsiColor::Yellow, ", skipped"),
    };
    let (style, kind) = (color.on_default(), judgment.kind.name());
    let treated = if kind == answer.name() { "" } else { treated };
    output::to_stderr(&format!("  {style}{kind}{style:#}{treated}: {}\n", judgment.reason));
}

/// Prints the result to standard output. Ids come first, so that scripts can extract them.
pub(crate) fn result(result: &BisectResult, log: &Path) -> anyhow::Result<()> {
    let bold = Style::new().bold();
    let mut out = output::stdout();
    let mut write = || -> std::io::Result<()> {
        if let Some(Candidate { id, title }) = &result.first_bad {
            writeln!(out, "{id} is the first bad one\n{bold}{title}{bold:#}")?;
        } else {
            writeln!(out, "one of these is the first bad one; candidates between them were skipped:")?;
            for Candidate { id, title } in &result.suspects {
                let step = result.steps.iter().find(|step| step.candidate.id == *id);
                let reason = step.map(|step| format!(" ({}: {})", step.judgment.kind.name(), step.judgment.reason));
                writeln!(out, "{id} {bold}{title}{bold:#}{}", reason.unwrap_or_default())?;
            }
        }
        out.flush()
    };
    write().context("failed to write to standard output")?;
    output::note(&format!("{} candidates tested; log: {}", result.steps.len(), log.display()));
    Ok(())
}

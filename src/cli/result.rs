//! Results of guests as text on standard error.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use bootling::guest::RunResult;
use bootling::guest::health::is_detail;
use bootling::guest::transcript::Transcript;
use bootling::guest::verdict::Outcome;

/// Maximum number of console lines shown below a message.
const TAIL: usize = 20;

/// Formats the result for standard error; empty if the command's status is sufficient. `more` explains how to show the
/// complete console; with `None`, the console was already shown and is omitted.
pub(crate) fn format_result(RunResult { outcome, transcript, .. }: &RunResult, more: Option<&str>) -> String {
    let Some(sentence) = outcome.sentence() else { return String::new() };
    let bold = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    let dim = Style::new().dimmed();
    let mut text = format!("{bold}bootling: {sentence}{bold:#}\n");
    // Writing to a String cannot fail.
    for line in transcript.hang.iter().flat_map(|hang| &hang.summary) {
        let _ = writeln!(text, "  - {line}");
    }
    let mut lines = |title: &str, lines: &[String]| {
        let _ = writeln!(text, "{title}");
        // The registers of a crash would displace its first lines.
        let lines: Vec<&String> = lines.iter().filter(|line| !is_detail(line)).collect();
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            let _ = writeln!(text, "{dim}  | {line}{dim:#}");
        }
    };
    let qemu_refused = matches!(outcome, Outcome::CouldNotTest { .. }) && !transcript.showed_activity();
    if !outcome.needs_console() || qemu_refused {
        return text;
    }
    if !transcript.qemu_output.is_empty() {
        lines("Output of QEMU:", &transcript.qemu_output);
    }
    match more {
        _ if transcript.console_tail.is_empty() => lines(empty(transcript), &[]),
        Some(more) => lines(&format!("Last lines of the guest's console ({more}):"), &transcript.console_tail),
        None => {}
    }
    text
}

/// Returns the text for an empty console.
fn empty(transcript: &Transcript) -> &'static str {
    match transcript.kernel.writes_console {
        Some(false) => "The guest's console is empty: its kernel does not write to it.",
        None if transcript.runs_a_command() => {
            "The guest's console is empty: its kernel did not start, or lacks options (see bootling doctor --kernel KERNEL)."
        }
        Some(true) | None => "The guest's console is empty.",
    }
}

/// Formats the result for standard error: message, patterns that did not match, and the console unless it was `shown`.
pub(crate) fn format_disk_result(result: &RunResult, shown: bool) -> String {
    let more = (!shown).then_some("omit --quiet to show all");
    let mut text = format_result(result, more);
    if !text.is_empty() {
        for missing in &result.transcript.missing {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "not matched: {missing}");
        }
        if result.transcript.screen.is_graphical && !result.transcript.missing.is_empty() {
            text += "the screen is in a graphics mode: --expect-screen reads text modes only; --screenshot shows it, and --expect \
                     reads the console\n";
        }
    }
    text
}

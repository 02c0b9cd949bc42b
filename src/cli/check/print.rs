//! Findings as text and as JSON.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::cli::proof::Proof;

use bootling::disk::check::{Finding, Place, Report, Rule, Severity, Subject, rules};
use bootling::initrd::explain::Printable;

/// Returns the color of a severity.
fn color(severity: Severity) -> Style {
    match severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
        Severity::Note => AnsiColor::Cyan.on_default(),
    }
}

/// Prints the findings, the most severe first, with the affected software and the fix; then a summary.
pub(crate) fn text(name: &str, report: &Report, quiet: bool, out: &mut impl Write) -> io::Result<()> {
    let dim = Style::new().dimmed();
    if !quiet {
        for Subject { name, facts } in &report.subjects {
            let (name, facts) = (Printable(name.as_bytes()), Printable(facts.as_bytes()));
            writeln!(out, "{dim}{name}: {facts}{dim:#}")?;
        }
    }
    for severity in Severity::ALL.into_iter().filter(|severity| !quiet || *severity > Severity::Note) {
        for finding in report.findings.iter().filter(|finding| finding.rule.severity == severity) {
            write_finding(finding, out)?;
        }
        for (rule, count) in report.more.iter().filter(|(rule, _)| rule.severity == severity) {
            writeln!(out, "{severity}[{}] {count} more findings", rule.id)?;
        }
    }
    if quiet {
        return Ok(());
    }
    writeln!(out, "{}: {}", Printable(name.as_bytes()), summary(report))
}

/// Prints the results of the boot tests; only the failures if `quiet`.
pub(crate) fn proofs(proofs: &[Proof], quiet: bool, out: &mut impl Write) -> io::Result<()> {
    for proof in proofs.iter().filter(|proof| !quiet || !proof.holds) {
        let (word, color) = if proof.holds { ("proven", AnsiColor::Green) } else { ("failed", AnsiColor::Red) };
        let style = color.on_default().bold();
        let took = Duration::from_millis(proof.took_ms).as_secs_f64();
        let says = Printable(proof.says.as_bytes());
        writeln!(out, "{style}{word}{style:#} {}: {says} ({took:.1} s)", proof.what)?;
    }
    Ok(())
}

fn write_finding(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let Finding { rule, place, what, mend } = finding;
    let style = color(rule.severity);
    let (severity, id) = (rule.severity, rule.id);
    writeln!(out, "{style}{severity}[{id}]{style:#} {}{}", describe_place(place), Printable(what.as_bytes()))?;
    let dim = Style::new().dimmed();
    writeln!(out, "{dim}    rule:{dim:#}   {}", rule.says)?;
    writeln!(out, "{dim}    breaks:{dim:#} {}", rule.breaks)?;
    writeln!(out, "{dim}    fix:{dim:#}    {mend}")
}

/// Formats a location followed by a colon and a space; empty for the whole file.
fn describe_place(place: &Place) -> String {
    let mut text = place.part.as_deref().map(|part| Printable(part.as_bytes()).to_string()).unwrap_or_default();
    let at = match (place.lba, place.offset) {
        (Some(lba), Some(offset)) => format!("LBA {lba} (byte {offset})"),
        (Some(lba), None) => format!("LBA {lba}"),
        (None, Some(offset)) => format!("byte {offset}"),
        (None, None) => String::new(),
    };
    if !text.is_empty() && !at.is_empty() {
        text += ", ";
    }
    text += &at;
    if text.is_empty() { text } else { text + ": " }
}

fn summary(report: &Report) -> String {
    let counted = Severity::ALL.into_iter().map(|severity| (severity, report.count(severity)));
    let told: Vec<String> = counted
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| format!("{count} {severity}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if told.is_empty() { "no findings".to_owned() } else { told.join(", ") }
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    #[serde(rename = "where")]
    place: &'a Place,
    what: &'a str,
    rule: &'a str,
    severity: Severity,
    says: &'a str,
    breaks: &'a str,
    mend: &'a str,
    source: &'a str,
}

#[derive(Serialize)]
struct JsonMore<'a> {
    rule: &'a str,
    count: usize,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    file: &'a str,
    subjects: &'a [Subject],
    findings: Vec<JsonFinding<'a>>,
    more: Vec<JsonMore<'a>>,
    errors: usize,
    warnings: usize,
    notes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    proofs: Option<&'a [Proof]>,
}

/// Prints one JSON object, including the results of the boot tests, if any.
pub(crate) fn json(name: &str, report: &Report, proofs: Option<&[Proof]>, out: &mut impl Write) -> io::Result<()> {
    let findings = report.findings.iter().map(|Finding { rule, place, what, mend }| {
        let Rule { id, severity, says, breaks, mend: _, source } = rule;
        JsonFinding { place, what, rule: id, severity: *severity, says, breaks, mend, source }
    });
    let whole = JsonReport {
        file: name,
        subjects: &report.subjects,
        findings: findings.collect(),
        more: report.more.iter().map(|(rule, count)| JsonMore { rule: rule.id, count: *count }).collect(),
        errors: report.count(Severity::Error),
        warnings: report.count(Severity::Warning),
        notes: report.count(Severity::Note),
        proofs,
    };
    serde_json::to_writer_pretty(&mut *out, &whole)?;
    writeln!(out)
}

/// Prints the rule table.
pub(crate) fn rules(out: &mut impl Write) -> io::Result<()> {
    let dim = Style::new().dimmed();
    for Rule { id, severity, says, breaks, mend, source } in rules::all() {
        let style = color(*severity);
        writeln!(out, "{style}{severity}[{id}]{style:#} {says}")?;
        for (label, text) in [("breaks", breaks), ("fix", mend), ("source", source)] {
            writeln!(out, "{dim}    {label:<8}{dim:#}{text}")?;
        }
    }
    Ok(())
}

/// Prints the rule table as a JSON array.
pub(crate) fn rules_json(out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &rules::all().collect::<Vec<_>>())?;
    writeln!(out)
}

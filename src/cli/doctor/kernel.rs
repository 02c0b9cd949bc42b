//! `bootling doctor --kernel`: prints which options that guests need a kernel has.

use std::ffi::OsStr;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use bootling::cache::Cache;
use bootling::guest::preflight::{Report, Row, Severity, State};
use bootling::root::request::KernelRef;
use bootling::root::{directory::Root, kernel};

use crate::cli::progress::Progress;

/// Checks the kernel that the user named.
pub(super) fn check(name: &OsStr) -> anyhow::Result<Report> {
    let mut progress = Progress::new(false);
    let wanted = KernelRef::Named(name.to_owned());
    let found = kernel::find(&Root::new("/")?, &wanted, None, &Cache::open()?, &mut |doing| progress.show(doing))?;
    progress.clear();
    Ok(Report::new(&found))
}

/// Prints the table.
pub(super) fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let release = report.release.as_deref().unwrap_or("unknown release");
    writeln!(out, "kernel         {} ({release})", report.kernel)?;
    match &report.configuration {
        Some(file) => writeln!(out, "configuration  {file}")?,
        None => writeln!(out, "configuration  not found (searched .config, config-RELEASE, CONFIG_IKCONFIG)")?,
    }
    for row in &report.needs {
        let (word, color) = word(row);
        let style = color.map_or(Style::new(), |color| Style::new().bold().fg_color(Some(color.into())));
        let text = match (row.state, &row.set) {
            (State::Missing, Some(set)) => format!("{}; set {set}", row.without),
            (State::Met, _) => row.options.clone(),
            (State::Missing | State::Unknown, _) => format!("{}; without: {}", row.options, row.without),
        };
        writeln!(out, "{style}{word:<8}{style:#}{:<20}  {text}", row.by)?;
    }
    Ok(())
}

/// Returns the state of a row as one word.
fn word(row: &Row) -> (&'static str, Option<AnsiColor>) {
    match (row.state, row.severity) {
        (State::Met, _) => ("ok", Some(AnsiColor::Green)),
        (State::Unknown, _) => ("?", None),
        (State::Missing, Severity::Fatal) if !row.on_request => ("missing", Some(AnsiColor::Red)),
        (State::Missing, Severity::Fatal | Severity::Degraded | Severity::Minor) => {
            ("without", Some(AnsiColor::Yellow))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Row, Severity, State, print};

    #[test]
    fn each_need_has_a_line_with_the_option_to_set() {
        let row = |by: &str, state, severity, on_request, set: Option<&str>| Row {
            by: by.to_owned(),
            options: "CONFIG_A".to_owned(),
            without: "it fails".to_owned(),
            severity,
            on_request,
            state,
            set: set.map(str::to_owned),
        };
        let needs = vec![
            row("initrd", State::Missing, Severity::Fatal, false, Some("CONFIG_A=y")),
            row("--tty", State::Missing, Severity::Fatal, true, Some("CONFIG_A=y")),
            row("console", State::Met, Severity::Degraded, false, None),
            row("pid 1", State::Unknown, Severity::Fatal, false, None),
        ];
        let (kernel, configuration) = ("linux".to_owned(), Some("linux/.config".to_owned()));
        let report = Report { version: 1, kernel, release: None, configuration, usable: false, needs };
        let mut out = anstream::StripStream::new(Vec::new());
        print(&mut out, &report).expect("printed");
        let expected = "kernel         linux (unknown release)\n\
            configuration  linux/.config\n\
            missing initrd                it fails; set CONFIG_A=y\n\
            without --tty                 it fails; set CONFIG_A=y\n\
            ok      console               CONFIG_A\n\
            ?       pid 1                 CONFIG_A; without: it fails\n";
        assert_eq!(String::from_utf8(out.into_inner()).expect("UTF-8"), expected);
    }
}

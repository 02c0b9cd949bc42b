//! `bootling man`: writes the manual pages, from the definition of the command line.
//!
//! The text after the options in `--help` becomes sections: `Title:` starts one, indented lines with columns are
//! examples and tables, which keep their line breaks, and all other text is filled.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, roman};

use bootling::output::file::Output;

/// Write the manual pages to a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling man ~/.local/share/man/man1      then: man bootling-run

Writes one page per verb, and one for each of the programs make-tiny-image and byebyebios.
`make install` and the Debian package install the same pages.
")]
pub(crate) struct ManArgs {
    /// Directory for the pages. It is created if it does not exist.
    dir: PathBuf,
}

/// Runs the verb.
pub(crate) fn run(args: &ManArgs, programs: impl IntoIterator<Item = Command>) -> anyhow::Result<u8> {
    let dir = &args.dir;
    fs::create_dir_all(dir).with_context(|| format!("failed to create {}", dir.display()))?;
    for page in programs.into_iter().flat_map(pages) {
        let path = dir.join(page.get_filename());
        write(&page, &path).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(0)
}

/// Returns the page of a program, and one page for each of its verbs and their verbs.
fn pages(mut program: Command) -> Vec<Page> {
    program.build();
    let version = program.get_version().map_or_else(|| env!("CARGO_PKG_VERSION").to_owned(), str::to_owned);
    let mut pages = Vec::new();
    let mut commands = vec![program];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|verb| verb.get_name() != "help").cloned());
        pages.push(Page::new(command, &version));
    }
    pages
}

/// One manual page.
struct Page {
    name: String,
    man: Man,
    usage: Roff,
    /// Text after the options.
    text: String,
}

impl Page {
    fn new(mut command: Command, version: &str) -> Self {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let text = command.get_after_long_help().or_else(|| command.get_after_help());
        let text = text.map(ToString::to_string).unwrap_or_default();
        let usage = synopsis(&command.render_usage().to_string());
        let man = Man::new(command).title(name.to_uppercase()).source(format!("bootling {version}")).manual("bootling");
        Self { name, man, usage, text }
    }

    fn get_filename(&self) -> String {
        format!("{}.1", self.name)
    }

    fn render(&self, out: &mut dyn Write) -> io::Result<()> {
        self.man.render_title(out)?;
        self.man.render_name_section(out)?;
        self.usage.to_writer(out)?;
        self.man.render_description_section(out)?;
        self.man.render_options_section(out)?;
        self.man.render_subcommands_section(out)?;
        sections(&self.text).to_writer(out)
    }
}

fn write(page: &Page, path: &Path) -> anyhow::Result<()> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    let mut out = Output::create(path)?;
    out.write_all(&text)?;
    out.finish()?;
    Ok(())
}

/// Returns the synopsis: the usage line of `--help`, since a list of all options is unreadable.
fn synopsis(usage: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).control("nf", []);
    for line in usage.lines() {
        roff.text([roman(line.trim_start_matches("Usage:").trim())]);
    }
    roff.control("fi", []);
    roff
}

/// Converts the text after the options to sections.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut section = String::new();
    for paragraph in text.split("\n\n") {
        let mut lines: Vec<&str> = paragraph.lines().filter(|line| !line.is_empty()).collect();
        let Some(first) = lines.first().copied() else { continue };
        let title = match first.split_once(':') {
            Some((title, "")) if !first.starts_with(' ') => {
                lines.remove(0);
                title
            }
            Some((title @ "Exit status", rest)) => {
                lines[0] = rest;
                title
            }
            // Unindented text below a list of examples does not belong to it.
            _ if section.is_empty() || section == "Examples" && !first.starts_with(' ') => "Notes",
            _ => "",
        };
        if title.is_empty() || title == section {
            roff.control("PP", []);
        } else {
            roff.control("SH", [title.to_uppercase().as_str()]);
            title.clone_into(&mut section);
        }
        let verbatim = section == "Examples" || lines.iter().any(|line| has_columns(line));
        if verbatim {
            roff.control("nf", []);
        }
        for line in lines {
            roff.text([text_line(line, verbatim)]);
        }
        if verbatim {
            roff.control("fi", []);
        }
    }
    roff
}

/// Returns true if `line` has a column, or is an item or part of an item of a list.
fn has_columns(line: &str) -> bool {
    let trimmed = line.trim();
    trimmed.contains("  ") || line.len() - line.trim_start().len() > 2 || trimmed.starts_with("- ")
}

fn text_line(line: &str, verbatim: bool) -> Inline {
    roman(if verbatim { line.trim_end() } else { line.trim() })
}

#[cfg(test)]
mod tests {
    use super::{pages, sections};
    use crate::cli::{Cli, programs};
    use clap::CommandFactory;

    #[test]
    fn every_verb_and_program_has_a_page_with_all_its_options() {
        let pages: Vec<_> = programs().into_iter().flat_map(pages).collect();
        let text_of = |name: &str| {
            let page = pages.iter().find(|page| page.name == name).unwrap_or_else(|| panic!("no page of {name}"));
            let mut text = Vec::new();
            page.render(&mut text).expect("memory");
            String::from_utf8(text).expect("UTF-8")
        };
        for verb in Cli::command().get_subcommands() {
            let text = text_of(&format!("bootling-{}", verb.get_name()));
            for option in verb.get_arguments().filter(|option| !option.is_hide_set()).filter_map(|arg| arg.get_long()) {
                let option = option.replace('-', "\\-");
                assert!(text.contains(&format!("\\-\\-{option}")), "{}: {option}", verb.get_name());
            }
        }
        assert!(text_of("bootling-warm-rm").contains("bootling warm rm"));
        assert!(text_of("make-tiny-image").contains("\\-\\-kmod"));
        assert!(text_of("byebyebios").contains("DIFFERENCES FROM BYEBYEBIOS"));
    }

    #[test]
    fn help_after_the_options_becomes_sections() {
        let text = "Examples:\n  x run        a run\n  x -- -y\n\nOne\nparagraph.\n\nSides:\n  First\n  side.\n\n  Other\n\n\
                    Exit status: 0; or\n2.\n";
        let roff = sections(text).render();
        let body: Vec<&str> = roff.lines().skip_while(|line| !line.starts_with(".SH")).collect();
        assert_eq!(
            body,
            [
                ".SH EXAMPLES",
                ".nf",
                "  x run        a run",
                "  x \\-\\- \\-y",
                ".fi",
                ".SH NOTES",
                "One",
                "paragraph.",
                ".SH SIDES",
                "First",
                "side.",
                ".PP",
                "Other",
                ".SH \"EXIT STATUS\"",
                "0; or",
                "2.",
            ]
        );
    }
}

//! `bootling check`: one file against the table of rules.

mod print;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::opened::{Opened, open};
use super::output;
use crate::check::{Report, Severity, disk, initrd, program, rules};

/// Exit code where a rule is broken that counts.
const BROKEN: u8 = 1;

/// Check a disk image, UKI or initrd against the rules of firmware and tools
///
/// Disk images are raw files, block devices, qcow2 and fixed VHD; they are only read. Each finding names its rule, where
/// it is, who breaks by it and what helps.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling check disk.qcow2
  bootling check --strict --ignore size-mib disk.raw
  bootling check --json uki.efi | jq -r '.findings[] | select(.severity == \"error\") | .rule'
  bootling check --rules

Exit status: 0 without errors, 1 with errors (with --strict: or warnings), 2 for wrong usage, 125 where FILE could not
be checked.
")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct CheckArgs {
    /// The file.
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// Print JSON with all findings.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print errors and warnings only, and nothing where there are none.
    #[arg(short, long)]
    quiet: bool,
    /// Let warnings count like errors.
    #[arg(long)]
    strict: bool,
    /// Leave out a rule; may be given several times.
    #[arg(long, value_name = "RULE", value_parser = known_rule)]
    ignore: Vec<String>,
    /// Print all rules, with who breaks by them and where they come from.
    #[arg(long, conflicts_with_all = ["file", "strict", "ignore", "boot"])]
    rules: bool,
    /// Boot it, too: by BIOS with three consoles, and by UEFI.
    #[arg(long)]
    boot: bool,
}

/// An id, if there is a rule of it.
fn known_rule(id: &str) -> Result<String, String> {
    match rules::by_id(id) {
        Some(rule) => Ok(rule.id.to_owned()),
        None => Err("there is no such rule; --rules prints them".to_owned()),
    }
}

/// Runs the verb.
pub fn run(args: &CheckArgs) -> anyhow::Result<u8> {
    let mut out = output::stdout();
    let Some(file) = args.file.as_deref().filter(|_| !args.rules) else {
        let printed = if args.json { print::rules_json(&mut out) } else { print::rules(&mut out) };
        printed.and_then(|()| out.flush()).context("printing the rules")?;
        return Ok(0);
    };
    if args.boot {
        bail!("check --boot: not built yet");
    }
    let mut report = report(file)?;
    report.ignore(&args.ignore);
    let name = file.display().to_string();
    let printed = match (args.json, args.quiet) {
        (true, _) => print::json(&name, &report, &mut out),
        (false, quiet) => print::text(&name, &report, quiet, &mut out),
    };
    printed.and_then(|()| out.flush()).context("printing what was found")?;
    let warned = args.strict && report.count(Severity::Warning) > 0;
    Ok(if warned || report.count(Severity::Error) > 0 { BROKEN } else { 0 })
}

/// Checks a file as what it is.
fn report(file: &Path) -> anyhow::Result<Report> {
    let name = file.display().to_string();
    let opened = open(file).with_context(|| format!("checking {name}"))?;
    Ok(match opened {
        Opened::Disk(image) => disk(&image, image.sector()),
        Opened::Program(image) => program(&image, &name),
        Opened::Initrd(input) => initrd(input, &name).map_err(|error| {
            let advice = "a compressed disk image has to be unpacked before it can be checked";
            output::advise(anyhow::Error::new(error).context(format!("checking {name}")), advice)
        })?,
    })
}

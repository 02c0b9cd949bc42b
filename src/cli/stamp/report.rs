//! Result of a stamping operation, as text and as JSON.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use super::job::{Job, sector};
use crate::cli::output;
use bootling::disk::stamp::{Action, Facts, Stamp};
use bootling::format::bootsector::{Found, decode_message, recognise};
use bootling::format::mbr::{BOOT_AREA, BOOT_CODE};

/// Format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Summary and notes on standard error.
    Plain,
    /// Notes only.
    Notes,
    /// No output.
    Quiet,
    /// JSON object on standard output.
    Json,
}

/// Result. New versions only add fields.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Image path as given.
    pub image: String,
    /// Output file, if not stamped in place.
    pub output: Option<String>,
    /// `raw`, `block device`, `qcow2`, `VHD`, `gzip`, `xz`, `zstd`
    pub container: String,
    /// Disk size in bytes, if known.
    pub size: Option<u64>,
    /// Sector size in bytes; 512 for an image for both sizes.
    pub sector_size: Option<u64>,
    /// True if the image had to be changed.
    pub changed: bool,
    /// True if nothing was written because of `--dry-run`.
    pub dry_run: bool,
    /// `written`, `restored`, `removed`
    pub deed: &'static str,
    /// Bytes of the new boot code without trailing zeros; at most 440.
    pub bytes_used: usize,
    /// Previous boot code: `nothing`, `bootling`, `byebyebios`, `GRUB`, `unknown`, ...
    pub boot_code_before: String,
    /// True if the partition records changed.
    pub records_changed: bool,
    /// Displayed message, for bootling's boot code.
    pub message: Option<String>,
    /// Objections overridden by `--force`.
    pub overridden: Vec<String>,
    /// Further notes.
    pub notes: Vec<String>,
}

impl Report {
    /// Creates the report.
    pub(crate) fn new(job: &Job<'_>, facts: &Facts, stamp: &Stamp, container: String) -> Self {
        let (before, after) = (boot_code(&stamp.before), boot_code(&stamp.after));
        Self {
            image: job.image.display().to_string(),
            output: None,
            container,
            size: facts.size,
            sector_size: sector(facts).map(bootling::format::SectorSize::bytes),
            changed: stamp.changes(),
            dry_run: job.dry_run,
            deed: match job.wish.deed {
                Action::Write(_) => "written",
                Action::Restore(..) => "restored",
                Action::Remove => "removed",
            },
            bytes_used: after.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
            boot_code_before: match recognise(&before) {
                Found::Nothing => "nothing".to_owned(),
                Found::Ours => "bootling".to_owned(),
                Found::Byebyebios => "byebyebios".to_owned(),
                Found::Loader(name) => name.to_owned(),
                Found::Unknown => "unknown".to_owned(),
            },
            records_changed: stamp.before[BOOT_CODE..] != stamp.after[BOOT_CODE..],
            message: decode_message(&stamp.after[..BOOT_AREA]),
            overridden: stamp.overridden.iter().map(ToString::to_string).collect(),
            notes: stamp.notes.clone(),
        }
    }

    /// Formats the summary.
    fn sentence(&self) -> String {
        let place = match &self.output {
            Some(output) => format!("{output} ({})", self.container),
            None => format!("{} ({})", self.image, self.container),
        };
        if !self.changed {
            let done = if self.output.is_some() { "recompressed, " } else { "" };
            return format!("{place}: {done}no changes necessary");
        }
        let would = if self.dry_run { "would be " } else { "" };
        let deed = self.deed;
        let bytes = match self.deed {
            "removed" => String::new(),
            _ => format!(", {} of {BOOT_CODE} bytes", self.bytes_used),
        };
        let records = if self.records_changed { ", partition records changed" } else { "" };
        format!("{place}: boot sector {would}{deed}{bytes}{records}")
    }
}

fn boot_code(first: &[u8; 512]) -> [u8; BOOT_CODE] {
    let mut code = [0; BOOT_CODE];
    code.copy_from_slice(&first[..BOOT_CODE]);
    code
}

/// Prints the report.
pub(crate) fn print_report(report: &Report, tone: Tone) -> anyhow::Result<()> {
    match tone {
        Tone::Quiet => {}
        Tone::Json => {
            let mut out = output::stdout();
            serde_json::to_writer_pretty(&mut out, report).context("failed to print the report")?;
            writeln!(out).and_then(|()| out.flush()).context("failed to print the report")?;
        }
        Tone::Plain | Tone::Notes => {
            for what in &report.overridden {
                output::note(&format!("{}: overridden: {what}", report.image));
            }
            for note in &report.notes {
                output::note(&format!("{}: {note}", report.image));
            }
            if tone == Tone::Plain {
                output::note(&report.sentence());
            }
        }
    }
    Ok(())
}

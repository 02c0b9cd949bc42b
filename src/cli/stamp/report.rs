//! What came of a stamping: a sentence for people, JSON for scripts.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

use super::job::{Job, sector};
use crate::cli::output;
use bootling::disk::stamp::{Deed, Facts, Stamp};
use bootling::format::bootsector::{Found, decode_message, recognise};
use bootling::format::mbr::BOOT_CODE;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A line, and one for each note.
    Plain,
    /// Notes alone.
    Notes,
    /// Nothing.
    Quiet,
    /// An object on standard output.
    Json,
}

/// What came of it. Fields are only ever added.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The image, as it was named.
    pub image: String,
    /// Where it went, if not in its own place.
    pub output: Option<String>,
    /// `raw`, `block device`, `qcow2`, `VHD`, `gzip`, `xz`, `zstd`
    pub container: String,
    /// Bytes of the disk, where they are known.
    pub size: Option<u64>,
    /// Bytes of its sectors; of both sizes, 512.
    pub sector_size: Option<u64>,
    /// Whether anything had to be done.
    pub changed: bool,
    /// Whether that was left undone.
    pub dry_run: bool,
    /// `written`, `restored`, `removed`
    pub deed: &'static str,
    /// Bytes of boot code now, without the zeros at its end; 440 are the most.
    pub bytes_used: usize,
    /// Whose boot code was there: `nothing`, `bootling`, `byebyebios`, `GRUB`, `unknown`, ...
    pub boot_code_before: String,
    /// Whether the partition records were changed.
    pub records_changed: bool,
    /// What the screen shows, where the code is ours.
    pub message: Option<String>,
    /// What spoke against it, and was overridden.
    pub overridden: Vec<String>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

impl Report {
    /// Puts it together.
    pub fn new(job: &Job<'_>, facts: &Facts, stamp: &Stamp, container: String) -> Self {
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
                Deed::Write(_) => "written",
                Deed::Restore(..) => "restored",
                Deed::Remove => "removed",
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
            message: decode_message(&after),
            overridden: stamp.overridden.iter().map(ToString::to_string).collect(),
            notes: stamp.notes.clone(),
        }
    }

    /// The sentence.
    fn sentence(&self) -> String {
        let place = match &self.output {
            Some(output) => format!("{output} ({})", self.container),
            None => format!("{} ({})", self.image, self.container),
        };
        if !self.changed {
            let done = if self.output.is_some() { "packed anew, and else " } else { "" };
            return format!("{place}: {done}nothing to do, it is as it should be");
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

/// Tells it.
pub fn tell(report: &Report, tone: Tone) -> anyhow::Result<()> {
    match tone {
        Tone::Quiet => {}
        Tone::Json => {
            let mut out = output::stdout();
            serde_json::to_writer_pretty(&mut out, report).context("printing the report")?;
            writeln!(out).and_then(|()| out.flush()).context("printing the report")?;
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

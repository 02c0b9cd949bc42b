//! Result of a stamping operation, as text and as JSON.

use serde::{Deserialize, Serialize};

use super::{Action, Facts, Stamp, StampSpec};
use crate::format::SectorSize;
use crate::format::bootsector::{Found, decode_message, recognize};
use crate::format::mbr::{BOOT_AREA, BOOT_CODE};

/// Version of the JSON result. New fields do not change it.
const VERSION: u32 = 1;

/// Result of stamping an image, as printed by `stamp --json`. New versions only add fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampReport {
    /// Version of this format: 1.
    pub version: u32,
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
    #[serde(rename = "deed")]
    pub action: String,
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

impl StampReport {
    pub(super) fn new(name: String, container: String, spec: &StampSpec, facts: &Facts, stamp: &Stamp) -> Self {
        let (before, after) = (boot_code(&stamp.before), boot_code(&stamp.after));
        // Without a known size, that of the first table.
        let sector = facts.sector.or_else(|| facts.tables.first().map(|table| table.sector));
        Self {
            version: VERSION,
            image: name,
            output: None,
            container,
            size: facts.size,
            sector_size: sector.map(SectorSize::bytes),
            changed: stamp.changes(),
            dry_run: spec.dry_run,
            action: match spec.request.action {
                Action::Write(_) => "written",
                Action::Restore(..) => "restored",
                Action::Remove => "removed",
            }
            .to_owned(),
            bytes_used: after.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
            boot_code_before: match recognize(&before) {
                Found::Nothing => "nothing",
                Found::Bootling => "bootling",
                Found::Byebyebios => "byebyebios",
                Found::Loader(name) => name,
                Found::Unknown => "unknown",
            }
            .to_owned(),
            records_changed: stamp.before[BOOT_CODE..] != stamp.after[BOOT_CODE..],
            message: decode_message(&stamp.after[..BOOT_AREA]),
            overridden: stamp.overridden.iter().map(ToString::to_string).collect(),
            notes: stamp.notes.clone(),
        }
    }

    /// Formats the result as one sentence.
    pub fn summary(&self) -> String {
        let place = match &self.output {
            Some(output) => format!("{output} ({})", self.container),
            None => format!("{} ({})", self.image, self.container),
        };
        if !self.changed {
            let done = if self.output.is_some() { "recompressed, " } else { "" };
            return format!("{place}: {done}no changes necessary");
        }
        let would = if self.dry_run { "would be " } else { "" };
        let action = &self.action;
        let bytes = match action.as_str() {
            "removed" => String::new(),
            _ => format!(", {} of {BOOT_CODE} bytes", self.bytes_used),
        };
        let records = if self.records_changed { ", partition records changed" } else { "" };
        format!("{place}: boot sector {would}{action}{bytes}{records}")
    }
}

fn boot_code(first: &[u8; 512]) -> [u8; BOOT_CODE] {
    let mut code = [0; BOOT_CODE];
    code.copy_from_slice(&first[..BOOT_CODE]);
    code
}

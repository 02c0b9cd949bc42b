//! Boot sector message options, as in `stamp`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output;
use crate::cli::stamp::{fitted, preset, read_message, then};
use bootling::format::bootsector::{Preset, Then};
use bootling::format::mbr::BOOT_CODE;

/// Boot sector options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Boot sector, for a legacy BIOS")]
pub(crate) struct BootSectorArgs {
    /// Show the text in FILE ('-' for standard input): UTF-8, at most 79 columns and 23 rows.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    message: Option<PathBuf>,
    /// Show a predefined text: standard, libvirt, proxmox, ec2 or virtualbox.
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = preset())]
    preset: Preset,
    /// Action after the text: halt, key-reboot (reboot on a key press) or next-device (next boot device after 5
    /// seconds).
    #[arg(long, value_name = "WHAT", default_value = "halt", value_parser = then())]
    then: Then,
}

impl BootSectorArgs {
    /// Returns true if any option differs from its default.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.message.is_some() || self.preset != Preset::Standard || self.then != Then::Halt
    }

    /// Returns the boot code.
    pub(crate) fn code(&self) -> anyhow::Result<[u8; BOOT_CODE]> {
        let message = match &self.message {
            Some(file) => read_message(file)?,
            None => self.preset.message(),
        };
        if let Some(character) = message.beyond_ascii() {
            output::note(&format!("'{character}' is displayed correctly on screens, but not on serial consoles"));
        }
        fitted(&message, self.then)
    }
}

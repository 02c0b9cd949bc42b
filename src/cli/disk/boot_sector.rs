//! What a legacy BIOS gets to show, as `stamp` has it.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output;
use crate::cli::stamp::{fitted, preset, read_message, then};
use bootling::format::bootsector::{Preset, Then};
use bootling::format::mbr::BOOT_CODE;

/// The boot sector's message.
#[derive(Debug, Args)]
#[command(next_help_heading = "Boot sector, for a legacy BIOS")]
pub struct BootSectorArgs {
    /// Show the text in FILE, `-` for standard input: UTF-8, at most 79 columns and 23 rows.
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    message: Option<PathBuf>,
    /// Show a ready-made text: standard, libvirt, proxmox, ec2 or virtualbox.
    #[arg(long, value_name = "NAME", default_value = "standard", value_parser = preset())]
    preset: Preset,
    /// What comes after the text: halt, key-reboot (a key restarts) or next-device (the BIOS goes on, after 5 seconds).
    #[arg(long, value_name = "WHAT", default_value = "halt", value_parser = then())]
    then: Then,
}

impl BootSectorArgs {
    /// Whether anything but the usual is asked for.
    pub fn is_asked_for(&self) -> bool {
        self.message.is_some() || self.preset != Preset::Standard || self.then != Then::Halt
    }

    /// The code.
    pub fn code(&self) -> anyhow::Result<[u8; BOOT_CODE]> {
        let message = match &self.message {
            Some(file) => read_message(file)?,
            None => self.preset.message(),
        };
        if let Some(character) = message.beyond_ascii() {
            output::note(&format!("'{character}' is shown on screens as it should be, but not on serial consoles"));
        }
        fitted(&message, self.then)
    }
}

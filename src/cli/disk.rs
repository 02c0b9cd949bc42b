//! `bootling disk`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

/// Compose an EFI-only disk image that boots the initrd and says so to a legacy BIOS
#[derive(Debug, Args)]
pub struct DiskArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &DiskArgs) -> anyhow::Result<u8> {
    bail!("disk {}: not built yet", args.file.display())
}

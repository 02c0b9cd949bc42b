//! `bootling stamp`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

/// Put a boot sector into an EFI-only image that tells whoever boots it by legacy BIOS that UEFI is needed
#[derive(Debug, Args)]
pub struct StampArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &StampArgs) -> anyhow::Result<u8> {
    bail!("stamp {}: not built yet", args.file.display())
}

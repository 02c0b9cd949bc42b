//! `bootling boot`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

/// Boot any disk image or ISO by UEFI or BIOS, and judge its console
#[derive(Debug, Args)]
pub struct BootDiskArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &BootDiskArgs) -> anyhow::Result<u8> {
    bail!("boot {}: not built yet", args.file.display())
}

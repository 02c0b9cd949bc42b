//! `bootling check`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

/// Check a disk image, UKI or initrd against the rules of firmware and tools
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &CheckArgs) -> anyhow::Result<u8> {
    bail!("check {}: not built yet", args.file.display())
}

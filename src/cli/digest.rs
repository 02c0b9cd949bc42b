//! `bootling digest`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

/// Print the Authenticode digest of an EFI program, to be signed elsewhere
#[derive(Debug, Args)]
pub struct DigestArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the verb.
pub fn run(args: &DigestArgs) -> anyhow::Result<u8> {
    bail!("digest {}: not built yet", args.file.display())
}

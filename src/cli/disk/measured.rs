//! `--measure`: writes the expected TPM measurements of the image to a JSON file next to it.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use bootling::disk::build::EfiProgram;
use bootling::format::measure::{Measured, measure};
use bootling::format::uki::UkiSection;
use bootling::output::file::Output;

/// Predicts the measurements. Refuses boot loaders, since the programs that they load are unknown.
pub(crate) fn of(program: &EfiProgram) -> anyhow::Result<Measured> {
    let measured = measure(&program.content).with_context(|| format!("failed to measure {}", program.what))?;
    // Boot managers also have some of these sections.
    if !measured.sections.iter().any(|section| section.name == UkiSection::Linux.name()) {
        bail!(
            "failed to measure {}: not a unified kernel image, so the programs that it starts are unknown",
            program.what
        );
    }
    Ok(measured)
}

/// Returns the path for the measurements, if requested: the path of the image with a suffix.
pub(crate) fn wanted(measure: bool, image: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let Some(image) = image.filter(|_| measure) else { return Ok(None) };
    let Some(name) = image.file_name().filter(|_| image != "-") else {
        bail!("--measure cannot be used if the image is written to standard output");
    };
    let mut name: OsString = name.to_owned();
    name.push(".pcrs.json");
    Ok(Some(image.with_file_name(name)))
}

/// Writes the measurements to a file that does not have its name yet.
pub(crate) fn write((path, measured): &(PathBuf, Measured)) -> anyhow::Result<Output> {
    let mut output = Output::create(path)?;
    let mut text = serde_json::to_vec_pretty(measured).context("failed to write PCR values")?;
    text.push(b'\n');
    output.write_all(&text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(output)
}

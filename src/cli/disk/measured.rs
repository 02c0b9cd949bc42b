//! `--measure`: what a TPM will have measured of the image, as JSON beside it.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::program::Program;
use bootling::format::measure::{Measured, measure};
use bootling::format::uki::UkiSection;
use bootling::output::file::Output;

/// Predicts it. Refuses programs that go on to load others: what those are is not in their bytes.
pub fn of(program: &Program) -> anyhow::Result<Measured> {
    let measured = measure(&program.content).with_context(|| format!("measuring {}", program.what))?;
    // Boot managers have some of the sections, too.
    if !measured.sections.iter().any(|section| section.name == UkiSection::Linux.name()) {
        bail!("measuring {}: it is no unified kernel image, and what it will start is not to be seen", program.what);
    }
    Ok(measured)
}

/// Where it goes, if it is wanted: beside the image, by its name with more behind it.
pub fn wanted(measure: bool, image: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let Some(image) = image.filter(|_| measure) else { return Ok(None) };
    let Some(name) = image.file_name().filter(|_| image != "-") else {
        bail!("writing PCR values beside the image: it goes to standard output");
    };
    let mut name: OsString = name.to_owned();
    name.push(".pcrs.json");
    Ok(Some(image.with_file_name(name)))
}

/// Writes it, but for its name.
pub fn write((path, measured): &(PathBuf, Measured)) -> anyhow::Result<Output> {
    let mut output = Output::create(path)?;
    let mut text = serde_json::to_vec_pretty(measured).context("writing PCR values")?;
    text.push(b'\n');
    output.write_all(&text).with_context(|| format!("writing {}", path.display()))?;
    Ok(output)
}

//! Writes the image and the files next to it. All are complete before any of them appears; the image appears last.
//!
//! Refuses block devices, and directories in which an accompanying file cannot be created, before anything slow starts.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};

use super::DiskArgs;
use super::measured;
use super::target::Target;
use crate::cli::output;
use crate::cli::progress::Progress;
use bootling::disk::image::{checksums::write_sums, output::emit};
use bootling::format::measure::Measured;
use bootling::output::{extents::Extents, file::Output};

/// Complete files that do not have their names yet.
pub(crate) struct Written {
    outputs: Vec<Output>,
    /// Note to print when the image exists.
    note: String,
}

/// Checks that the image and the files next to it can be written. Block devices are refused, since neither their size
/// nor their users are taken into account.
pub(crate) fn check(args: &DiskArgs) -> anyhow::Result<()> {
    let Some(path) = &args.output else { return Ok(()) };
    let known = if path == "-" { None } else { path.metadata().ok() };
    if known.is_some_and(|known| known.file_type().is_block_device()) {
        let error = anyhow!("failed to write {}: block devices are not supported", path.display());
        let advice = "write to a file, copy it with `dd if=FILE of=DEVICE bs=4M conv=fsync`, and move the backup table \
                      to the end of the device with `sgdisk -e DEVICE`";
        return Err(output::advise(error, advice));
    }
    if args.checksums {
        name(path)?;
    }
    Ok(())
}

/// Writes all files.
pub(crate) fn write(
    args: &DiskArgs,
    path: &Path,
    target: &Target,
    image: &Extents,
    pcrs: Option<&(PathBuf, Measured)>,
) -> anyhow::Result<Written> {
    // Report errors in the accompanying files before the image takes time.
    let mut outputs: Vec<Output> = pcrs.map(measured::write).transpose()?.into_iter().collect();
    let mut output = Output::create(path)?;
    let mut progress = Progress::new(false);
    progress.show(&format!("writing {}", path.display()));
    let emitted = emit(image, &mut output, target.compression, args.checksums)?;
    progress.clear();
    if args.checksums {
        let name = name(path)?;
        let directory = path.parent().filter(|parent| *parent != "").unwrap_or(Path::new("."));
        let inner = emitted.inner.map(|digest| (target.inner_name(name), digest));
        let outer = emitted.digest.map(|digest| (name.to_owned(), digest));
        let lines: Vec<_> = outer.into_iter().chain(inner).collect();
        outputs.push(write_sums(directory, &lines)?);
    }
    outputs.push(output);
    let note = format!("{}: {}, {} bytes", path.display(), target.format.name(), emitted.bytes);
    Ok(Written { outputs, note })
}

impl Written {
    /// Renames all files to their final names.
    pub(crate) fn finish(self, args: &DiskArgs, start: Instant) -> anyhow::Result<()> {
        for output in self.outputs {
            output.finish()?;
        }
        if args.verbose {
            let time = start.elapsed().as_secs_f64() * 1000.0;
            output::note(&format!("{}, {time:.1} ms", self.note));
        }
        Ok(())
    }
}

/// Returns the name of the image in SHA256SUMS.
fn name(path: &Path) -> anyhow::Result<&str> {
    ensure!(
        path != "-" && path.file_name().is_some(),
        "--checksums cannot be used if the image is written to standard output"
    );
    let name = path.file_name().and_then(|name| name.to_str());
    let name =
        name.with_context(|| format!("failed to write SHA256SUMS: file name {} is not UTF-8", path.display()))?;
    ensure!(!name.contains(['\n', '\\']), "failed to write SHA256SUMS: invalid character in file name {name:?}");
    Ok(name)
}

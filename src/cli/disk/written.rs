//! The image and what stands beside it: each is written whole before any of them appears, the image last.
//!
//! Refuses, before anything takes time, block devices and places where something cannot stand beside the image.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};

use super::DiskArgs;
use super::measured;
use super::target::Target;
use crate::cli::output;
use crate::cli::progress::Progress;
use bootling::disk::writer::{emit, sums::write_sums};
use bootling::format::measure::Measured;
use bootling::output::{extents::Extents, file::Output};

/// Files that have all their bytes and not yet their names.
pub struct Written {
    outputs: Vec<Output>,
    /// What is said of the image once it is there.
    note: String,
}

/// Makes sure that the image can go where it is to go, and what is beside it, too.
pub fn check(args: &DiskArgs) -> anyhow::Result<()> {
    let Some(path) = &args.output else { return Ok(()) };
    let known = if path == "-" { None } else { path.metadata().ok() };
    if known.is_some_and(|known| known.file_type().is_block_device()) {
        let error =
            anyhow!("writing {}: it is a block device, whose size and users an image does not know", path.display());
        let advice = "write a file and copy it: `dd if=FILE of=DEVICE bs=4M conv=fsync`, then `sgdisk -e DEVICE` moves the \
                      backup table to the device's end";
        return Err(output::advise(error, advice));
    }
    if args.checksums {
        name(path)?;
    }
    Ok(())
}

/// Writes everything.
pub fn write(
    args: &DiskArgs,
    path: &Path,
    target: &Target,
    image: &Extents,
    pcrs: Option<&(PathBuf, Measured)>,
) -> anyhow::Result<Written> {
    // What cannot be made beside the image shows before the image takes time.
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
    /// Makes everything appear.
    pub fn finish(self, args: &DiskArgs, start: Instant) -> anyhow::Result<()> {
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

/// The image's name in SHA256SUMS.
fn name(path: &Path) -> anyhow::Result<&str> {
    ensure!(
        path != "-" && path.file_name().is_some(),
        "writing SHA256SUMS: the image goes to standard output, so nothing is beside it"
    );
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("writing SHA256SUMS: {} is not UTF-8", path.display()))?;
    ensure!(!name.contains(['\n', '\\']), "writing SHA256SUMS: {name:?} has characters that it cannot have");
    Ok(name)
}

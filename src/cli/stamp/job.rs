//! One stamping operation, from the image path to the report.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::cli::output;
use bootling::disk::container::{self, Access, Image, Opening, content::Content, error::ImageError, stream};
use bootling::disk::stamp::{Facts, Objection, Stamp, Wish, plan};
use bootling::format::compression::Compression;
use bootling::format::mbr::BOOT_CODE;
use bootling::format::{Medium, SectorSize};
use bootling::output::file::Output;

use super::report::Report;

/// A stamping operation.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// Image path.
    pub image: &'a Path,
    /// Requested changes.
    pub wish: Wish,
    /// Image format; `None` to detect it.
    pub content: Option<Content>,
    /// True if a block device may be in use.
    pub shared: bool,
    /// True to open the backing files of an overlay.
    pub backing: bool,
    /// File for the replaced boot code.
    pub save: Option<&'a Path>,
    /// Output file for a compressed image.
    pub output: Option<&'a Path>,
    /// True to write nothing.
    pub dry_run: bool,
    /// Notes for the report.
    pub notes: Vec<String>,
}

impl Job<'_> {
    /// Stamps the image.
    pub(crate) fn run(mut self) -> anyhow::Result<Report> {
        // Open for reading first: nothing is opened for writing if the image is refused or already stamped.
        let image = match self.open(Access::Read) {
            Ok(image) => image,
            Err(ImageError::Compressed { content: Content::Compressed(compression), .. }) => {
                return self.rewrite(compression);
            }
            Err(error) => return Err(advised(error)),
        };
        let name = image.name().to_owned();
        ensure!(
            self.output.is_none(),
            "failed to stamp {name}: --output requires a compressed image; {} is stamped in place",
            image.container()
        );
        let users = image.users();
        if !users.is_empty() && !self.wish.force && !self.shared {
            return Err(advised(ImageError::InUse { name, who: users.join(", ") }));
        }
        let small = || format!("failed to stamp {name}: {} bytes are too few for a boot sector", image.size());
        ensure!(image.size() >= 512, small());
        let facts = Facts::read(&image, image.sector()).with_context(|| format!("failed to read {name}"))?;
        let stamp = self.plan(&facts)?;
        let mut report = Report::new(&self, &facts, &stamp, image.container().to_string());
        report.notes.extend(users.into_iter().map(|user| format!("{user}; stamped despite this")));
        report
            .notes
            .extend(image.backing().iter().map(|file| format!("backing file {} was only read", file.display())));
        // The lock of this handle would block the next open.
        drop(image);
        if stamp.changes() && !self.dry_run {
            let mut image = self.open(Access::Write).map_err(advised)?;
            self.save(&stamp)?;
            bootling::disk::stamp::apply(&mut image, &stamp)?;
        }
        self.notes.append(&mut report.notes);
        report.notes = self.notes;
        Ok(report)
    }

    fn open(&self, access: Access) -> Result<Image, ImageError> {
        let Self { content, shared, backing, .. } = *self;
        container::open_as(
            self.image,
            Opening { access, content, force: self.wish.force, shared, backing, foreign: false },
        )
    }

    fn plan(&self, facts: &Facts) -> anyhow::Result<Stamp> {
        plan(facts, &self.wish).map_err(|objection: Objection| {
            let advice = objection.advice();
            let name = self.image.display();
            output::advise(anyhow::Error::new(objection).context(format!("failed to stamp {name}")), advice)
        })
    }

    /// Stamps a compressed image: writes a new file, which replaces the old one unless `output` is set.
    fn rewrite(self, compression: Compression) -> anyhow::Result<Report> {
        let name = self.image.display().to_string();
        let squeezed = stream::open(self.image, compression).map_err(|error| match error {
            stream::StreamError::Image(error) => advised(error),
            stream::StreamError::Unpack { .. } | stream::StreamError::Write(_) => error.into(),
        })?;
        ensure!(
            squeezed.begin().len() >= 512,
            "failed to stamp {name}: the decompressed image is too small for a boot sector"
        );
        let facts = Facts::read_begin(&squeezed.begin()).with_context(|| format!("failed to read {name}"))?;
        let stamp = self.plan(&facts)?;
        let mut report = Report::new(&self, &facts, &stamp, compression.to_string());
        let to = self.output.unwrap_or(self.image);
        if self.dry_run || !stamp.changes() && self.output.is_none() {
            return Ok(report);
        }
        if stamp.changes() {
            self.save(&stamp)?;
        }
        let size = squeezed.rewrite(&stamp.after, to)?;
        report.output = self.output.map(|to| to.display().to_string());
        report.size = Some(size);
        let told = facts.told_size();
        if told.is_some_and(|told| told != size) && !facts.tables.is_empty() {
            report.notes.push(format!(
                "decompressed size {size} bytes, but the partition table is for {} bytes",
                told.unwrap_or(0)
            ));
        }
        Ok(report)
    }

    /// Saves the bytes that are about to be overwritten.
    fn save(&self, stamp: &Stamp) -> anyhow::Result<()> {
        let Some(file) = self.save else { return Ok(()) };
        let doing = || format!("failed to save the boot code to {}", file.display());
        // Save the whole sector if the partition records change.
        let kept = if stamp.before[BOOT_CODE..] == stamp.after[BOOT_CODE..] { BOOT_CODE } else { stamp.before.len() };
        let (old, _) = stamp.before.split_at(kept);
        match fs::read(file) {
            Ok(there) if there == old || there == stamp.before => return Ok(()),
            Ok(_) => bail!(output::advise(
                anyhow::anyhow!("file exists with different contents").context(doing()),
                "it may contain the original boot code: choose another file, or remove it"
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(doing),
        }
        let mut output = Output::create(file)?;
        output.write_all(old).with_context(doing)?;
        // The saved bytes must be on disk before the image changes.
        output.file().sync_all().with_context(doing)?;
        output.finish()?;
        Ok(())
    }
}

/// Adds the advice for an error, if any.
fn advised(error: ImageError) -> anyhow::Error {
    match error.advice() {
        Some(advice) => output::advise(error, advice),
        None => error.into(),
    }
}

/// Returns the assumed sector size, for the report.
pub(crate) fn sector(facts: &Facts) -> Option<SectorSize> {
    facts.sector.or_else(|| facts.tables.first().map(|table| table.sector))
}

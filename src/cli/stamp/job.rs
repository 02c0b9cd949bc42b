//! One stamping, from the image's path to what came of it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::cli::output;
use bootling::disk::container::{self, Access, Image, Opening, content::Content, error::ImageError, stream};
use bootling::disk::stamp::{Facts, Objection, Stamp, Wish, plan};
use bootling::format::mbr::BOOT_CODE;
use bootling::format::{Medium, SectorSize};
use bootling::output::file::Output;

use super::report::Report;

/// One stamping.
#[derive(Debug)]
pub struct Job<'a> {
    /// The image.
    pub image: &'a Path,
    /// What is to become of it.
    pub wish: Wish,
    /// What it is, where that is not for its bytes to say.
    pub content: Option<Content>,
    /// Whether a block device may be in use.
    pub shared: bool,
    /// Whether the files that an overlay names are opened.
    pub backing: bool,
    /// Where its boot code is saved.
    pub save: Option<&'a Path>,
    /// Where a compressed one goes.
    pub output: Option<&'a Path>,
    /// Whether nothing is to be written.
    pub dry_run: bool,
    /// What the user should know already.
    pub notes: Vec<String>,
}

impl Job<'_> {
    /// Does it.
    pub fn run(mut self) -> anyhow::Result<Report> {
        // For reading first: what is refused, or needs nothing, is not even opened for writing.
        let image = match self.open(Access::Read) {
            Ok(image) => image,
            Err(ImageError::Compressed { content: Content::Compressed(squeeze), .. }) => return self.rewrite(squeeze),
            Err(error) => return Err(advised(error)),
        };
        let name = image.name().to_owned();
        ensure!(
            self.output.is_none(),
            "stamping {name}: --output is for compressed images; a {} is stamped in place",
            image.container()
        );
        let users = image.users();
        if !users.is_empty() && !self.wish.force && !self.shared {
            return Err(advised(ImageError::InUse { name, who: users.join(", ") }));
        }
        let small = || format!("stamping {name}: it has {} bytes, too few for a boot sector", image.size());
        ensure!(image.size() >= 512, small());
        let facts = Facts::read(&image, image.sector()).with_context(|| format!("reading {name}"))?;
        let stamp = self.plan(&facts)?;
        let mut report = Report::new(&self, &facts, &stamp, image.container().to_string());
        report.notes.extend(users.into_iter().map(|user| format!("{user}; it is stamped all the same")));
        report
            .notes
            .extend(image.backing().iter().map(|file| format!("it stands on {}, which was only read", file.display())));
        // Its own lock would be in the way.
        drop(image);
        if stamp.changes() && !self.dry_run {
            let mut image = self.open(Access::Write).map_err(advised)?;
            self.save(&stamp)?;
            container::apply(&mut image, &stamp)?;
        }
        self.notes.append(&mut report.notes);
        report.notes = self.notes;
        Ok(report)
    }

    fn open(&self, access: Access) -> Result<Image, ImageError> {
        let Self { content, shared, backing, .. } = *self;
        container::open_as(self.image, Opening { access, content, force: self.wish.force, shared, backing })
    }

    fn plan(&self, facts: &Facts) -> anyhow::Result<Stamp> {
        plan(facts, &self.wish).map_err(|objection: Objection| {
            let advice = objection.advice();
            let name = self.image.display();
            output::advise(anyhow::Error::new(objection).context(format!("stamping {name}")), advice)
        })
    }

    /// A compressed image: a new file, in the old one's place or in another.
    fn rewrite(self, squeeze: container::Squeeze) -> anyhow::Result<Report> {
        let name = self.image.display().to_string();
        let squeezed = stream::open(self.image, squeeze).map_err(|error| match error {
            stream::StreamError::Image(error) => advised(error),
            stream::StreamError::Unpack { .. } | stream::StreamError::Write(_) => error.into(),
        })?;
        ensure!(squeezed.begin().len() >= 512, "stamping {name}: it unpacks to too few bytes for a boot sector");
        let facts = Facts::read_begin(&squeezed.begin()).with_context(|| format!("reading {name}"))?;
        let stamp = self.plan(&facts)?;
        let mut report = Report::new(&self, &facts, &stamp, squeeze.to_string());
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
                "it unpacks to {size} bytes, but its partition table is for a disk of {}",
                told.unwrap_or(0)
            ));
        }
        Ok(report)
    }

    /// Keeps what is about to be overwritten.
    fn save(&self, stamp: &Stamp) -> anyhow::Result<()> {
        let Some(file) = self.save else { return Ok(()) };
        let doing = || format!("saving the boot code to {}", file.display());
        // All of the sector where its records change, too.
        let kept = if stamp.before[BOOT_CODE..] == stamp.after[BOOT_CODE..] { BOOT_CODE } else { stamp.before.len() };
        let (old, _) = stamp.before.split_at(kept);
        match fs::read(file) {
            Ok(there) if there == old || there == stamp.before => return Ok(()),
            Ok(_) => bail!(output::advise(
                anyhow::anyhow!("it is there, with other bytes").context(doing()),
                "it may have what was there before the first time: name another file, or remove it"
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(doing),
        }
        let mut output = Output::create(file)?;
        output.write_all(old).with_context(doing)?;
        // It must outlive what happens next.
        output.file().sync_all().with_context(doing)?;
        output.finish()?;
        Ok(())
    }
}

/// With what can be done about it.
fn advised(error: ImageError) -> anyhow::Error {
    match error.advice() {
        Some(advice) => output::advise(error, advice),
        None => error.into(),
    }
}

/// The sectors that a disk is taken to have, for the report.
pub fn sector(facts: &Facts) -> Option<SectorSize> {
    facts.sector.or_else(|| facts.tables.first().map(|table| table.sector))
}

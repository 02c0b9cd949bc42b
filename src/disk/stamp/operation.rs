//! The whole operation of `stamp`: opens an image, stamps it in place or rewrites a compressed one, saves the old boot
//! code, and reports.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::write::apply;
use super::{Facts, Objection, Request, Stamp, StampError, StampReport, plan};
use crate::disk::container::{self, Access, Content, Image, ImageError, Opening, stream};
use crate::format::Medium;
use crate::format::compression::Compression;
use crate::format::mbr::BOOT_CODE;
use crate::output::file::Output;

/// Options for stamping an image file or a block device.
#[derive(Debug, Clone)]
pub struct StampSpec {
    /// Requested changes; [`Request::saved`] is determined by `save`.
    pub request: Request,
    /// Image format; `None` to detect it.
    pub content: Option<Content>,
    /// True if a block device may be in use.
    pub shared: bool,
    /// True to open the backing files of an overlay; see [`Opening::backing`].
    pub backing: bool,
    /// File for the replaced boot code.
    pub save: Option<PathBuf>,
    /// Output file for a compressed image; `None` to replace the image.
    pub output: Option<PathBuf>,
    /// True to write nothing.
    pub dry_run: bool,
}

impl StampSpec {
    /// Returns the safe defaults for a request: detect the format, refuse an image in use, save nothing.
    pub const fn new(request: Request) -> Self {
        Self { request, content: None, shared: false, backing: false, save: None, output: None, dry_run: false }
    }
}

/// Stamps an image file or a block device.
pub fn stamp_image(path: &Path, spec: &StampSpec) -> Result<StampReport, StampError> {
    let request = Request { saved: spec.save.is_some(), ..spec.request };
    Operation { path, name: path.display().to_string(), request, spec }.run()
}

struct Operation<'a> {
    path: &'a Path,
    name: String,
    request: Request,
    spec: &'a StampSpec,
}

impl Operation<'_> {
    fn run(&self) -> Result<StampReport, StampError> {
        // Open for reading first: nothing is opened for writing if the image is refused or already stamped.
        let image = match self.open(Access::Read) {
            Ok(image) => image,
            Err(ImageError::Compressed { content: Content::Compressed(compression), .. }) => {
                return self.rewrite(compression);
            }
            Err(error) => return Err(error.into()),
        };
        if self.spec.output.is_some() {
            return Err(StampError::NotCompressed { name: self.name.clone(), container: image.container() });
        }
        let users = image.users();
        if !users.is_empty() && !self.request.force && !self.spec.shared {
            return Err(ImageError::InUse { name: self.name.clone(), who: users.join(", ") }.into());
        }
        if image.size() < 512 {
            return Err(StampError::TooSmall { name: self.name.clone(), size: image.size() });
        }
        let facts = Facts::read(&image, image.sector()).map_err(|source| self.unreadable(source))?;
        let stamp = self.plan(&facts)?;
        let mut report = self.report(&facts, &stamp, image.container().to_string());
        report.notes.extend(users.into_iter().map(|user| format!("{user}; stamped despite this")));
        let backing = image.backing().iter();
        report.notes.extend(backing.map(|file| format!("backing file {} was only read", file.display())));
        // The lock of this handle would block the next open.
        drop(image);
        if stamp.changes() && !self.spec.dry_run {
            let mut image = self.open(Access::Write)?;
            self.save(&stamp)?;
            apply(&mut image, &stamp)?;
        }
        Ok(report)
    }

    fn open(&self, access: Access) -> Result<Image, ImageError> {
        let StampSpec { content, shared, backing, .. } = *self.spec;
        let force = self.request.force;
        container::open_as(self.path, Opening { access, content, force, shared, backing, foreign: false })
    }

    fn plan(&self, facts: &Facts) -> Result<Stamp, StampError> {
        plan(facts, &self.request)
            .map_err(|objection: Objection| StampError::Refused { name: self.name.clone(), objection })
    }

    fn report(&self, facts: &Facts, stamp: &Stamp, container: String) -> StampReport {
        StampReport::new(self.name.clone(), container, self.spec, facts, stamp)
    }

    fn unreadable(&self, source: io::Error) -> StampError {
        StampError::Read { name: self.name.clone(), source }
    }

    /// Stamps a compressed image: writes a new file, which replaces the old one unless an output is set.
    fn rewrite(&self, compression: Compression) -> Result<StampReport, StampError> {
        let image = stream::open(self.path, compression)?;
        if image.begin().len() < 512 {
            return Err(StampError::TooSmallInside(self.name.clone()));
        }
        let facts = Facts::read_begin(&image.begin()).map_err(|source| self.unreadable(source))?;
        let stamp = self.plan(&facts)?;
        let mut report = self.report(&facts, &stamp, compression.to_string());
        let output = self.spec.output.as_deref();
        if self.spec.dry_run || !stamp.changes() && output.is_none() {
            return Ok(report);
        }
        if stamp.changes() {
            self.save(&stamp)?;
        }
        let size = image.rewrite(&stamp.after, output.unwrap_or(self.path))?;
        report.output = output.map(|path| path.display().to_string());
        report.size = Some(size);
        if let Some(expected) = facts.size_in_table().filter(|expected| *expected != size && !facts.tables.is_empty()) {
            report
                .notes
                .push(format!("decompressed size {size} bytes, but the partition table is for {expected} bytes"));
        }
        Ok(report)
    }

    /// Saves the bytes that are about to be overwritten.
    fn save(&self, stamp: &Stamp) -> Result<(), StampError> {
        let Some(file) = &self.spec.save else { return Ok(()) };
        let failed = |source| StampError::Save { file: file.clone(), source };
        // Save the whole sector if the partition records change.
        let kept = if stamp.before[BOOT_CODE..] == stamp.after[BOOT_CODE..] { BOOT_CODE } else { stamp.before.len() };
        let (old, _) = stamp.before.split_at(kept);
        match fs::read(file) {
            Ok(there) if there == old || there == stamp.before => return Ok(()),
            Ok(_) => return Err(StampError::SaveExists(file.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut output = Output::create(file)?;
        // The saved bytes must be on disk before the image changes.
        output.write_all(old).and_then(|()| output.file().sync_all()).map_err(failed)?;
        Ok(output.finish()?)
    }
}

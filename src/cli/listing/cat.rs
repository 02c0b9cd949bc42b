//! Prints a file on a disk or a CD, or a section of an EFI program.

use std::io::{self, Read, Write};

use anyhow::{Context, anyhow, bail};

use super::{occurrence, section_name};
use bootling::disk::container::Image;
use bootling::disk::opened::Opened;
use bootling::disk::volumes::places;
use bootling::format::fat;
use bootling::format::iso9660;
use bootling::format::pe::Pe;
use bootling::format::{Stream, Window, gpt};

/// Prints the file at `path` on a disk, or the section with that name.
pub(crate) fn cat(opened: Opened, path: &str, out: &mut impl Write) -> anyhow::Result<()> {
    match opened {
        Opened::Disk(image) => cat_disk(&image, path, out),
        Opened::Program(image) => cat_section(&image, path, out),
        Opened::Initrd(_) => bail!("an initrd must be a regular file, because it is read twice"),
    }
}

/// Prints a section: `.cmdline`, or `.cmdline#2` for the second of that name.
fn cat_section(image: &Image, wanted: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let pe = Pe::read(image)?;
    let names: Vec<String> = (0..pe.sections.len())
        .zip(&pe.sections)
        .map(|(index, section)| section_name(&section.name(), occurrence(&pe, index)))
        .collect();
    // `.cmdline#1` is the same as `.cmdline`.
    let plain = wanted.strip_suffix("#1").unwrap_or(wanted);
    let index = names.iter().position(|name| name == plain);
    let section = index.and_then(|index| pe.sections.get(index));
    let section = section.ok_or_else(|| anyhow!("no such section; available: {}", names.join(" ")))?;
    let second = section_name(plain, 2);
    if wanted == plain && names.contains(&second) {
        let count = pe.sections.iter().filter(|section| section.name() == plain).count();
        crate::cli::output::note(&format!("first of {count} sections {plain}; the next one is {second}"));
    }
    let (offset, len) = section.contents();
    copy(Stream::new(Window::new(image, offset, len)), out)
}

/// Prints a file of the ISO 9660 file system, or else of the first FAT file system that contains it.
fn cat_disk(image: &Image, path: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let cd = iso9660::is_iso(image);
    let places = places(image, image.sector());
    let mut failed: Option<anyhow::Error> = None;
    if cd {
        let read = iso9660::Volume::open(image).and_then(|volume| {
            let root = || iso9660::Fault::WrongType(path.to_owned(), "the root directory");
            let entry = volume.find(path)?.ok_or_else(root)?;
            volume.content(&entry).map(|content| copy(content, out))
        });
        match read {
            Ok(copied) => return copied,
            Err(fault) => failed = Some(fault.into()),
        }
    }
    for place in &places {
        let read = place.open(image).and_then(|volume| {
            let root = || fat::Fault::WrongType(path.to_owned(), "the root directory");
            let entry = volume.find(path)?.ok_or_else(root)?;
            volume.content(&entry).map(|content| copy(content, out))
        });
        match read {
            Ok(copied) => return copied,
            Err(fault) => failed = failed.or(Some(fault.into())),
        }
    }
    let unknown = !cd && places.is_empty() && gpt::probe(image).is_empty();
    Err(failed.unwrap_or_else(|| {
        if unknown {
            anyhow!("not an initrd, EFI program, or disk with a FAT or ISO 9660 file system")
        } else {
            anyhow!("no EFI system partition")
        }
    }))
}

fn copy(mut content: impl Read, out: &mut impl Write) -> anyhow::Result<()> {
    io::copy(&mut content, out).context("failed to copy")?;
    Ok(())
}

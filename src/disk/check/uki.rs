//! Checks unified kernel images (UAPI.5): a systemd-stub with sections for kernel, command line and initrd.

use std::collections::HashSet;

use super::rules::efi::{
    UKI_ALIGNMENT, UKI_EMPTY, UKI_FULL, UKI_IN_PLACE, UKI_KERNEL_OLD, UKI_LINUX, UKI_SECTIONS, UKI_STUB, UKI_TWICE,
    UKI_VIRTUAL,
};
use super::{Place, Report, initrd};
use crate::format::pe::{Pe, Section};
use crate::format::uki::{self, UkiSection};
use crate::format::{Medium, Stream, Window};

/// Sections that may occur several times.
const SEVERAL: [&str; 3] = [".dtbauto", ".hwids", ".efifw"];
/// Sections that every UKI should have.
const MISSED: [&str; 4] = [".osrel", ".uname", ".cmdline", ".initrd"];
/// Granularity in which firmware maps and protects memory, in bytes.
const PAGE: u32 = 4096;
/// First version of systemd-stub whose ukify puts sections after `.linux`.
const COPIES: u32 = 257;
/// Longest text of a section that is reported, in bytes.
const TEXT: u64 = 256;

/// Returns the text of a section, truncated to [`TEXT`] bytes; `None` if the section is missing.
fn text<M: Medium>(pe: &Pe, file: &M, name: &str) -> Option<String> {
    let (offset, len) = pe.section(name)?.contents();
    let mut bytes = vec![0; usize::try_from(len.min(TEXT)).ok()?];
    file.read_at(&mut bytes, offset).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned())
}

/// Returns the facts about a program: kind, architecture, size, stub and kernel version.
pub(super) fn facts<M: Medium>(pe: &Pe, file: &M) -> String {
    let kind = if pe.section(".linux").is_some() { "UKI" } else { "EFI program" };
    let mut facts = format!("{kind} for {}, {} bytes", pe.machine, pe.size);
    if let Ok(Some(stub)) = uki::identity(pe, file) {
        facts += ", ";
        facts += &stub;
    }
    if let Some(uname) = text(pe, file, ".uname") {
        facts += ", Linux ";
        facts += &uname;
    }
    facts
}

/// Checks the UKI sections of a program.
pub(super) fn check<M: Medium>(pe: &Pe, file: &M, path: &str, report: &mut Report) {
    let missing: Vec<&str> = MISSED.into_iter().filter(|name| pe.section(name).is_none()).collect();
    if !missing.is_empty() {
        report.add(UKI_SECTIONS, Place::part(path), format!("no {}", missing.join(", no ")));
    }
    if pe.section(".sdmagic").is_none() {
        report.add(UKI_STUB, Place::part(path), "no .sdmagic");
    }
    if room(pe) == 0 {
        report.add(UKI_FULL, Place::part(path).byte(pe.section_table()), "the section table is full");
    }
    let profiles = pe.section(".profile").is_some();
    let mut seen = HashSet::new();
    for section in &pe.sections {
        let name = section.name();
        // Only sections that the stub reads; `.sbat` belongs to the stub itself.
        let known = UkiSection::named(&name).is_some_and(|section| section != UkiSection::Sbat);
        if !known && name != ".sdmagic" {
            continue;
        }
        payload(pe, section, path, report);
        // A table can have 65,535 sections.
        let again = !seen.insert(section.name);
        if again && !profiles && !SEVERAL.contains(&name.as_str()) {
            report.add(UKI_TWICE, Place::section(path, section), format!("duplicate section {name}"));
        }
    }
    if let Some(section) = pe.section(".linux") {
        kernel(pe, section, file, path, report);
    }
    if let Some(section) = pe.section(".initrd") {
        let (offset, len) = section.contents();
        let content = Stream::new(Window::new(file, offset, len));
        initrd::check(content, &format!("{path}, .initrd"), report);
    }
}

/// Returns how many more section headers fit between the section table and the data that follows it.
pub(crate) fn room(pe: &Pe) -> u64 {
    let end = pe.section_table() + 40 * pe.sections.len() as u64;
    let used = pe.sections.iter().filter(|section| section.raw_size > 0).map(|section| section.raw_offset);
    let limit = used.chain(pe.sections.iter().map(|section| section.address)).min().unwrap_or(pe.size_of_headers);
    u64::from(limit).saturating_sub(end) / 40
}

fn payload(pe: &Pe, section: &Section, path: &str, report: &mut Report) {
    let (held, raw) = (section.virtual_size, section.raw_size);
    // The linker placed the stub's own section.
    let own = section.name() == ".sdmagic";
    if held == 0 || raw == 0 {
        report.add(UKI_EMPTY, Place::section(path, section), format!("VirtualSize {held}, SizeOfRawData {raw}"));
    } else if held > raw || raw - held >= pe.file_alignment.max(PAGE) {
        report.add(UKI_VIRTUAL, Place::section(path, section), format!("VirtualSize {held}, SizeOfRawData {raw}"));
    }
    if !own && !section.address.is_multiple_of(PAGE) {
        report.add(UKI_ALIGNMENT, Place::section(path, section), format!("section starts at {:#x}", section.address));
    }
}

/// Returns true if the stub is known to start the kernel from a copy, so that sections may follow it.
fn starts_copy<M: Medium>(pe: &Pe, file: &M) -> bool {
    let identity = uki::identity(pe, file).ok().flatten().unwrap_or_default();
    let version = identity.strip_prefix("systemd-stub ").map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    version.flatten().and_then(|digits| digits.parse().ok()).is_some_and(|version: u32| version >= COPIES)
}

fn kernel<M: Medium>(pe: &Pe, section: &Section, file: &M, path: &str, report: &mut Report) {
    let (offset, len) = section.contents();
    let kernel = match Pe::read(&Window::new(file, offset, len)) {
        Ok(kernel) => kernel,
        Err(error) => {
            report.add(UKI_LINUX, Place::section(path, section), error.to_string());
            return;
        }
    };
    if kernel.machine != pe.machine {
        let what = format!("kernel for {}, stub for {}", kernel.machine, pe.machine);
        report.add(UKI_LINUX, Place::section(path, section), what);
    }
    if kernel.image_version < 1 {
        report.add(UKI_KERNEL_OLD, Place::section(path, section), "MajorImageVersion is 0");
    }
    if starts_copy(pe, file) {
        return;
    }
    let needs = u64::from(section.address) + u64::from(kernel.size_of_image);
    let mut others = pe.sections.iter().filter(|other| other.address > section.address && other.virtual_size > 0);
    if let Some(other) = others.find(|other| u64::from(other.address) < needs) {
        let what = format!("the kernel needs memory up to {needs:#x}, {} is at {:#x}", other.name(), other.address);
        report.add(UKI_IN_PLACE, Place::section(path, section), what);
    }
}

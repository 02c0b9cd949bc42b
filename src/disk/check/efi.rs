//! Checks EFI programs: what firmware verifies before it starts one, including the signature.

use sha2::Sha256;

use super::rules::efi::{
    PE_BROKEN, PE_IMAGE, PE_LARGE, PE_MACHINE, PE_OVERLAP, PE_RAW, PE_SUBSYSTEM, SIGN_NONE, SIGN_STALE,
};
use super::{Place, Report, Subject, uki};
use crate::format::Medium;
use crate::format::pe::{Certificates, Machine, Pe, Section, Tail, digest};

/// `IMAGE_SUBSYSTEM_EFI_APPLICATION`.
const APPLICATION: u16 = 10;
/// DER prefixes of a SHA-256 `DigestInfo` in a signature, with and without parameters.
const SHA256: [&[u8]; 2] = [
    b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20",
    b"\x30\x2f\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x04\x20",
];

/// Checks an EFI program in a separate file; it may be a unified kernel image.
pub fn program(file: &dyn Medium, name: &str) -> Report {
    let mut report = Report::default();
    check(&file, name, None, &mut report);
    report
}

/// Checks the program at `path`, which must be built for `machine`, if that is known.
pub(super) fn check<M: Medium>(file: &M, path: &str, machine: Option<Machine>, report: &mut Report) {
    let place = || Place::part(path);
    let pe = match Pe::read(file) {
        Ok(pe) => pe,
        Err(error) => {
            report.add(PE_BROKEN, place(), error.to_string());
            return;
        }
    };
    report.subjects.push(Subject::new(path, uki::facts(&pe, file)));
    if let Some(machine) = machine.filter(|machine| *machine != pe.machine) {
        report.add(PE_MACHINE, place(), format!("built for {}, file name expects {machine}", pe.machine));
    }
    if pe.subsystem != APPLICATION {
        report.add(PE_SUBSYSTEM, place(), format!("subsystem {}, expected {APPLICATION}", pe.subsystem));
    }
    if pe.size > crate::format::pe::MOST {
        report.add(PE_LARGE, place(), format!("file size is {} bytes", pe.size));
    }
    sections(&pe, path, report);
    signature(&pe, file, path, report);
    if pe.section(".linux").is_some() {
        uki::check(&pe, file, path, report);
    }
}

fn sections(pe: &Pe, path: &str, report: &mut Report) {
    for section in pe.sections.iter().filter(|section| section.memory_end() > u64::from(pe.size_of_image)) {
        let (end, size) = (section.memory_end(), pe.size_of_image);
        report.add(
            PE_IMAGE,
            Place::section(path, section),
            format!("section ends at {end:#x}, SizeOfImage is {size:#x}"),
        );
    }
    let mut by_address: Vec<&Section> = pe.sections.iter().filter(|section| section.virtual_size > 0).collect();
    by_address.sort_by_key(|section| section.address);
    for pair in by_address.windows(2).filter(|pair| pair[0].memory_end() > u64::from(pair[1].address)) {
        let (name, end) = (pair[0].name(), pair[0].memory_end());
        let what = format!("section starts at {:#x}, but {name} ends at {end:#x}", pair[1].address);
        report.add(PE_OVERLAP, Place::section(path, pair[1]), what);
    }
    let mut by_offset: Vec<&Section> = pe.sections.iter().filter(|section| section.raw_size > 0).collect();
    by_offset.sort_by_key(|section| section.raw_offset);
    for pair in by_offset.windows(2).filter(|pair| pair[0].raw_end() > u64::from(pair[1].raw_offset)) {
        let (name, end) = (pair[0].name(), pair[0].raw_end());
        let what = format!("section starts at byte {}, but {name} ends at byte {end}", pair[1].raw_offset);
        report.add(PE_RAW, Place::section(path, pair[1]), what);
    }
}

fn signature<M: Medium>(pe: &Pe, file: &M, path: &str, report: &mut Report) {
    let place = || Place::part(path);
    let certificates = match Certificates::read(pe, file) {
        Ok(certificates) => certificates,
        Err(error) => {
            report.add(PE_BROKEN, place(), error.to_string());
            return;
        }
    };
    if certificates.pkcs7.is_empty() {
        report.add(SIGN_NONE, place(), "no signature");
        return;
    }
    let digested = match digest::<Sha256>(pe, file, Tail::Unpadded) {
        Ok(digested) => digested,
        Err(error) => {
            report.add(PE_BROKEN, place(), format!("failed to compute the signed digest: {error}"));
            return;
        }
    };
    // Only SHA-256 signatures can be verified here.
    let told: Vec<&[u8]> = certificates.pkcs7.iter().filter_map(|pkcs7| signed_digest(pkcs7)).collect();
    if !told.is_empty() && told.iter().all(|told| *told != digested.digest) {
        report.add(SIGN_STALE, place(), "no signature matches the digest of the file");
    }
}

/// Returns the SHA-256 digest of the program in a signature.
fn signed_digest(pkcs7: &[u8]) -> Option<&[u8]> {
    SHA256.iter().find_map(|prefix| {
        let at = pkcs7.windows(prefix.len()).position(|window| window == *prefix)? + prefix.len();
        pkcs7.get(at..at + 32)
    })
}

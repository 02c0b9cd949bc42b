//! Checks initrds: readable to the end, with an executable `/init`.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use super::rules::initrd::{INITRD_BROKEN, INITRD_CUT, INITRD_INIT};
use super::{Place, Report, Subject};
use crate::format::archive_path::ArchivePath;
use crate::format::newc::{ReadError, walk_within};
use crate::initrd::entry::type_and_permissions;

/// Maximum entries read per initrd. The [`Report`] limits the unpacked bytes of all initrds.
const MOST_ENTRIES: u64 = 1_000_000;

/// Checks an initrd in a separate file. Fails if the file is not an initrd, that is, if no member is readable.
pub fn initrd(input: impl Read, name: &str) -> Result<Report, ReadError> {
    let mut report = Report::default();
    match survey(input, &mut report) {
        Survey { entries: 0, error: Some(error), .. } => return Err(error),
        survey => report_survey(survey, name, &mut report),
    }
    Ok(report)
}

/// Checks an initrd inside another file.
pub(super) fn check(input: impl Read, name: &str, report: &mut Report) {
    let seen = survey(input, report);
    report_survey(seen, name, report);
}

/// Result of one pass over an initrd.
#[derive(Debug, Default)]
struct Survey {
    entries: u64,
    bytes: u64,
    segments: usize,
    /// Mode of the last `/init`.
    init: Option<u32>,
    cut: bool,
    error: Option<ReadError>,
}

fn survey(input: impl Read, report: &mut Report) -> Survey {
    let mut seen = Survey::default();
    let init = ArchivePath::new("init");
    let left = Cell::new(report.unpackable);
    let walked = walk_within(input, &left, &mut |member, data| {
        seen.entries += 1;
        seen.segments = member.segment.number;
        if ArchivePath::new(OsStr::from_bytes(&member.name)) == init {
            seen.init = Some(member.header.mode);
        }
        seen.bytes += io::copy(data, &mut io::sink())?;
        seen.cut = seen.entries >= MOST_ENTRIES;
        Ok(if seen.cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    report.unpackable = left.get();
    // An error at the byte limit is not a fault of the initrd.
    seen.cut |= walked.is_err() && report.unpackable == 0;
    seen.error = walked.err().filter(|_| !seen.cut);
    seen
}

fn report_survey(seen: Survey, name: &str, report: &mut Report) {
    let place = || Place::part(name);
    let Survey { entries, bytes, segments, init, cut, error } = seen;
    let plural = if segments == 1 { "" } else { "s" };
    let facts = format!("initrd, {entries} entries, {bytes} bytes in {segments} segment{plural}");
    report.subjects.push(Subject::new(name, facts));
    if let Some(error) = &error {
        report.add(INITRD_BROKEN, place(), error.to_string());
    }
    if cut {
        report.add(INITRD_CUT, place(), format!("checked {entries} entries and {bytes} bytes"));
    }
    // The part that was not read may contain /init.
    if error.is_some() || cut {
        return;
    }
    match init {
        None => report.add(INITRD_INIT, place(), "no /init"),
        // Only the kernel can resolve a symbolic link.
        Some(mode) if mode & 0o170_000 == 0o120_000 => {}
        Some(mode) if mode & 0o170_000 == 0o100_000 && mode & 0o111 != 0 => {}
        Some(mode) => report.add(INITRD_INIT, place(), format!("/init is {}", type_and_permissions(mode))),
    }
}

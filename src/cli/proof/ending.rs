//! Success conditions of a UEFI boot, which depend on the system that firmware starts.
//!
//! A disk was built by bootling if the default EFI program contains an initrd with a job for bootling's pid 1. All data
//! is untrusted; a disk that cannot be read is treated as foreign.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use regex::bytes::Regex;

use bootling::disk::container::Image;
use bootling::disk::volumes::places;
use bootling::format::archive_path::ArchivePath;
use bootling::format::fat::Volume;
use bootling::format::newc::walk;
use bootling::format::pe::{Machine, Pe};
use bootling::format::protocol::job;
use bootling::format::{Medium, Stream, Window};
use bootling::guest::expect::Expectations;

/// Maximum number of EFI system partitions to check.
const MOST_VOLUMES: usize = 4;
/// Maximum amount of an initrd to check.
const MOST_ENTRIES: u64 = 1_000_000;
const MOST_BYTES: u64 = 4 << 30;

/// Success condition of a UEFI boot.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    /// bootling's pid 1 reports that the command exited with status 0.
    Status,
    /// A line of the console matches.
    Line(Regex),
    /// The firmware starts a program from the disk.
    HandOver,
}

impl Ending {
    /// Returns the condition for a disk: `Status` if bootling's pid 1 is on it, else `HandOver`.
    pub(crate) fn of(image: &Image) -> Self {
        let places = places(image, image.sector()).into_iter().take(MOST_VOLUMES);
        if places.filter_map(|place| place.open(image).ok()).any(|volume| starts_bootling(&volume)) {
            Self::Status
        } else {
            Self::HandOver
        }
    }

    /// Returns the expected and the rejected patterns.
    pub(crate) fn expectations(&self) -> anyhow::Result<Expectations> {
        let regex = |text: &str| Regex::new(text).context("invalid built-in pattern");
        // EDK2, `MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c` and `BdsDxe`: both lines are the same in all
        // versions.
        let shell = regex("BdsDxe: starting Boot[0-9A-F]{4} \"EFI Internal Shell\"")?;
        let (wanted, rejected) = match self {
            Self::Status => (regex("bootling: (?:exited with status|killed by signal) [0-9]+")?, vec![shell]),
            Self::Line(line) => (line.clone(), Vec::new()),
            // Programs from a firmware volume, `Fv(...)`, belong to the firmware: its setup or its shell.
            Self::HandOver => {
                (regex("BdsDxe: starting Boot[0-9A-F]{4} \".*\" from (?:[^F\\s]|F[^v\\s]|Fv[^(\\s])")?, vec![shell])
            }
        };
        Ok(Expectations::new(vec![wanted], Vec::new(), rejected))
    }

    /// Describes the expected text.
    pub(crate) const fn expected_text(&self) -> &'static str {
        match self {
            Self::Status => "the exit status of bootling's command in the image",
            Self::Line(_) => "a line that matches --expect",
            Self::HandOver => "the firmware to start the disk, since the image contains no command of bootling",
        }
    }

    /// Returns true if the matching line means success, and the details to report.
    pub(crate) fn judge_line(&self, line: &str) -> (bool, String) {
        match self {
            Self::Status => {
                (line.ends_with("exited with status 0"), format!("{line} (waited for the command in the image)"))
            }
            Self::Line(_) => (true, format!("{line:?} matches --expect")),
            Self::HandOver => {
                (true, format!("started by the firmware (the image contains no command of bootling): {line}"))
            }
        }
    }
}

/// Returns true if firmware's default program in a file system contains bootling's pid 1 and a job.
fn starts_bootling<M: Medium>(volume: &Volume<M>) -> bool {
    // The machine is a 64-bit PC, which starts no programs for other machine types.
    let Some(name) = Machine::X64.default_loader() else { return false };
    let Ok(Some(entry)) = volume.find(&format!("EFI/BOOT/{name}")) else { return false };
    let Ok(program) = volume.content(&entry) else { return false };
    let Ok(pe) = Pe::read(&program) else { return false };
    let Some(initrd) = pe.section(".initrd") else { return false };
    let (offset, len) = initrd.contents();
    has_job(Stream::new(Window::new(&program, offset, len)))
}

/// Returns true if an initrd contains the job, as far as it can be read.
fn has_job(initrd: impl io::Read) -> bool {
    let job = ArchivePath::new(OsStr::from_bytes(job::PATH.as_bytes()));
    let (mut entries, mut bytes, mut found) = (0, 0, false);
    // Ignore errors: data after the job is irrelevant here, and without a job the disk is treated as foreign.
    let _ = walk(initrd, &mut |member, data| {
        entries += 1;
        found = ArchivePath::new(OsStr::from_bytes(&member.name)) == job;
        bytes += io::copy(&mut io::Read::take(data, MOST_BYTES - bytes), &mut io::sink())?;
        let enough = found || entries >= MOST_ENTRIES || bytes >= MOST_BYTES;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    found
}

#[cfg(test)]
mod tests {
    use super::{Ending, has_job};
    use bootling::format::protocol::job;
    use bootling::guest::expect::Sighting;

    /// An archive with one empty file.
    fn archive(name: &str) -> Vec<u8> {
        let mut archive = Vec::new();
        for name in [name, "TRAILER!!!"] {
            let fields = [1, 0o100_644, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() + 1, 0];
            archive.extend(b"070701");
            archive.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
            archive.extend(name.as_bytes());
            archive.push(0);
            archive.resize(archive.len().next_multiple_of(4), 0);
        }
        archive
    }

    #[test]
    fn a_job_is_found_in_compressed_archives_at_its_exact_path() {
        let ours = archive(job::PATH.trim_start_matches('/'));
        assert!(has_job(&ours[..]));
        assert!(has_job(&zstd::encode_all(&ours[..], 1).expect("memory")[..]));
        let named = archive("bin/.bootling/job");
        assert!(!has_job(&named[..]) && !has_job(&ours[..20]) && !has_job(&b""[..]));
    }

    #[test]
    fn a_program_from_the_firmware_volume_does_not_count_as_a_disk_boot() {
        let seen = |line: &str| {
            let mut expectations = Ending::HandOver.expectations().expect("patterns");
            expectations.feed(format!("{line}\r\n").as_bytes())
        };
        let own = "BdsDxe: starting Boot0000 \"UiApp\" from Fv(7CB8BDC9-F8EB-4F34-AAEA-3EE4AF6516A1)/FvFile(462C)";
        assert!(seen(own).is_none());
        let disk = "BdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0)";
        assert!(matches!(seen(disk), Some(Sighting::Met(_))));
    }
}

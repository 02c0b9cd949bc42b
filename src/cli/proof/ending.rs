//! How a boot by UEFI ends well: what is waited for depends on whose system it is that firmware starts.
//!
//! A disk is ours where the program that firmware starts by default has an initrd with our pid 1's job in it. All of that
//! is read as untrusted bytes; what cannot be read is not ours.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use anyhow::Context;
use regex::bytes::Regex;

use crate::cli::listing::volumes;
use bootling::disk::container::Image;
use bootling::format::archive_path::ArchivePath;
use bootling::format::fat::Volume;
use bootling::format::newc::walk;
use bootling::format::pe::{Machine, Pe};
use bootling::format::protocol::job;
use bootling::format::{Medium, Stream, Window, gpt};
use bootling::guest::expect::Expectations;

/// EFI system partitions that are looked at.
const MOST_VOLUMES: usize = 4;
/// How much of an initrd is looked at.
const MOST_ENTRIES: u64 = 1_000_000;
const MOST_BYTES: u64 = 4 << 30;

/// How a boot by UEFI ends well.
#[derive(Debug, Clone)]
pub enum Ending {
    /// Our pid 1 tells that the command ended with status 0.
    Status,
    /// A line of the console matches.
    Line(Regex),
    /// The firmware starts a program of the disk.
    HandOver,
}

impl Ending {
    /// The ending that suits a disk: the command's, where our pid 1 is on it, else the hand-over.
    pub fn of(image: &Image) -> Self {
        let tables = gpt::probe(image);
        let volumes = volumes(image, tables.first()).into_iter().take(MOST_VOLUMES).flatten();
        if volumes.into_iter().any(|esp| starts_ours(&esp.volume)) { Self::Status } else { Self::HandOver }
    }

    /// What is waited for, and what must not come.
    pub fn expectations(&self) -> anyhow::Result<Expectations> {
        let regex = |text: &str| Regex::new(text).context("reading a pattern of our own");
        // EDK2, `MdeModulePkg/Library/UefiBootManagerLib/BmBoot.c` and `BdsDxe`: both lines of every version so far.
        let shell = regex("BdsDxe: starting Boot[0-9A-F]{4} \"EFI Internal Shell\"")?;
        let (wanted, rejected) = match self {
            Self::Status => (regex("bootling: (?:exited with status|killed by signal) [0-9]+")?, vec![shell]),
            Self::Line(line) => (line.clone(), Vec::new()),
            // What comes out of a firmware volume, `Fv(...)`, is the firmware's own: its setup, its shell.
            Self::HandOver => {
                (regex("BdsDxe: starting Boot[0-9A-F]{4} \".*\" from (?:[^F\\s]|F[^v\\s]|Fv[^(\\s])")?, vec![shell])
            }
        };
        Ok(Expectations::new(vec![wanted], Vec::new(), rejected))
    }

    /// What is waited for, in words.
    pub const fn wants(&self) -> &'static str {
        match self {
            Self::Status => "the status of bootling's command, which is on it",
            Self::Line(_) => "the line that --expect names",
            Self::HandOver => "the firmware starting it, since no command of bootling's was found on it",
        }
    }

    /// Whether the line that came means success, and what is told of it.
    pub fn says(&self, line: &str) -> (bool, String) {
        match self {
            Self::Status => (line.ends_with("exited with status 0"), format!("{line} (waited for its command)")),
            Self::Line(_) => (true, format!("it said {line:?} (waited for --expect)")),
            Self::HandOver => {
                (true, format!("the firmware started it (no command of bootling's was found to wait for): {line}"))
            }
        }
    }
}

/// Whether firmware's default program on a volume brings our pid 1 and its job.
fn starts_ours<M: Medium>(volume: &Volume<M>) -> bool {
    // The machine is a 64-bit PC: programs for others are not started, whosever they are.
    let Some(name) = Machine::X64.default_loader() else { return false };
    let Ok(Some(entry)) = volume.find(&format!("EFI/BOOT/{name}")) else { return false };
    let Ok(program) = volume.content(&entry) else { return false };
    let Ok(pe) = Pe::read(&program) else { return false };
    let Some(initrd) = pe.section(".initrd") else { return false };
    let (offset, len) = initrd.contents();
    has_job(Stream::new(Window::new(&program, offset, len)))
}

/// Whether an initrd has the job, up to where it can be read.
fn has_job(initrd: impl io::Read) -> bool {
    let job = ArchivePath::new(OsStr::from_bytes(job::PATH.as_bytes()));
    let (mut entries, mut bytes, mut found) = (0, 0, false);
    // What is broken behind the job is the kernel's to complain of; without the job it is not ours.
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
    fn a_job_is_found_packed_and_only_where_it_is_a_file_of_its_own() {
        let ours = archive(job::PATH.trim_start_matches('/'));
        assert!(has_job(&ours[..]));
        assert!(has_job(&zstd::encode_all(&ours[..], 1).expect("memory")[..]));
        let named = archive("bin/.bootling/job");
        assert!(!has_job(&named[..]) && !has_job(&ours[..20]) && !has_job(&b""[..]));
    }

    #[test]
    fn firmware_that_starts_a_program_of_its_own_has_not_started_the_disk() {
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

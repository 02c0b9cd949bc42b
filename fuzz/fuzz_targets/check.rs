//! Checks arbitrary bytes as a disk, an EFI program and an initrd: bounded memory, no panic, and a bounded number of
//! findings.

#![no_main]

use bootling::disk::check::disk;
use bootling::disk::check::initrd;
use bootling::disk::check::program;
use bootling::format::SectorSize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let reports = [disk(&bytes, None), disk(&bytes, Some(SectorSize::S4096)), program(&bytes, "x")];
    for report in reports.into_iter().chain(initrd(bytes, "x")) {
        assert!(report.findings.len() < 1000);
        for finding in report.findings {
            assert!(!finding.what.is_empty());
        }
    }
});

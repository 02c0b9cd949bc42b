//! Reads the partition tables of an arbitrary disk or refuses them: bounded memory, and a stamp changes only boot code,
//! and adds the boot signature.

#![no_main]

use bootling::disk::stamp::Action;
use bootling::disk::stamp::Facts;
use bootling::disk::stamp::Request;
use bootling::disk::stamp::plan;
use bootling::format::gpt::probe;
use bootling::format::mbr::BOOT_CODE;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for table in probe(&bytes) {
        for partition in &table.partitions {
            let _ = partition.span(table.sector);
        }
    }
    let Ok(facts) = Facts::read(&bytes, None) else { return };
    let write = Request::new(Action::Write([0x90; BOOT_CODE]));
    for (fix_mbr, force) in [(false, false), (false, true), (true, true)] {
        if let Ok(stamp) = plan(&facts, &Request { fix_mbr, force, saved: fix_mbr, ..write }) {
            // A stamp adds the boot signature.
            assert!(fix_mbr || stamp.after[BOOT_CODE..510] == stamp.before[BOOT_CODE..510]);
            assert_eq!(stamp.after[510..], [0x55, 0xAA]);
        }
    }
});

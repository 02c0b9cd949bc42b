//! Reads, extends, digests, measures and signs arbitrary bytes as an EFI program.
#![no_main]

use bootling::format::measure::measure;
use bootling::format::pe::Certificates;
use bootling::format::pe::MOST;
use bootling::format::pe::NewSection;
use bootling::format::pe::Pe;
use bootling::format::pe::append;
use bootling::format::pe::attach;
use bootling::format::pe::authenticode_ranges;
use bootling::format::uki::StubInfo;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Mutations rarely produce the two magic numbers.
    let mut file = bytes.to_vec();
    if file.len() >= 0x100 {
        file[..2].copy_from_slice(b"MZ");
        file[0x3c..0x40].copy_from_slice(&[0x40, 0, 0, 0]);
        file[0x40..0x44].copy_from_slice(b"PE\0\0");
        let magic = [0x0b, if file[0x58] & 1 == 0 { 2 } else { 1 }];
        file[0x58..0x5a].copy_from_slice(&magic);
    }
    let Ok(pe) = Pe::read(&file) else { return };
    let size = file.len() as u64;
    assert!(pe.sections.iter().all(|section| section.raw_size == 0 || section.raw_end() <= size));
    let _ = StubInfo::read(&pe, &file);
    let _ = Certificates::read(&pe, &file);
    if let Ok(ranges) = authenticode_ranges(&pe) {
        assert!(ranges.iter().all(|range| range.end <= size));
        // A section may declare up to 4 GiB of zeros after its data.
        if pe.sections.iter().all(|section| section.virtual_size < 1 << 20) {
            let _ = measure(&file);
        }
    }
    let _ = attach(&pe, b"signature");
    let new = |name| NewSection { name, size: 1000, code: false };
    if let Ok(appended) = append(&file, &[new(".initrd"), new(".linux")]) {
        assert!(appended.size <= MOST);
        let again = Pe::parse(&appended.head, appended.size).expect("what we write we can read");
        assert_eq!(again.sections.len(), pe.sections.len() + 2);
    }
});

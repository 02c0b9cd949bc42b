//! Opens, walks and reads arbitrary bytes as an ISO 9660 volume with a boot catalog: bounded memory, no panic.

#![no_main]

use std::io;

use bootling::format::Medium;
use bootling::format::iso9660::Volume;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The descriptors are at byte 32768. An input without the 16 sectors before them mutates better.
    let image = [&[0; 16 * 2048], bytes].concat();
    let Ok(volume) = Volume::open(&image) else { return };
    for entry in volume.boot_entries().unwrap_or_default() {
        let (start, len) = entry.span(image.len() as u64);
        assert!(len == 0 || start + len <= image.len() as u64);
    }
    for node in &volume.tree().nodes {
        if let Ok(mut content) = volume.content(&node.entry) {
            assert_eq!(content.size(), node.entry.size);
            let copied = io::copy(&mut content, &mut io::sink());
            assert!(copied.is_err() || copied.is_ok_and(|count| count == node.entry.size));
        }
    }
});

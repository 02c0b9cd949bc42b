//! Opens, walks and reads arbitrary bytes as a FAT volume: bounded memory, no panic.

#![no_main]

use std::io;

use bootling::format::Medium;
use bootling::format::fat::Volume;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(volume) = Volume::open(bytes) else { return };
    let tree = volume.tree();
    assert!(tree.used <= volume.geometry().clusters);
    for (index, node) in tree.nodes.iter().enumerate() {
        assert!(!tree.path(Some(index)).is_empty());
        if let Ok(mut content) = volume.content(&node.entry) {
            assert_eq!(content.size(), u64::from(node.entry.size));
            // The volume may declare a larger size than the input has.
            let copied = io::copy(&mut content, &mut io::sink());
            assert!(copied.is_err() || copied.is_ok_and(|count| count == u64::from(node.entry.size)));
        }
    }
});

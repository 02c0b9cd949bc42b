//! Arbitrary bytes as a bundle: reading terminates in bounded memory without a panic, and accepts only valid bundles.

#![no_main]

use std::fs::File;
use std::io::Write;

use bootling::regress::bundle::{is_bundle, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file: File = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    drop(is_bundle(&mut file));
    match read(&mut file) {
        Ok(bundle) => {
            assert!(bundle.path("kernel").is_some() && bundle.path("initrd").is_some());
            let machine = &bundle.manifest.machine;
            assert!(machine.boot_spec(false).is_err() || machine.privileged_arguments().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

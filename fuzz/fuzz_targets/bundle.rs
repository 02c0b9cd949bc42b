//! Reads arbitrary bytes as a bundle: bounded memory, no panic, and only verified files are returned.

#![no_main]

use std::fs::File;
use std::io::Write;

use bootling::regress::bundle::is_bundle;
use bootling::regress::bundle::needs_leave;
use bootling::regress::bundle::read;
use bootling::regress::bundle::vetted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut file: File = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    drop(is_bundle(&mut file));
    match read(&mut file) {
        Ok(bundle) => {
            assert!(bundle.path("kernel").is_some() && bundle.path("initrd").is_some());
            let machine = &bundle.manifest.machine;
            assert!(vetted(machine, false).is_err() || needs_leave(machine).is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

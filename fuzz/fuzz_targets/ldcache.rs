//! Reads arbitrary bytes as `/etc/ld.so.cache`: entries or none, no panic.

#![no_main]

use std::ffi::OsStr;

use bootling::arch::Arch;
use bootling::format::ldcache::LdCache;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(cache) = LdCache::parse(bytes.to_vec()) {
        for arch in Arch::ALL {
            for entry in cache.entries(OsStr::new("libc.so.6"), arch) {
                assert!(entry.path.starts_with(b"/"), "a path that is not absolute");
            }
        }
    }
});

//! Unpacks arbitrary bytes as a Debian package, and as the tar archive inside one.
#![no_main]

use std::io::{Read, Write};

use bootling::root::kernel::fuzzed::data_member;
use bootling::root::kernel::fuzzed::tar_of;
use bootling::root::kernel::fuzzed::unpack;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let into = dir.path().join("into");
    std::fs::create_dir(&into).expect("a directory");
    let _ = unpack(bytes, &into);
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    if let Ok((name, member)) = data_member(&file, bytes.len() as u64)
        && let Ok(tar) = tar_of(&name, member)
    {
        let again = dir.path().join("again");
        std::fs::create_dir(&again).expect("a directory");
        let _ = unpack(tar.take(16 << 20), &again);
    }
    // No other file may exist beside the two directories.
    let beside = std::fs::read_dir(dir.path()).expect("listed").count();
    assert!(beside <= 2, "a package wrote outside its directory");
});

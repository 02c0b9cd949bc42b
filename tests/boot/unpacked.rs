//! An archive unpacked by the kernel: names, links, modes and contents, checked in the guest.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("writable directory");
}

/// Creates files that are hard to archive.
fn plant(tree: &Path) {
    fs::create_dir_all(tree.join("deep/er/est")).expect("writable directory");
    for len in [0, 1, 2, 3, 4, 5, 4095, 4096, 4097, 70_000, 3_000_001] {
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        fs::write(tree.join(format!("deep/size-{len}")), bytes).expect("writable directory");
    }
    for name in [&b".hidden"[..], b"with space", b"new\nline", b"\xff\xfe-not-utf-8", b"TRAILER!!!", b"-n"] {
        fs::write(tree.join(OsStr::from_bytes(name)), name).expect("writable directory");
    }
    fs::write(tree.join("deep/er/est/.dot"), "dot").expect("writable directory");
    fs::hard_link(tree.join("deep/size-70000"), tree.join("deep/er/linked")).expect("writable directory");
    symlink("../size-4097", tree.join("deep/er/link")).expect("writable directory");
    symlink("nowhere", tree.join("dangling")).expect("writable directory");
    mode(&tree.join("deep/size-5"), 0o4755);
    mode(&tree.join("deep/size-4"), 0o400);
    mode(&tree.join("deep/er/est"), 0o1777);
}

/// Script that lists a tree on the host and in the guest: type, mode, link target or checksum, and hard links.
const MANIFEST: &str = "cd \"$1\" || exit 1
find . -type f -exec sha256sum {} + | sort
find . -type l -exec readlink {} + | sort
find . \\( -type f -o -type d \\) -exec stat -c '%a %F %n' {} + | sort
find . -type f -links +1 | sort";

#[test]
fn the_kernel_unpacks_the_copied_tree() {
    let scratch = scratch();
    let tree = scratch.path().join("tree");
    plant(&tree);
    let here = Command::new("busybox").args(["sh", "-c", MANIFEST, "sh"]).arg(&tree).env("LC_ALL", "C").output();
    let here = here.expect("busybox is installed").stdout;
    assert!(here.len() > 1500, "{}", String::from_utf8_lossy(&here));
    let copy = format!("{}=/tree", tree.display());
    for kernel in [Kernel::Generic61, Kernel::Generic612] {
        let Some(program) = Program::run(kernel, "the_kernel_unpacks_the_copied_tree") else { return };
        let done =
            program.args(["--copy", &copy, "--", "busybox", "sh", "-c", MANIFEST, "sh", "/tree"]).done().exits(0);
        assert_eq!(done.text(), String::from_utf8_lossy(&here), "{kernel:?}");
    }
}

//! What the kernel makes of our archive: names, links, modes and contents, checked inside the guest.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the folder is ours");
}

/// Everything that archives trip over.
fn plant(tree: &Path) {
    fs::create_dir_all(tree.join("deep/er/est")).expect("the folder is ours");
    for len in [0, 1, 2, 3, 4, 5, 4095, 4096, 4097, 70_000, 3_000_001] {
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        fs::write(tree.join(format!("deep/size-{len}")), bytes).expect("the folder is ours");
    }
    for name in [&b".hidden"[..], b"with space", b"new\nline", b"\xff\xfe-not-utf-8", b"TRAILER!!!", b"-n"] {
        fs::write(tree.join(OsStr::from_bytes(name)), name).expect("the folder is ours");
    }
    fs::write(tree.join("deep/er/est/.dot"), "dot").expect("the folder is ours");
    fs::hard_link(tree.join("deep/size-70000"), tree.join("deep/er/linked")).expect("the folder is ours");
    symlink("../size-4097", tree.join("deep/er/link")).expect("the folder is ours");
    symlink("nowhere", tree.join("dangling")).expect("the folder is ours");
    mode(&tree.join("deep/size-5"), 0o4755);
    mode(&tree.join("deep/size-4"), 0o400);
    mode(&tree.join("deep/er/est"), 0o1777);
}

/// What both sides say of a tree: type, mode, link target or checksum, and who shares an inode.
const MANIFEST: &str = "cd \"$1\" || exit 1
find . -type f -exec sha256sum {} + | sort
find . -type l -exec readlink {} + | sort
find . \\( -type f -o -type d \\) -exec stat -c '%a %F %n' {} + | sort
find . -type f -links +1 | sort";

#[test]
fn the_kernel_unpacks_the_tree_that_was_copied() {
    let scratch = scratch();
    let tree = scratch.path().join("tree");
    plant(&tree);
    let here = Command::new("busybox").args(["sh", "-c", MANIFEST, "sh"]).arg(&tree).env("LC_ALL", "C").output();
    let here = here.expect("busybox is installed").stdout;
    assert!(here.len() > 1500, "{}", String::from_utf8_lossy(&here));
    let copy = format!("{}=/tree", tree.display());
    for kernel in [Kernel::Generic61, Kernel::Generic612] {
        let Some(program) = Program::run(kernel, "the_kernel_unpacks_the_tree_that_was_copied") else { return };
        let done =
            program.args(["--copy", &copy, "--", "busybox", "sh", "-c", MANIFEST, "sh", "/tree"]).done().exits(0);
        assert_eq!(done.text(), String::from_utf8_lossy(&here), "{kernel:?}");
    }
}

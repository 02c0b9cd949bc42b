//! A small artificial root with the host's static busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// Creates a root with some directories and the host's static busybox.
pub(crate) fn scene() -> tempfile::TempDir {
    let scene = tempfile::tempdir().expect("a temporary directory");
    for dir in ["usr/bin", "usr/sbin", "etc/skel/.config", "opt/tools", "srv"] {
        fs::create_dir_all(scene.path().join(dir)).expect("directories");
    }
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin")] {
        symlink(target, scene.path().join(link)).expect("a link");
    }
    fs::copy("/usr/bin/busybox", scene.path().join("usr/bin/busybox")).expect("busybox is installed");
    scene
}

/// Writes an executable file below the root.
pub(crate) fn script(scene: &tempfile::TempDir, path: &str, text: &str) {
    let path = scene.path().join(path);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

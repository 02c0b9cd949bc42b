//! The kernel module `tests/guest/misbehave`, built against Debian's headers for the test kernel.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::Kernel;
use super::program::{build_dir, scratch};
use super::skip::{skip, tools};

/// Held by the test that builds the module.
static BUILDING: Mutex<()> = Mutex::new(());

/// Kernel of the module.
pub(crate) const KERNEL: Kernel = Kernel::Generic61;

/// Returns the module and the kernel package for the test `name`; prints the reason and returns `None` if the module
/// cannot be built or no guest can be booted.
pub(crate) fn or_skip(name: &str) -> Option<(PathBuf, PathBuf)> {
    let package = KERNEL.or_skip(name)?;
    let file = package.file_name().and_then(|file| file.to_str()).expect("UTF-8 name");
    let release =
        file.strip_prefix("linux-image-").and_then(|rest| rest.split('_').next()).expect("Debian package name");
    let headers = Path::new("/usr/src").join(format!("linux-headers-{release}"));
    if !headers.join("Makefile").is_file() {
        let package = format!("linux-headers-{release}");
        skip(
            name,
            &format!("no {} (`apt-get install {package}` or `tools/setup headers` brings it)", headers.display()),
        );
        return None;
    }
    if !tools(name, &["make", "gcc"]) {
        return None;
    }
    Some((built(release, &headers), package))
}

/// Returns the module, cached below `build/` for this release and these sources.
fn built(release: &str, headers: &Path) -> PathBuf {
    // A test that failed while holding the lock has reported it.
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/misbehave");
    let read = |file: &str| fs::read(sources.join(file)).expect("source file");
    let mut hasher = DefaultHasher::new();
    ["misbehave.c", "Kbuild"].map(read).hash(&mut hasher);
    let kept = build_dir().join("test-modules").join(format!("{release}-{:016x}", hasher.finish()));
    let module = kept.join("misbehave.ko");
    if module.exists() {
        return module;
    }
    let dir = scratch();
    for file in ["misbehave.c", "Kbuild"] {
        fs::copy(sources.join(file), dir.path().join(file)).expect("copied");
    }
    let mut make = Command::new("make");
    make.arg("-C").arg(headers).arg(format!("M={}", dir.path().display())).arg("modules");
    let output = make.output().expect("make runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "building the module: {said}");
    fs::create_dir_all(&kept).expect("build/ can be written");
    // Renamed into place: another test program may read it.
    let part = kept.join(format!("part-{}", std::process::id()));
    fs::copy(dir.path().join("misbehave.ko"), &part).expect("built image");
    fs::rename(&part, &module).expect("same file system");
    module
}

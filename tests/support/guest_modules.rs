//! Kernel modules for guests, `tests/guest/*`, built against Debian's headers for the test kernel.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::Kernel;
use super::program::{build_dir, scratch};
use super::skip::{skip, tools};

/// Held by the test that builds modules.
static BUILDING: Mutex<()> = Mutex::new(());

/// Kernel of the modules.
pub(crate) const KERNEL: Kernel = Kernel::Generic61;

/// Returns the directory of the modules of `tests/guest/SOURCES` and the kernel package for the test `name`; prints the
/// reason and returns `None` if the modules cannot be built or no guest can be booted.
pub(crate) fn or_skip(name: &str, sources: &str) -> Option<(PathBuf, PathBuf)> {
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
    Some((built(release, &headers, sources), package))
}

/// Returns the directory of the modules, cached below `build/` for this release and these sources.
fn built(release: &str, headers: &Path, sources: &str) -> PathBuf {
    // A test that failed while holding the lock has reported it.
    let _one = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest").join(sources);
    let files = fs::read_dir(&directory).expect("sources").map(|entry| entry.expect("a source file").path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    files.iter().map(|file| fs::read(file).expect("source file")).collect::<Vec<_>>().hash(&mut hasher);
    let modules = build_dir().join("test-modules");
    let kept = modules.join(format!("{sources}-{release}-{:016x}", hasher.finish()));
    if kept.exists() {
        return kept;
    }
    let dir = scratch();
    for file in &files {
        fs::copy(file, dir.path().join(file.file_name().expect("a file has a name"))).expect("copied");
    }
    let mut make = Command::new("make");
    make.arg("-C").arg(headers).arg(format!("M={}", dir.path().display())).arg("modules");
    let output = make.output().expect("make runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "building the modules: {said}");
    // Renamed into place: another test program may read it.
    let part = modules.join(format!("part-{sources}-{}", std::process::id()));
    fs::create_dir_all(&part).expect("build/ can be written");
    for file in fs::read_dir(dir.path()).expect("the built files") {
        let path = file.expect("a built file").path();
        if path.extension().is_some_and(|extension| extension == "ko") {
            fs::copy(&path, part.join(path.file_name().expect("a file has a name"))).expect("copied");
        }
    }
    if let Err(error) = fs::rename(&part, &kept) {
        assert!(kept.exists(), "{error}: {}", kept.display());
        fs::remove_dir_all(&part).expect("removed");
    }
    kept
}

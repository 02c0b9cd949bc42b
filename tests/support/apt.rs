//! Stand-ins for apt-get and apt-cache, for tests without a network: they serve packages from a directory and record each
//! call.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Program;
use super::program::scratch;

/// `apt-get`: `update` fails without a network as apt does, `download` copies `PACKAGE=VERSION.deb`.
const APT_GET: &str = r#"#!/bin/sh
echo "apt-get $*" >>"$APT_DIRECTORY/calls"
if [ -e "$APT_DIRECTORY/offline" ]; then
    echo "W: Failed to fetch http://deb.example/InRelease  Temporary failure resolving 'deb.example'" >&2
    exit 0
fi
for last; do :; done
case "$*" in
    *download*)
        case "$last" in
            *=*) package=$last ;;
            *) for file in "$APT_DIRECTORY/archive/$last="*.deb; do package=$(basename "$file" .deb); done ;;
        esac
        cp "$APT_DIRECTORY/archive/$package.deb" . || { echo "E: Unable to locate package $package" >&2; exit 100; } ;;
esac
"#;

/// `apt-cache`: `depends` and `madison`.
const APT_CACHE: &str = r#"#!/bin/sh
echo "apt-cache $*" >>"$APT_DIRECTORY/calls"
for last; do :; done
case "$*" in
    *depends*)
        echo "$last"
        cat "$APT_DIRECTORY/archive/$last.depends" 2>/dev/null ||
            { ls "$APT_DIRECTORY/archive/$last="* >/dev/null 2>&1 || { echo 'E: No packages found' >&2; exit 100; }; } ;;
    *madison*)
        for file in "$APT_DIRECTORY/archive/$last="*.deb; do
            [ -e "$file" ] || continue
            version=${file##*=}
            echo " $last | ${version%.deb} | http://deb.example bookworm/main Packages"
        done ;;
esac
"#;

/// A host with these programs, and an empty cache.
pub(crate) struct AptHost {
    directory: tempfile::TempDir,
}

impl AptHost {
    /// Creates a host whose package sources are empty.
    pub(crate) fn new() -> Self {
        let directory = scratch();
        for name in ["archive", "programs", "tmp"] {
            fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        for (name, text) in [("apt-get", APT_GET), ("apt-cache", APT_CACHE)] {
            let path = directory.path().join("programs").join(name);
            fs::write(&path, text).expect("a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Publishes a package under another name and version.
    pub(crate) fn publish_as(&self, file: &Path, package: &str, version: &str) {
        symlink(file, self.at(&format!("archive/{package}={version}.deb"))).expect("a link");
    }

    /// Publishes the package in a file that is named as apt names it, and returns its name and version.
    pub(crate) fn publish(&self, file: &Path) -> (String, String) {
        let name = file.file_stem().expect("a name").to_string_lossy();
        let mut parts = name.split('_').map(str::to_owned);
        let (package, version) = (parts.next().expect("a package"), parts.next().expect("a version"));
        self.publish_as(file, &package, &version);
        (package, version)
    }

    /// Publishes a meta-package that depends on a package.
    pub(crate) fn publish_meta(&self, meta: &str, package: &str) {
        fs::write(self.at(&format!("archive/{meta}.depends")), format!("  Depends: {package}\n")).expect("written");
    }

    /// Removes all packages.
    pub(crate) fn withdraw_all(&self) {
        fs::remove_dir_all(self.at("archive")).expect("removed");
        fs::create_dir(self.at("archive")).expect("a directory");
    }

    /// Disconnects the host from its network, or connects it again.
    pub(crate) fn disconnect(&self, is_offline: bool) {
        let path = self.at("offline");
        if is_offline { fs::write(path, "") } else { fs::remove_file(path) }.expect("a mark");
    }

    /// Empties the cache.
    pub(crate) fn clear_cache(&self) {
        fs::remove_dir_all(self.at("cache")).expect("removed");
    }

    /// Returns the calls of apt since the last one.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.at("calls")).unwrap_or_default();
        fs::write(self.at("calls"), "").expect("written");
        calls.lines().map(str::to_owned).collect()
    }

    /// Returns true if no temporary file is left.
    pub(crate) fn is_clean(&self) -> bool {
        fs::read_dir(self.at("tmp")).expect("a directory").next().is_none()
    }

    /// Returns a call of bootling on this host.
    pub(crate) fn program(&self) -> Program {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.at("programs").display());
        let program = Program::new().env("PATH", path).env("APT_DIRECTORY", self.directory.path());
        program.env("BOOTLING_CACHE_DIR", self.at("cache")).env("TMPDIR", self.at("tmp"))
    }
}

//! The kernels that tests boot: Debian packages in `build/kernels` (or in the directory `BOOTLING_TEST_KERNELS`),
//! downloaded by `make kernels`.
//!
//! A test without its kernel prints a note on standard error and passes; with `REQUIRE_VM=1`, as in CI, it fails.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::skip;

/// A kernel package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Kernel of Debian 12: plain `.ko` files, an xz payload.
    Generic61,
    /// A newer kernel: `.ko.xz` files, a zstd payload.
    Generic612,
    /// The newer kernel for virtual machines: few drivers, boots fastest.
    Cloud612,
}

impl Kernel {
    /// Returns the prefix of the package's file name, and true for a cloud flavor.
    fn package_pattern(self) -> (&'static str, bool) {
        match self {
            Self::Generic61 => ("linux-image-6.1.", false),
            Self::Generic612 => ("linux-image-6.12.", false),
            Self::Cloud612 => ("linux-image-6.12.", true),
        }
    }

    /// Returns the path of the package, or the reason why it is missing.
    pub(crate) fn find(self) -> Result<PathBuf, String> {
        let dir = folder();
        let (prefix, cloud) = self.package_pattern();
        let mut found: Vec<PathBuf> = fs::read_dir(&dir)
            .map_err(|error| format!("{}: {error} (`make kernels` fills it)", dir.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let package = path.extension().is_some_and(|ext| ext == "deb");
                package && name.starts_with(prefix) && name.contains("-cloud-") == cloud
            })
            .collect();
        // There are several after an update of the archive. The last by name is the newest.
        found.sort();
        found.pop().ok_or_else(|| format!("no {prefix}* package in {} (`make kernels` brings it)", dir.display()))
    }

    /// Returns the package for the test `name`; prints the reason and returns `None` if no guest can be booted.
    pub(crate) fn or_skip(self, name: &str) -> Option<PathBuf> {
        match find_qemu().and_then(|()| self.find()) {
            Ok(package) => Some(package),
            Err(why) => {
                skip(name, &why);
                None
            }
        }
    }

    /// Returns the bzImage, extracted from the package by dpkg-deb and tar, for a QEMU started without bootling.
    pub(crate) fn image(self) -> PathBuf {
        let package = self.find().expect("or_skip checked for the package");
        let dir = super::program::build_dir().join("plain-kernels");
        fs::create_dir_all(&dir).expect("build/ can be written");
        let image = dir.join(package.with_extension("bzImage").file_name().expect("a package has a name"));
        if !image.exists() {
            let unpack = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './boot/vmlinuz-*' >\"$2\"";
            // Two tests may extract the image at the same time: each writes a separate file, and the last rename wins.
            let part = tempfile::NamedTempFile::new_in(&dir).expect("build/ can be written");
            let status = Command::new("sh").args(["-c", unpack, "sh"]).arg(&package).arg(part.path()).status();
            assert!(status.expect("sh runs").success(), "unpacking {}", package.display());
            part.persist(&image).expect("same file system");
        }
        image
    }

    /// Returns a copy of the bzImage in `dir` with another release in its header, since modules for the real release
    /// may be installed on this host. The kernel that boots reports the real one.
    pub(crate) fn lone_image(self, dir: &Path) -> PathBuf {
        let mut image = fs::read(self.image()).expect("readable");
        // `kernel_version` in Documentation/arch/x86/boot.rst: the offset of a text, minus 0x200.
        let text = 0x200 + usize::from(u16::from_le_bytes([image[0x20E], image[0x20F]]));
        assert!(image[text].is_ascii_digit(), "no release in the header of {self:?}");
        image[text] = b'9';
        let path = dir.join("lone-bzImage");
        fs::write(&path, image).expect("writable directory");
        path
    }
}

fn folder() -> PathBuf {
    env::var_os("BOOTLING_TEST_KERNELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("build/kernels"), PathBuf::from)
}

/// Returns true if QEMU is installed; otherwise prints the reason. For the test `name`, which needs no kernel.
pub(crate) fn qemu_or_skip(name: &str) -> bool {
    match find_qemu() {
        Ok(()) => true,
        Err(why) => {
            skip(name, &why);
            false
        }
    }
}

fn find_qemu() -> Result<(), String> {
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|dir| dir.join("qemu-system-x86_64").is_file()) {
        Ok(())
    } else {
        Err("no qemu-system-x86_64 on PATH (`tools/setup run` brings it)".to_owned())
    }
}

//! Exact versions of packages, recorded so that a later fetch returns the same bytes or fails.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::apt::package_in;
use super::error::FetchError;
use super::package::{KernelPackage, is_package, is_version};
use super::{Fetch, Packages, key};
use crate::cache::Sealing;
use crate::format::kernel::package::control;
use crate::format::measure::hex;

/// File beside a package of an exact version in the cache: the package's SHA-256.
const DIGEST: &str = "sha256";

/// An exact version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Name of the package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file, in lower-case hexadecimal digits.
    pub sha256: String,
}

impl Pin {
    /// Returns true if all parts are well-formed.
    pub fn is_valid(&self) -> bool {
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_package(&self.package) && is_version(&self.version) && self.sha256.len() == 64 && is_hex(&self.sha256)
    }

    /// Returns the reference to this version of the package.
    pub fn reference(&self) -> String {
        format!("debian:{}={}", self.package, self.version)
    }

    fn wanted(&self) -> Result<Packages, FetchError> {
        Ok(Packages::Kernel(KernelPackage::parse(&format!("{}={}", self.package, self.version))?))
    }
}

impl Fetch<'_> {
    /// Fetches a kernel's package, if necessary, and returns its exact version. The cache then has it under that version.
    pub fn pin(&self, wanted: &KernelPackage, progress: &mut dyn FnMut(&str)) -> Result<Pin, FetchError> {
        let path = self.get(&Packages::Kernel(wanted.clone()), progress)?;
        let failed = |source| FetchError::Io { doing: "read", path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let fields = file.metadata().and_then(|metadata| control(&file, metadata.len()));
        let unreadable = |source| FetchError::Unpack { path: path.clone(), source };
        let fields = fields.map_err(unreadable)?;
        let [package, version] = ["Package", "Version"].map(|name| fields.get(name).cloned().unwrap_or_default());
        let pin = Pin { package, version, sha256: digest(&path)? };
        if !pin.is_valid() {
            return Err(unreadable(io::Error::other("invalid name or version of the package")));
        }
        let exact = key(&pin.wanted()?, self.debian()?);
        if self.cache.get(&exact).is_none() {
            self.cache.tree::<FetchError>(&exact, Sealing::Contents, |into| {
                let to = into.join(format!("{}.deb", pin.package));
                let write = |source| FetchError::Io { doing: "write", path: to.clone(), source };
                // A hard link would change the original's ctime, and with it what was made from it.
                fs::copy(&path, &to).map_err(write)?;
                record(into, &pin.sha256)
            })?;
        }
        Ok(pin)
    }

    /// Returns true if the cache has this version of the package.
    pub(crate) fn has_pinned(&self, pin: &Pin) -> bool {
        pin.wanted().is_ok_and(|wanted| self.has(&wanted))
    }

    /// Returns the path of exactly this package, which `origin` referred to.
    pub fn pinned(
        &self,
        pin: &Pin,
        origin: &KernelPackage,
        progress: &mut dyn FnMut(&str),
    ) -> Result<PathBuf, FetchError> {
        let debian = self.debian()?;
        let key = key(&pin.wanted()?, debian);
        let mut discarded = false;
        loop {
            let directory = self.cache.tree::<FetchError>(&key, Sealing::Contents, |into| {
                let origin = origin.package(debian);
                self.version(&pin.package, &pin.version, Some(&origin), into, progress)
            })?;
            let path = package_in(&directory)?;
            let found = match fs::read_to_string(directory.join(DIGEST)) {
                Ok(found) => found,
                Err(_) => digest(&path)?,
            };
            if found == pin.sha256 {
                return Ok(path);
            }
            if discarded {
                let Pin { package, version, sha256 } = pin.clone();
                return Err(FetchError::Digest { package, version, expected: sha256, found });
            }
            // The package of another source, or of the user: the right one may be available.
            self.cache.discard(&key)?;
            discarded = true;
        }
    }
}

/// Records the digest of a package in the directory of its entry.
pub(super) fn record(directory: &Path, digest: &str) -> Result<(), FetchError> {
    let path = directory.join(DIGEST);
    fs::write(&path, digest).map_err(|source| FetchError::Io { doing: "write", path, source })
}

/// Returns the SHA-256 of a file in hexadecimal digits.
pub(super) fn digest(path: &Path) -> Result<String, FetchError> {
    let failed = |source| FetchError::Io { doing: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

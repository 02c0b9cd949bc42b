//! Kernel configuration: `.config`, `/boot/config-RELEASE`, or the copy embedded in the image (`CONFIG_IKCONFIG`).

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use memchr::memmem;

use crate::cache::{Cache, CacheError, Key};
use crate::format::compression::{Compression, Streams};

use super::error::KernelError;

/// Size limit of a configuration, in bytes. Real ones are below 400 KB.
pub(super) const CONFIG_LIMIT: u64 = 16 << 20;
/// Start marker of the compressed copy in an image (`kernel/configs.c`).
const START: &[u8] = b"IKCFG_ST";

/// Kernel configuration. Stored as text, since only a few of thousands of options are queried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config(String);

impl Config {
    /// Creates a configuration from the text of a `.config`.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the value of `CONFIG_name` as written (`y`, `m`, `"text"`); `None` if it is not set. The last of several
    /// lines is used.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let words = format!("CONFIG_{name}=");
        let begins_line = |at: &usize| *at == 0 || self.0.as_bytes()[at - 1] == b'\n';
        let at = memmem::find_iter(self.0.as_bytes(), &words).filter(begins_line).last()?;
        self.0[at + words.len()..].lines().next().map(str::trim_end).or(Some(""))
    }

    /// Returns true if `CONFIG_name=y`.
    pub(crate) fn is_builtin(&self, name: &str) -> bool {
        self.value(name) == Some("y")
    }

    /// Returns true if the kernel can unpack an initrd with this compression.
    pub fn supports_initrd(&self, compression: Compression) -> bool {
        let option = compression.properties().config;
        self.is_builtin("BLK_DEV_INITRD") && option.is_none_or(|option| self.is_builtin(option))
    }
}

/// Reads a configuration file; `None` if it is missing or unreadable.
pub(super) fn read(path: &Path) -> Result<Option<Config>, KernelError> {
    match File::open(path).and_then(|file| crate::root::directory::read_at_most(file, CONFIG_LIMIT)) {
        Ok(bytes) => Ok(Some(Config::new(String::from_utf8_lossy(&bytes).into_owned()))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(source) => Err(KernelError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// Returns the configuration embedded in an uncompressed kernel. The result is cached, since the search reads the whole
/// file.
pub(super) fn embedded(vmlinux: &Path, cache: &Cache) -> Result<Option<Config>, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: vmlinux.to_owned(), source };
    let file = File::open(vmlinux).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let text = cache.file::<KernelError>(&Key::of_file("config 1", vmlinux, &metadata), |out| {
        let found = search(&file).map_err(failed)?.unwrap_or_default();
        io::Write::write_all(out, &found)
            .map_err(|source| CacheError::Io { doing: "write to", path: cache.directory().to_owned(), source }.into())
    })?;
    Ok(read(&text)?.filter(|config| memmem::find(config.0.as_bytes(), b"CONFIG_").is_some()))
}

/// Finds and unpacks the embedded copy.
fn search(file: &File) -> io::Result<Option<Vec<u8>>> {
    const PIECE: usize = 1 << 20;
    let mut held: Vec<u8> = Vec::with_capacity(PIECE + START.len());
    loop {
        let read = file.take(PIECE as u64).read_to_end(&mut held)?;
        if let Some(at) = held.windows(START.len()).position(|window| window == START) {
            let rest = held.split_off(at + START.len());
            let mut text = Vec::new();
            let gzip = Compression::Gzip.reader(io::BufReader::new(rest.chain(file)), Streams::First);
            let unpacked = gzip.and_then(|gzip| gzip.take(CONFIG_LIMIT).read_to_end(&mut text));
            // A marker without gzip data, as in the code that searches for the marker, is not a configuration.
            return Ok(unpacked.is_ok().then_some(text));
        }
        if read == 0 {
            return Ok(None);
        }
        held.drain(..held.len().saturating_sub(START.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, Config, embedded};
    use crate::cache::Cache;
    use std::io::Write as _;

    #[test]
    fn values_are_returned_as_written() {
        let text = "CONFIG_F=m\r\n# CONFIG_A is not set\n# CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"x=y\"\njunk\nCONFIG_E\nCONFIG_C=y \n\
            CONFIG_G=";
        let config = Config::new(text.to_owned());
        let values = ["A", "B", "C", "D", "E", "F", "G", "", "B=y"].map(|name| config.value(name));
        assert_eq!(values, [None, Some("y"), Some("y"), Some("\"x=y\""), None, Some("m"), Some(""), None, None]);
        assert!(config.is_builtin("B") && !config.is_builtin("F"));
    }

    #[test]
    fn a_compressed_initrd_requires_its_option_and_initrd_support() {
        let config = Config::new("CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_ZSTD=y\n".to_owned());
        assert!(config.supports_initrd(Compression::Zstd) && config.supports_initrd(Compression::None));
        let without = Config::new("CONFIG_RD_XZ=y\n".to_owned());
        assert!(!config.supports_initrd(Compression::Xz) && !without.supports_initrd(Compression::Xz));
    }

    #[test]
    fn the_embedded_copy_is_found_across_block_boundaries_and_cached() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(b"CONFIG_PVH=y\n").expect("compressed");
        let gz = gz.finish().expect("finished");
        for before in [0, 5000, (1 << 20) - 3, 3 << 20] {
            let image = dir.path().join(format!("vmlinux-{before}"));
            let bytes = [vec![b'I'; before], b"IKCFG_ST".to_vec(), gz.clone(), b"IKCFG_ED".to_vec()].concat();
            std::fs::write(&image, bytes).expect("written");
            for _ in 0..2 {
                let config = embedded(&image, &cache).expect("searched").expect("found");
                assert!(config.is_builtin("PVH"), "{before}");
            }
        }
        let none = dir.path().join("none");
        std::fs::write(&none, vec![0; 100_000]).expect("written");
        assert_eq!(embedded(&none, &cache).expect("searched"), None);
    }
}

//! Kernel configuration: the contents of a `.config` or `config-RELEASE` file.

use std::fs::File;
use std::io;
use std::path::Path;

use memchr::memmem;

use crate::format::compression::Compression;

use super::error::KernelError;

/// Size limit of a configuration, in bytes. Real ones are below 400 KB.
pub(super) const CONFIG_LIMIT: u64 = 16 << 20;

/// Kernel configuration. Stored as text, since only a few of thousands of options are queried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    text: String,
    source: String,
}

impl Config {
    /// Creates a configuration from the text of a `.config`. `source` is the file that contains it, for messages.
    pub(crate) fn new(text: String, source: impl Into<String>) -> Self {
        Self { text, source: source.into() }
    }

    /// Returns the file that the configuration was read from, for messages.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Replaces the file name that [`Config::source`] returns.
    #[must_use]
    pub(super) fn from(self, source: impl Into<String>) -> Self {
        Self { source: source.into(), ..self }
    }

    /// Returns the value of `CONFIG_name` as written (`y`, `m`, `"text"`); `None` if it is not set. The last of several
    /// lines is used.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let words = format!("CONFIG_{name}=");
        let begins_line = |at: &usize| *at == 0 || self.text.as_bytes()[at - 1] == b'\n';
        let at = memmem::find_iter(self.text.as_bytes(), &words).filter(begins_line).last()?;
        self.text[at + words.len()..].lines().next().map(str::trim_end).or(Some(""))
    }

    /// Returns true if the configuration contains `# CONFIG_name is not set`: the option exists in this kernel and can
    /// be set.
    pub(crate) fn is_unset(&self, name: &str) -> bool {
        memmem::find(self.text.as_bytes(), format!("# CONFIG_{name} is not set\n").as_bytes()).is_some()
    }

    /// Returns true if `CONFIG_name=y` or `CONFIG_name=m`.
    pub(crate) fn is_enabled(&self, name: &str) -> bool {
        matches!(self.value(name), Some("y" | "m"))
    }

    /// Returns true if the text is a configuration.
    pub(super) fn has_options(&self) -> bool {
        memmem::find(self.text.as_bytes(), b"CONFIG_").is_some()
    }

    /// Returns true if this is, by its first lines, the configuration of a kernel of this release. `make` writes the
    /// version without the local part: `# Linux/x86 6.1.172 Kernel Configuration`.
    pub(super) fn fits(&self, release: &str) -> bool {
        let version = self.text.lines().take(8).find_map(|line| {
            line.strip_prefix("# Linux/")?
                .strip_suffix(" Kernel Configuration")?
                .split_once(' ')
                .map(|(_, version)| version)
        });
        let rest = version.and_then(|version| release.strip_prefix(version));
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit() || next == '.'))
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
        Ok(bytes) => {
            let text =
                String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into());
            Ok(Some(Config::new(text, path.display().to_string())))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(None),
        Err(source) => Err(KernelError::Io { doing: "read", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, Config};

    #[test]
    fn values_are_returned_as_written() {
        let text = "CONFIG_F=m\r\n# CONFIG_A is not set\n# CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D=\"x=y\"\njunk\nCONFIG_E\nCONFIG_C=y \n\
            CONFIG_G=";
        let config = Config::new(text.to_owned(), ".config");
        let values = ["A", "B", "C", "D", "E", "F", "G", "", "B=y"].map(|name| config.value(name));
        assert_eq!(values, [None, Some("y"), Some("y"), Some("\"x=y\""), None, Some("m"), Some(""), None, None]);
        assert!(config.is_builtin("B") && !config.is_builtin("F"));
    }

    #[test]
    fn a_compressed_initrd_requires_its_option_and_initrd_support() {
        let config = Config::new("CONFIG_BLK_DEV_INITRD=y\nCONFIG_RD_ZSTD=y\n".to_owned(), "");
        assert!(config.supports_initrd(Compression::Zstd) && config.supports_initrd(Compression::None));
        let without = Config::new("CONFIG_RD_XZ=y\n".to_owned(), "");
        assert!(!config.supports_initrd(Compression::Xz) && !without.supports_initrd(Compression::Xz));
    }

    #[test]
    fn a_configuration_belongs_to_the_releases_of_its_version() {
        let config =
            Config::new("#\n# Automatically generated file\n# Linux/x86 6.1.17 Kernel Configuration\n".into(), "");
        let fit = ["6.1.17", "6.1.17-mini", "6.1.17+", "6.1.172", "6.1.17.1", "6.1.1", "5.0", ""];
        assert_eq!(fit.map(|release| config.fits(release)), [true, true, true, false, false, false, false, false]);
        assert!(!Config::new("CONFIG_A=y\n".into(), "").fits("6.1.17"));
    }

    #[test]
    fn an_option_is_unset_only_if_the_configuration_says_so() {
        let config = Config::new("# CONFIG_A is not set\nCONFIG_B=m\n".into(), "");
        assert_eq!(["A", "B", "C"].map(|name| config.is_unset(name)), [true, false, false]);
        assert_eq!(["A", "B", "C"].map(|name| config.is_enabled(name)), [false, true, false]);
    }
}

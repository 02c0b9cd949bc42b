//! QEMU's firmware descriptors: JSON files that describe a firmware and the machines it supports.
//!
//! The schema is QEMU's `docs/interop/firmware.json`. Unknown fields of newer versions are ignored.

use std::path::PathBuf;

use glob::Pattern;
use serde::Deserialize;

use super::{Files, Format, Image, Uefi};
use crate::arch::Arch;

/// Maximum pattern length in bytes.
const PATTERN_BYTES: usize = 128;

/// Descriptor of one firmware.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Descriptor {
    /// `uefi`, `bios`, ...
    #[serde(default)]
    interface_types: Vec<String>,
    mapping: Mapping,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "device", rename_all = "kebab-case")]
enum Mapping {
    #[serde(rename_all = "kebab-case")]
    Flash {
        #[serde(default)]
        mode: Mode,
        executable: FlashFile,
        nvram_template: Option<FlashFile>,
    },
    Memory {
        filename: PathBuf,
    },
    /// `kernel`, and unknown devices.
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Split,
    Combined,
    Stateless,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct FlashFile {
    filename: PathBuf,
    format: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Target {
    architecture: String,
    #[serde(default)]
    machines: Vec<String>,
}

impl Descriptor {
    /// Parses a descriptor; `None` if it is invalid.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// Returns true if this is UEFI firmware for the machine. `secure` requires enforced Secure Boot with enrolled
    /// keys; without it, firmware with Secure Boot, enrolled keys or required SMM is not accepted.
    pub(crate) fn fits(&self, arch: Arch, machine: &str, secure: bool) -> bool {
        let has = |feature: &str| self.features.iter().any(|name| name == feature);
        let enforces = has("secure-boot") && has("enrolled-keys");
        let plain = !has("secure-boot") && !has("enrolled-keys") && !has("requires-smm");
        self.interface_types.iter().any(|kind| kind == "uefi")
            && (if secure { enforces } else { plain })
            && self.targets.iter().any(|target| {
                target.architecture == arch.name() && target.machines.iter().any(|pattern| matches(pattern, machine))
            })
    }

    /// Returns the firmware; `None` if its mapping or an image format is unsupported.
    pub(crate) fn firmware(&self) -> Option<Uefi> {
        let files = match &self.mapping {
            Mapping::Flash { mode: Mode::Split, executable, nvram_template } => {
                Files::Split { code: executable.image()?, vars: nvram_template.as_ref()?.image()? }
            }
            Mapping::Flash { mode: Mode::Combined, executable, .. } => Files::Combined(executable.image()?),
            Mapping::Flash { mode: Mode::Stateless, executable, .. } => Files::Stateless(executable.image()?),
            Mapping::Memory { filename } => Files::Rom(filename.clone()),
            Mapping::Other => return None,
        };
        let smm = self.features.iter().any(|name| name == "requires-smm");
        Some(Uefi { files, smm })
    }
}

/// Returns true if `name` matches a glob pattern.
fn matches(pattern: &str, name: &str) -> bool {
    pattern.len() <= PATTERN_BYTES && Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}

impl FlashFile {
    fn image(&self) -> Option<Image> {
        let format = match self.format.as_str() {
            "raw" => Format::Raw,
            "qcow2" => Format::Qcow2,
            _ => return None,
        };
        Some(Image { path: self.filename.clone(), format })
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptor;
    use super::matches;
    use crate::arch::Arch;
    use crate::qemu::firmware::{Files, Format, Image};

    /// Descriptor as in Fedora's edk2-ovmf package since it uses qcow2.
    const QCOW2: &str = r#"{"description": "d", "interface-types": ["uefi"], "mapping": {"device": "flash",
        "mode": "split", "executable": {"filename": "/c.qcow2", "format": "qcow2"},
        "nvram-template": {"filename": "/v.qcow2", "format": "qcow2"}},
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": ["acpi-s3", "requires-smm", "secure-boot", "enrolled-keys"], "tags": ["x"], "new": {}}"#;

    fn with(mapping: &str, features: &str) -> Option<Descriptor> {
        let text = format!(
            r#"{{"interface-types": ["bios", "uefi"], "mapping": {mapping}, "features": [{features}],
                "targets": [{{"architecture": "i386", "machines": ["*"]}},
                            {{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}}]}}"#
        );
        Descriptor::parse(text.as_bytes())
    }

    #[test]
    fn secure_boot_firmware_matches_only_on_request() {
        let secure = Descriptor::parse(QCOW2.as_bytes()).expect("a descriptor");
        assert!(secure.fits(Arch::X86_64, "pc-q35-9.1", true) && !secure.fits(Arch::X86_64, "pc-q35-9.1", false));
        assert!(!secure.fits(Arch::X86_64, "pc-i440fx-9.1", true) && !secure.fits(Arch::Aarch64, "pc-q35-9.1", true));
        let found = secure.firmware().expect("known files");
        let image = |path: &str| Image { path: path.into(), format: Format::Qcow2 };
        assert_eq!(found.files, Files::Split { code: image("/c.qcow2"), vars: image("/v.qcow2") });
        assert!(found.smm);
        let rom = with(r#"{"device": "memory", "filename": "/o.fd"}"#, "").expect("a descriptor");
        assert!(rom.fits(Arch::X86_64, "pc-q35-7.2", false) && !rom.fits(Arch::X86_64, "pc-q35-7.2", true));
        assert!(rom.fits(Arch::X86, "anything", false));
        assert_eq!(rom.firmware().expect("known files").files, Files::Rom("/o.fd".into()));
        let smm = with(r#"{"device": "memory", "filename": "/o.fd"}"#, r#""requires-smm""#).expect("a descriptor");
        assert!(!smm.fits(Arch::X86_64, "pc-q35-7.2", false));
    }

    #[test]
    fn the_three_flash_modes_are_read_and_unknown_mappings_are_ignored() {
        let code = r#""executable": {"filename": "/c", "format": "raw"}"#;
        let files = |mapping: &str| with(mapping, "").expect("a descriptor").firmware().map(|found| found.files);
        let image = || Image { path: "/c".into(), format: Format::Raw };
        let stateless = format!(r#"{{"device": "flash", "mode": "stateless", {code}}}"#);
        assert_eq!(files(&stateless), Some(Files::Stateless(image())));
        let combined = format!(r#"{{"device": "flash", "mode": "combined", {code}}}"#);
        assert_eq!(files(&combined), Some(Files::Combined(image())));
        assert_eq!(files(&format!(r#"{{"device": "flash", {code}}}"#)), None, "split without variables");
        assert_eq!(files(r#"{"device": "kernel", "filename": "/k"}"#), None);
        assert_eq!(files(r#"{"device": "teleporter"}"#), None);
        let vmdk = r#"{"device": "flash", "mode": "stateless", "executable": {"filename": "/c", "format": "vmdk"}}"#;
        assert_eq!(files(vmdk), None);
    }

    #[test]
    fn invalid_descriptors_are_ignored() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"mapping": 1}"#,
            r#"{"mapping": {"device": "flash"}}"#,
            r#"{"mapping": {"device": "memory", "filename": "/x"}, "targets": {}}"#,
            r#"{"mapping": {"device": "flash", "mode": "new", "executable": {"filename": "/c", "format": "raw"}}}"#,
            "\u{0}",
            &deep,
        ] {
            assert_eq!(Descriptor::parse(text.as_bytes()), None, "{}", &text[..text.len().min(80)]);
        }
        assert!(Descriptor::parse(br#"{"mapping": {"device": "memory", "filename": "/x"}}"#).is_some());
    }

    #[test]
    fn patterns_match_like_shell_globs_and_hostile_ones_terminate() {
        for (pattern, name, fits) in [
            ("pc-q35-*", "pc-q35-7.2", true),
            ("pc-q35-*", "pc-i440fx-7.2", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("p?-*-7*", "pc-q35-7.2", true),
            ("pc-q35-7.2", "pc-q35-7.2", true),
            ("*2", "pc-q35-7.2", true),
            ("*3", "pc-q35-7.2", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(60), &"a".repeat(59)));
        assert!(!matches(&"*".repeat(100_000), "x"));
    }
}

//! Sections of unified kernel images, and facts about systemd-stub.
//!
//! UAPI group specification 5 (<https://uapi-group.org/specifications/specs/unified_kernel_image>); systemd
//! `src/fundamental/uki.h` and `src/boot/stub.c`. A missing section or version is reported as absent, not as an error.

use super::Medium;
use super::pe::{Pe, PeError};

/// Maximum size of a stub, in bytes. Known stubs have 60 to 150 KiB.
pub(crate) const MOST_STUB: u64 = 16 << 20;
/// Markers around the name and version of a stub (systemd `src/boot/util.h`, `DECLARE_NOTE`/`.sdmagic`).
const MAGIC: (&str, &str) = ("#### LoaderInfo: ", " ####");
/// Maximum length of `.sdmagic` that is read, in bytes.
const MOST_MAGIC: u64 = 4096;

/// Sections of a unified kernel image, in the order in which stubs measure them into PCR 11 (systemd
/// `src/fundamental/uki.h`, which guarantees that order). The order in the file is irrelevant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UkiSection {
    /// The kernel.
    Linux,
    /// `os-release(5)` of the system inside.
    Osrel,
    /// The kernel command line.
    Cmdline,
    /// The initrd.
    Initrd,
    /// Microcode, as a separate initrd.
    Ucode,
    /// A splash image.
    Splash,
    /// A device tree.
    Dtb,
    /// The kernel release (`uname -r`).
    Uname,
    /// Component generations for revocation (shim's `SBAT.md`).
    Sbat,
    /// Signatures of expected PCR values.
    Pcrsig,
    /// The public key for these signatures.
    Pcrpkey,
    /// Start of a boot profile.
    Profile,
    /// Device trees for automatic selection.
    Dtbauto,
    /// Hardware IDs that select a device tree.
    Hwids,
    /// Firmware images.
    Efifw,
}

impl UkiSection {
    /// All sections, in measurement order.
    pub(crate) const ALL: [Self; 15] = [
        Self::Linux,
        Self::Osrel,
        Self::Cmdline,
        Self::Initrd,
        Self::Ucode,
        Self::Splash,
        Self::Dtb,
        Self::Uname,
        Self::Sbat,
        Self::Pcrsig,
        Self::Pcrpkey,
        Self::Profile,
        Self::Dtbauto,
        Self::Hwids,
        Self::Efifw,
    ];

    /// Returns the name in the section table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => ".linux",
            Self::Osrel => ".osrel",
            Self::Cmdline => ".cmdline",
            Self::Initrd => ".initrd",
            Self::Ucode => ".ucode",
            Self::Splash => ".splash",
            Self::Dtb => ".dtb",
            Self::Uname => ".uname",
            Self::Sbat => ".sbat",
            Self::Pcrsig => ".pcrsig",
            Self::Pcrpkey => ".pcrpkey",
            Self::Profile => ".profile",
            Self::Dtbauto => ".dtbauto",
            Self::Hwids => ".hwids",
            Self::Efifw => ".efifw",
        }
    }

    /// Returns the section with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    /// True if the stub measures the section: all but `.pcrsig`, which signs the result of the measurement.
    pub const fn measured(self) -> bool {
        !matches!(self, Self::Pcrsig)
    }
}

/// Version and capabilities of a stub.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StubInfo {
    /// Name and version: `systemd-stub 252.39-1~deb12u2`; `None` for other and for very old stubs.
    pub identity: Option<String>,
    /// Sections that the stub supports, and therefore measures.
    pub sections: Vec<UkiSection>,
}

impl StubInfo {
    /// Examines a stub, or the stub in a unified kernel image.
    ///
    /// The supported sections are detected by their names in the data of the stub rather than by its version, because
    /// distributions patch stubs, and development versions differ from releases.
    pub fn read(pe: &Pe, file: &(impl Medium + ?Sized)) -> Result<Self, PeError> {
        let mut info = Self { identity: identity(pe, file)?, sections: Vec::new() };
        let mut data = Vec::new();
        // Skip the sections that were added to the stub.
        for section in pe.sections.iter().filter(|section| UkiSection::named(&section.name()).is_none()) {
            let (offset, length) = section.contents();
            if section.name() != ".sdmagic" && data.len() as u64 + length <= MOST_STUB {
                data.extend(contents(file, offset, length)?);
                data.push(0);
            }
        }
        let has = |section: &UkiSection| {
            let name = [b"\0", section.name().as_bytes(), b"\0"].concat();
            data.windows(name.len()).any(|window| window == name)
        };
        info.sections = UkiSection::ALL.into_iter().filter(has).collect();
        Ok(info)
    }

    /// Returns the major version of a systemd-stub: 252 for `systemd-stub 252.39-1~deb12u2`.
    pub(crate) fn version(&self) -> Option<u32> {
        let version = self.identity.as_deref()?.strip_prefix("systemd-stub ")?;
        version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// True for an addon stub of systemd, which supports only a command line.
    pub(crate) fn is_addon(&self) -> bool {
        self.identity.as_deref().is_some_and(|identity| identity.starts_with("systemd-addon"))
    }
}

/// Returns name and version of the stub from `.sdmagic`; `None` if missing or not printable.
pub(crate) fn identity(pe: &Pe, file: &(impl Medium + ?Sized)) -> Result<Option<String>, PeError> {
    let Some(section) = pe.section(".sdmagic") else { return Ok(None) };
    let (offset, length) = section.contents();
    let bytes = contents(file, offset, length.min(MOST_MAGIC))?;
    let text = String::from_utf8_lossy(&bytes);
    let info = text.split_once(MAGIC.0).and_then(|(_, rest)| rest.split_once(MAGIC.1)).map(|(info, _)| info);
    Ok(info.filter(|info| info.chars().all(|c| c.is_ascii_graphic() || c == ' ')).map(str::to_owned))
}

fn contents(file: &(impl Medium + ?Sized), offset: u64, length: u64) -> Result<Vec<u8>, PeError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, offset).map_err(|source| PeError::Io { offset, length, source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{StubInfo, UkiSection};
    use crate::format::pe::{Pe, builder::Builder};

    fn info(code: &[u8], data: &[u8]) -> StubInfo {
        let file = Builder { contents: [code.to_vec(), data.to_vec()], ..Builder::default() }.build();
        let mut file = file;
        let name = Builder::default().table() + 40;
        if data.starts_with(b"####") {
            file[name..name + 8].copy_from_slice(b".sdmagic");
        }
        StubInfo::read(&Pe::read(&file).expect("a PE file"), &file).expect("read")
    }

    #[test]
    fn version_and_sections_of_a_stub_are_detected() {
        let stub =
            info(b"x\0.linux\0.uname\0.cmdlist\0.osrelx", b"#### LoaderInfo: systemd-stub 257~rc2-3 ####\0.dtb\0");
        assert_eq!(stub.identity.as_deref(), Some("systemd-stub 257~rc2-3"));
        assert_eq!(stub.version(), Some(257));
        assert_eq!(stub.sections, [UkiSection::Linux, UkiSection::Uname]);
        assert!(!stub.is_addon());
        assert!(info(b"", b"#### LoaderInfo: systemd-addon 255 ####").is_addon());
        assert_eq!(info(b"\0.linux\0", b"none").sections, [UkiSection::Linux]);
        for odd in [b"#### LoaderInfo: systemd-stub \x1b ####".as_slice(), b"#### LoaderInfo: systemd-stub 25"] {
            assert_eq!(info(b"", odd), StubInfo::default());
        }
        assert_eq!(info(b"", b"#### LoaderInfo: systemd-stub x ####").version(), None);
    }

    #[test]
    fn section_names_are_unique_and_fit_in_a_section_header() {
        for section in UkiSection::ALL {
            assert_eq!(UkiSection::named(section.name()), Some(section));
            assert!(section.name().len() <= 8);
        }
        assert!(UkiSection::ALL.is_sorted());
        assert_eq!(UkiSection::named(".text"), None);
    }
}

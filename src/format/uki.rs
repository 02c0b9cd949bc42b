//! Unified kernel images: which sections they have, and what systemd-stub makes of them.
//!
//! UAPI group specification 5 (uapi-group.org/specifications/specs/unified_kernel_image); systemd `src/fundamental/uki.h`
//! and `src/boot/stub.c`. Refuses nothing: what a file is not, it says.

use super::Medium;
use super::pe::{Pe, PeError};

/// Far more than a stub has; the ones there are have 60 to 150 KiB.
pub const MOST_STUB: u64 = 16 << 20;
/// What a stub says of itself stands between these (systemd `src/boot/util.h`, `DECLARE_NOTE`/`.sdmagic`).
const MAGIC: (&str, &str) = ("#### LoaderInfo: ", " ####");
/// Far more than what it says.
const MOST_MAGIC: u64 = 4096;

/// Sections of a unified kernel image, in the order in which stubs measure them into PCR 11 (systemd
/// `src/fundamental/uki.h`, which says to keep it for ever). Where they stand in the file has no part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UkiSection {
    /// The kernel.
    Linux,
    /// `os-release(5)` of what is inside.
    Osrel,
    /// The kernel's command line.
    Cmdline,
    /// The initrd.
    Initrd,
    /// Microcode, an initrd of its own.
    Ucode,
    /// A picture.
    Splash,
    /// A device tree.
    Dtb,
    /// The kernel's release.
    Uname,
    /// Generations that can be revoked (shim's `SBAT.md`).
    Sbat,
    /// Signatures of expected PCR values.
    Pcrsig,
    /// The key that made them.
    Pcrpkey,
    /// One of several ways to boot it.
    Profile,
    /// Device trees to choose from.
    Dtbauto,
    /// What they are chosen by.
    Hwids,
    /// Firmware of devices.
    Efifw,
}

impl UkiSection {
    /// All of them, in the order of their measurement.
    pub const ALL: [Self; 15] = [
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

    /// Its name in the section table.
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

    /// The section of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }

    /// False for the one that is not measured: it signs what the measurement comes to.
    pub const fn measured(self) -> bool {
        !matches!(self, Self::Pcrsig)
    }
}

/// What a stub says of itself, or what can be seen of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StubInfo {
    /// `systemd-stub 252.39-1~deb12u2`; `None` where it is of another kind, or ancient.
    pub says: Option<String>,
    /// Sections it looks for, and so measures.
    pub knows: Vec<UkiSection>,
}

impl StubInfo {
    /// Looks at a stub, or at the stub in a unified kernel image.
    ///
    /// Which sections a stub knows is seen by their names in its own data rather than by its version: distributions patch,
    /// and versions between releases differ.
    pub fn read(pe: &Pe, file: &(impl Medium + ?Sized)) -> Result<Self, PeError> {
        let mut info = Self { says: says(pe, file)?, knows: Vec::new() };
        let mut data = Vec::new();
        // What was added to the stub is not the stub.
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
        info.knows = UkiSection::ALL.into_iter().filter(has).collect();
        Ok(info)
    }

    /// The major version of a systemd-stub: 252 of `systemd-stub 252.39-1~deb12u2`.
    pub fn version(&self) -> Option<u32> {
        let version = self.says.as_deref()?.strip_prefix("systemd-stub ")?;
        version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// True for the other kind of stub that systemd has, to which nothing but a command line can be added.
    pub fn is_addon(&self) -> bool {
        self.says.as_deref().is_some_and(|says| says.starts_with("systemd-addon"))
    }
}

/// What the stub says of itself between its marks; `None` where it says nothing that can be printed.
pub fn says(pe: &Pe, file: &(impl Medium + ?Sized)) -> Result<Option<String>, PeError> {
    let Some(section) = pe.section(".sdmagic") else { return Ok(None) };
    let (offset, length) = section.contents();
    let bytes = contents(file, offset, length.min(MOST_MAGIC))?;
    let text = String::from_utf8_lossy(&bytes);
    let said = text.split_once(MAGIC.0).and_then(|(_, rest)| rest.split_once(MAGIC.1)).map(|(said, _)| said);
    Ok(said.filter(|said| said.chars().all(|c| c.is_ascii_graphic() || c == ' ')).map(str::to_owned))
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
    fn a_stub_is_known_by_what_it_says_and_by_the_names_it_has() {
        let said =
            info(b"x\0.linux\0.uname\0.cmdlist\0.osrelx", b"#### LoaderInfo: systemd-stub 257~rc2-3 ####\0.dtb\0");
        assert_eq!(said.says.as_deref(), Some("systemd-stub 257~rc2-3"));
        assert_eq!(said.version(), Some(257));
        assert_eq!(said.knows, [UkiSection::Linux, UkiSection::Uname]);
        assert!(!said.is_addon());
        assert!(info(b"", b"#### LoaderInfo: systemd-addon 255 ####").is_addon());
        assert_eq!(info(b"\0.linux\0", b"none").knows, [UkiSection::Linux]);
        for odd in [b"#### LoaderInfo: systemd-stub \x1b ####".as_slice(), b"#### LoaderInfo: systemd-stub 25"] {
            assert_eq!(info(b"", odd), StubInfo::default());
        }
        assert_eq!(info(b"", b"#### LoaderInfo: systemd-stub x ####").version(), None);
    }

    #[test]
    fn names_lead_back_to_their_sections_and_fit() {
        for section in UkiSection::ALL {
            assert_eq!(UkiSection::named(section.name()), Some(section));
            assert!(section.name().len() <= 8);
        }
        assert!(UkiSection::ALL.is_sorted());
        assert_eq!(UkiSection::named(".text"), None);
    }
}

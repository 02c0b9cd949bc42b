//! Predicts the TPM measurements of a unified kernel image (PCR 4 and PCR 11) from the file.
//!
//! PCR 11: the stub measures its sections (systemd `src/boot/measure.c` and `stub.c`, `measure_sections`). systemd in
//! the initrd then extends the register with the names of boot phases (systemd-pcrphase.service(8)); without systemd,
//! it stays unchanged. PCR 4: the firmware measures an image that it starts directly, if no boot option was tried
//! before (TCG PC Client Platform Firmware Profile 1.05 §3.3.4.5 and §10.4.4, EDK2 `Tcg2Dxe.c` and
//! `DxeTpm2MeasureBootLib.c`). Refuses files that are not EFI programs.

use serde::Serialize;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Medium;
use super::pe::{Pe, PeError, Section, Tail, digest};
use super::uki::{StubInfo, UkiSection};

/// Boot phases that systemd measures into PCR 11, in order.
pub(crate) const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];
/// Text that firmware measures into PCR 4 before it starts a boot option (`EFI_CALLING_EFI_APPLICATION`, EDK2
/// `MdePkg/Include/IndustryStandard/UefiTcgPlatform.h`).
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
/// Separator between the measurements of the firmware and the rest (`EV_SEPARATOR`).
const SEPARATOR: &[u8] = &[0; 4];
/// Bytes per read.
const CHUNK: u64 = 256 << 10;
/// Versions of systemd-stub that start their kernel with `LoadImage` of the firmware, which measures it. Earlier and
/// later versions do not (systemd PR 37372). With Secure Boot, these versions replace the verification in `LoadImage`,
/// and the measurement with it.
const BY_LOAD_IMAGE: std::ops::Range<u32> = 252..258;

/// PCR bank of a TPM: one set of registers per hash algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bank {
    /// SHA-256, the usual bank.
    Sha256,
    /// SHA-384, often enabled as well.
    Sha384,
    /// SHA-512, rarely enabled.
    Sha512,
}

impl Bank {
    /// All predicted banks.
    pub(crate) const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];
}

/// Predicted value of a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// PCR number.
    pub(crate) pcr: u8,
    /// PCR bank.
    pub(crate) bank: Bank,
    /// For PCR 11: the completed systemd boot phases, joined by colons; empty before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<String>,
    /// For PCR 4: true if Secure Boot is enabled, because stubs then start their kernel differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secure_boot: Option<bool>,
    /// Value, in hexadecimal.
    pub(crate) hash: String,
}

/// Measured section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredSection {
    /// Section name: `.linux`.
    pub name: &'static str,
    /// SHA-256 of the section as loaded in memory, in hexadecimal.
    pub(crate) sha256: String,
}

/// Predicted measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// Name and version of the stub.
    pub(crate) stub: Option<String>,
    /// SHA-256 Authenticode digest of the whole file.
    pub(crate) authenticode: String,
    /// Sections measured into PCR 11, in measurement order.
    pub sections: Vec<MeasuredSection>,
    /// Predicted registers.
    pub pcrs: Vec<Register>,
}

/// Predicts the TPM measurements of a unified kernel image.
pub fn measure(file: &(impl Medium + ?Sized)) -> Result<Measured, PeError> {
    let pe = Pe::read(file)?;
    let stub = StubInfo::read(&pe, file)?;
    let image = Image { file, pe, stub };
    let mut pcrs = Vec::new();
    for bank in Bank::ALL {
        pcrs.extend(match bank {
            Bank::Sha256 => image.bank::<Sha256>(bank)?,
            Bank::Sha384 => image.bank::<Sha384>(bank)?,
            Bank::Sha512 => image.bank::<Sha512>(bank)?,
        });
    }
    let mut sections = Vec::new();
    for (name, section) in image.measured() {
        sections.push(MeasuredSection { name: name.name(), sha256: hex(&image.hash::<Sha256>(section)?) });
    }
    Ok(Measured {
        authenticode: hex(&digest::<Sha256>(&image.pe, file, Tail::Padded)?.digest),
        stub: image.stub.identity,
        sections,
        pcrs,
    })
}

/// An image and its stub.
struct Image<'a, M: ?Sized> {
    file: &'a M,
    pe: Pe,
    stub: StubInfo,
}

impl<M: Medium + ?Sized> Image<'_, M> {
    /// Returns the sections that the stub measures, in its order. Of several sections with one name, it uses the first.
    fn measured(&self) -> Vec<(UkiSection, &Section)> {
        let known = self.stub.sections.iter().filter(|section| section.measured());
        known.filter_map(|name| Some((*name, self.pe.section(name.name())?))).collect()
    }

    /// Returns the Authenticode digest of the kernel if firmware measures it, too: if the kernel loads its initrd with
    /// `LoadFile2`. Other kernels are started with the handover protocol.
    fn kernel<D: Digest>(&self) -> Result<Option<Vec<u8>>, PeError> {
        let loaded = self.stub.version().is_some_and(|version| BY_LOAD_IMAGE.contains(&version));
        let Some(section) = self.pe.section(UkiSection::Linux.name()).filter(|_| loaded) else { return Ok(None) };
        let kernel = Part { whole: self.file, section };
        let pe = Pe::read(&kernel)?;
        if pe.image_version == 0 {
            return Ok(None);
        }
        digest::<D>(&pe, &kernel, Tail::Unpadded).map(|digested| Some(digested.digest))
    }

    /// Returns all registers of a bank.
    fn bank<D: Digest>(&self, bank: Bank) -> Result<Vec<Register>, PeError> {
        let register = |pcr, hash| Register { pcr, bank, phase: None, secure_boot: None, hash };
        let mut four = Pcr::<D>::new();
        four.extend(&D::digest(CALLING));
        four.extend(&D::digest(SEPARATOR));
        four.extend(&digest::<D>(&self.pe, self.file, Tail::Unpadded)?.digest);
        let mut registers = vec![Register { secure_boot: Some(true), ..register(4, four.hex()) }];
        if let Some(kernel) = self.kernel::<D>()? {
            four.extend(&kernel);
        }
        registers.push(Register { secure_boot: Some(false), ..register(4, four.hex()) });
        let mut eleven = Pcr::<D>::new();
        for (name, section) in self.measured() {
            eleven.extend(&D::digest([name.name().as_bytes(), b"\0"].concat()));
            eleven.extend(&self.hash::<D>(section)?);
        }
        let mut phase = String::new();
        registers.push(Register { phase: Some(phase.clone()), ..register(11, eleven.hex()) });
        for word in PHASES {
            eleven.extend(&D::digest(word));
            phase.push_str(if phase.is_empty() { "" } else { ":" });
            phase.push_str(word);
            registers.push(Register { phase: Some(phase.clone()), ..register(11, eleven.hex()) });
        }
        Ok(registers)
    }

    /// Hashes a section as loaded in memory: its content in the file, padded with zeros to `VirtualSize`.
    fn hash<D: Digest>(&self, section: &Section) -> Result<Vec<u8>, PeError> {
        let (start, there) = section.contents();
        let mut hasher = D::new();
        let mut done = 0;
        let size = u64::from(section.virtual_size);
        let mut chunk = vec![0; size.min(CHUNK) as usize];
        while done < size {
            let length = (size - done).min(CHUNK) as usize;
            let part = &mut chunk[..length];
            part.fill(0);
            let read = there.saturating_sub(done).min(length as u64) as usize;
            // For a section at the end of the file, a read of the padding would be past the end.
            if read > 0 {
                let offset = start + done;
                let failed = |source| PeError::Io { offset, length: read, source };
                self.file.read_at(&mut part[..read], offset).map_err(failed)?;
            }
            hasher.update(&*part);
            done += length as u64;
        }
        Ok(hasher.finalize().to_vec())
    }
}

/// Content of a section, as a medium.
struct Part<'a, M: ?Sized> {
    whole: &'a M,
    section: &'a Section,
}

impl<M: Medium + ?Sized> Medium for Part<'_, M> {
    fn size(&self) -> u64 {
        self.section.contents().1
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let (start, size) = self.section.contents();
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= size);
        end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        self.whole.read_at(buffer, start + offset)
    }
}

/// Register value of one bank.
struct Pcr<D: Digest>(Vec<u8>, std::marker::PhantomData<D>);

impl<D: Digest> Pcr<D> {
    fn new() -> Self {
        Self(vec![0; <D as Digest>::output_size()], std::marker::PhantomData)
    }

    /// Extends the register (TPM 2.0 Part 1 §17.2): the new value is the hash of the old value and `digest`.
    fn extend(&mut self, digest: &[u8]) {
        let mut hasher = D::new();
        hasher.update(&self.0);
        hasher.update(digest);
        self.0 = hasher.finalize().to_vec();
    }

    fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Formats bytes as hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::{Bank, Pcr, hex, measure};
    use crate::format::pe::builder::Builder;
    use crate::format::pe::{NewSection, append};
    use sha2::{Digest, Sha256};

    fn image(identity: &str, sections: &[u8]) -> Vec<u8> {
        let identity = format!("#### LoaderInfo: {identity} ####");
        let builder = Builder { contents: [sections.to_vec(), identity.into_bytes()], ..Builder::default() };
        let mut stub = builder.build();
        stub[builder.table() + 40..][..8].copy_from_slice(b".sdmagic");
        let kernel = Builder::default().build();
        let new = |name, size: usize| NewSection { name, size: size as u64, code: false };
        let sections = [new(".osrel", 3), new(".uname", 3), new(".linux", kernel.len()), new(".pcrsig", 1)];
        let appended = append(&stub, &sections).expect("room");
        let mut file = appended.head;
        file.resize(appended.size as usize, 0);
        for (place, content) in appended.places.iter().zip([b"ID=".as_slice(), b"6.1", &kernel, b"x"]) {
            file[*place as usize..*place as usize + content.len()].copy_from_slice(content);
        }
        file
    }

    fn value(file: &Vec<u8>, pcr: u8) -> String {
        let measured = measure(file).expect("measured");
        let register = measured.pcrs.iter().find(|register| register.pcr == pcr && register.bank == Bank::Sha256);
        register.expect("predicted").hash.clone()
    }

    #[test]
    fn sections_that_the_stub_supports_are_measured_in_its_order_by_name_and_content() {
        let expected = |parts: &[&[u8]]| {
            let mut pcr = Pcr::<Sha256>::new();
            for part in parts {
                pcr.extend(&Sha256::digest(part));
            }
            pcr.hex()
        };
        let kernel = Builder::default().build();
        let all = image("systemd-stub 257", b"\0.linux\0.osrel\0.uname\0.pcrsig\0");
        let parts: [&[u8]; 6] = [b".linux\0", &kernel, b".osrel\0", b"ID=", b".uname\0", b"6.1"];
        assert_eq!(value(&all, 11), expected(&parts));
        let few = image("systemd-stub 252", b"\0.osrel\0.linux\0.pcrsig\0");
        assert_eq!(value(&few, 11), expected(&parts[..4]));
        let measured = measure(&few).expect("measured");
        let last = measured.pcrs.iter().rfind(|register| register.bank == Bank::Sha256).expect("predicted");
        assert_eq!(last.phase.as_deref(), Some("enter-initrd:leave-initrd:sysinit:ready"));
        let phases: [&[u8]; 4] = [b"enter-initrd", b"leave-initrd", b"sysinit", b"ready"];
        assert_eq!(last.hash, expected(&[&parts[..4], &phases].concat()));
        assert_eq!(measured.sections[1].name, ".osrel");
        assert_eq!(measured.sections[1].sha256, hex(&Sha256::digest(b"ID=")));
        assert_eq!(measured.pcrs.len(), 3 * 7);
    }

    #[test]
    fn the_zero_padding_of_a_section_at_the_end_of_the_file_is_measured() {
        let mut file = image("systemd-stub 257", b"\0.pcrpkey\0");
        // Make the last section a measured one that is larger in memory than in the file.
        let name = file.windows(8).position(|window| window == b".pcrsig\0").expect("its header");
        file[name..name + 8].copy_from_slice(b".pcrpkey");
        let size = 2 * super::CHUNK as u32;
        file[name + 8..name + 12].copy_from_slice(&size.to_le_bytes());
        let mut expected = vec![0; size as usize];
        expected[0] = b'x';
        let measured = measure(&file).expect("measured");
        assert_eq!(measured.sections[0].sha256, hex(&Sha256::digest(expected)));
    }

    #[test]
    fn the_kernel_is_measured_into_pcr_4_if_firmware_loads_it() {
        for (identity, included) in [
            ("systemd-stub 251", false),
            ("systemd-stub 252.39-1~deb12u2", true),
            ("systemd-stub 257.9", true),
            ("systemd-stub 258", false),
            ("unknown stub", false),
        ] {
            let measured = measure(&image(identity, b"\0.linux\0")).expect("measured");
            let [on, off, ..] = measured.pcrs.as_slice() else { panic!("two values") };
            assert_eq!((on.pcr, on.secure_boot, off.pcr, off.secure_boot), (4, Some(true), 4, Some(false)));
            assert_eq!(on.hash != off.hash, included, "{identity}");
        }
    }
}

//! What a TPM will have measured of a unified kernel image by the time its kernel runs: PCR 11 and PCR 4, predicted from
//! the file's final bytes.
//!
//! PCR 11 is the stub's: systemd `src/boot/measure.c` and `stub.c`, `measure_sections`; then systemd in the initrd extends it by
//! the names of phases (systemd-pcrphase.service(8)), and without systemd in there it stays what it was. PCR 4 is the
//! firmware's, for an image that it starts by itself, with no boot option tried before: TCG PC Client Platform Firmware Profile 1.05 §3.3.4.5 and §10.4.4, EDK2 `Tcg2Dxe.c` and `DxeTpm2MeasureBootLib.c`.
//! Refuses files that are no EFI programs, and images of stubs that measure nothing or whose sections are not known.

use serde::Serialize;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Medium;
use super::pe::{Pe, PeError, Section, Tail, digest};
use super::uki::{StubInfo, UkiSection};

/// What systemd extends PCR 11 by on its way.
pub const PHASES: [&str; 4] = ["enter-initrd", "leave-initrd", "sysinit", "ready"];
/// What firmware extends PCR 4 by before it starts a boot option (`EFI_CALLING_EFI_APPLICATION`, EDK2
/// `MdePkg/Include/IndustryStandard/UefiTcgPlatform.h`).
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
/// What separates firmware's own measurements from the rest (`EV_SEPARATOR`).
const SEPARATOR: &[u8] = &[0; 4];
/// Read at a time, bytes.
const CHUNK: u64 = 256 << 10;
/// Versions of systemd-stub that start their kernel by the firmware's `LoadImage`, which measures; before, and since, they do
/// without it (systemd PR 37372). Under Secure Boot these stand in for what verifies in there, and so for what measures.
const BY_LOAD_IMAGE: std::ops::Range<u32> = 252..258;

/// A TPM's bank of registers: each has one for every hash that it was set up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bank {
    /// What everybody uses.
    Sha256,
    /// Common beside it.
    Sha384,
    /// Rare.
    Sha512,
}

impl Bank {
    /// All that are predicted.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];
}

/// A register at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Register {
    /// Its number.
    pub pcr: u8,
    /// In which bank.
    pub bank: Bank,
    /// For PCR 11 the phases that systemd has gone through, joined by colons: empty before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// For PCR 4 whether Secure Boot is on: stubs start their kernel in other ways then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// Its value, in hexadecimal digits.
    pub hash: String,
}

/// A section that is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredSection {
    /// Its name: `.linux`.
    pub name: &'static str,
    /// SHA-256 of it as it is in memory, in hexadecimal digits.
    pub sha256: String,
}

/// What will be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// What the stub says of itself.
    pub stub: Option<String>,
    /// Authenticode digest of the whole, SHA-256.
    pub authenticode: String,
    /// Sections that go into PCR 11, in that order, and the SHA-256 of each.
    pub sections: Vec<MeasuredSection>,
    /// Registers.
    pub pcrs: Vec<Register>,
}

/// Predicts what a TPM will have measured of a unified kernel image.
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
        stub: image.stub.says,
        sections,
        pcrs,
    })
}

/// An image, and what its stub does.
struct Image<'a, M: ?Sized> {
    file: &'a M,
    pe: Pe,
    stub: StubInfo,
}

impl<M: Medium + ?Sized> Image<'_, M> {
    /// Sections that the stub measures, in its order. It takes the first of each name.
    fn measured(&self) -> Vec<(UkiSection, &Section)> {
        let known = self.stub.knows.iter().filter(|section| section.measured());
        known.filter_map(|name| Some((*name, self.pe.section(name.name())?))).collect()
    }

    /// The kernel's Authenticode digest, where firmware measures that, too: of a kernel that takes its initrd by `LoadFile2`.
    /// Others are started by the handover protocol.
    fn kernel<D: Digest>(&self) -> Result<Option<Vec<u8>>, PeError> {
        let loaded = self.stub.version().is_some_and(|version| BY_LOAD_IMAGE.contains(&version));
        let Some(section) = self.pe.section(UkiSection::Linux.name()).filter(|_| loaded) else { return Ok(None) };
        let kernel = Part { whole: self.file, section };
        let pe = Pe::read(&kernel)?;
        if pe.image_version == 0 {
            return Ok(None);
        }
        digest::<D>(&pe, &kernel, Tail::AsItIs).map(|digested| Some(digested.digest))
    }

    /// All registers of a bank.
    fn bank<D: Digest>(&self, bank: Bank) -> Result<Vec<Register>, PeError> {
        let register = |pcr, hash| Register { pcr, bank, phase: None, secure_boot: None, hash };
        let mut four = Pcr::<D>::new();
        four.extend(&D::digest(CALLING));
        four.extend(&D::digest(SEPARATOR));
        four.extend(&digest::<D>(&self.pe, self.file, Tail::AsItIs)?.digest);
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

    /// Hash of a section as it is in memory: zeros behind what the file has of it.
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
            // The zeros behind a section that ends with the file would be looked for behind its end.
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

/// What is in a section, as a file of its own.
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

/// A register.
struct Pcr<D: Digest>(Vec<u8>, std::marker::PhantomData<D>);

impl<D: Digest> Pcr<D> {
    fn new() -> Self {
        Self(vec![0; <D as Digest>::output_size()], std::marker::PhantomData)
    }

    /// TPM 2.0 Part 1 §17.2: the new value is the hash of the old one and what is added.
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

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::{Bank, Pcr, hex, measure};
    use crate::format::pe::builder::Builder;
    use crate::format::pe::{NewSection, append};
    use sha2::{Digest, Sha256};

    fn image(says: &str, knows: &[u8]) -> Vec<u8> {
        let says = format!("#### LoaderInfo: {says} ####");
        let builder = Builder { contents: [knows.to_vec(), says.into_bytes()], ..Builder::default() };
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
    fn what_the_stub_knows_is_measured_in_its_order_by_name_and_contents() {
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
    fn zeros_behind_a_section_that_ends_with_the_file_are_measured() {
        let mut file = image("systemd-stub 257", b"\0.pcrpkey\0");
        // The last section becomes one that is measured, and larger in memory than its one block in the file.
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
    fn the_kernel_is_in_pcr_4_where_firmware_loads_it() {
        for (says, included) in [
            ("systemd-stub 251", false),
            ("systemd-stub 252.39-1~deb12u2", true),
            ("systemd-stub 257.9", true),
            ("systemd-stub 258", false),
            ("stub of somebody", false),
        ] {
            let measured = measure(&image(says, b"\0.linux\0")).expect("measured");
            let [on, off, ..] = measured.pcrs.as_slice() else { panic!("two values") };
            assert_eq!((on.pcr, on.secure_boot, off.pcr, off.secure_boot), (4, Some(true), 4, Some(false)));
            assert_eq!(on.hash != off.hash, included, "{says}");
        }
    }
}

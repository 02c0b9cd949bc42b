//! What a TPM will have measured of a unified kernel image by the time its kernel runs: PCR 11 and PCR 4, predicted from
//! the file's final bytes.
//!
//! PCR 11 is the stub's: systemd `src/boot/measure.c` and `stub.c`, `measure_sections`; then systemd in the initrd extends it by
//! the names of phases (systemd-pcrphase.service(8)), and without systemd in there it stays what it was. PCR 4 is the
//! firmware's: TCG PC Client Platform Firmware Profile 1.05 §3.3.4.5 and §10.4.4, EDK2 `Tcg2Dxe.c` and `DxeTpm2MeasureBootLib.c`.
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
/// The first systemd-stub that starts its kernel by itself, and not by the firmware's `LoadImage`, which measures
/// (systemd PR 37372).
const STARTS_BY_ITSELF: u32 = 258;

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
    /// Its value, in hexadecimal digits.
    pub hash: String,
}

/// What will be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured {
    /// What the stub says of itself.
    pub stub: Option<String>,
    /// Authenticode digest of the whole, SHA-256.
    pub authenticode: String,
    /// Sections that go into PCR 11, in that order, and the SHA-256 of each.
    pub sections: Vec<(String, String)>,
    /// Whether firmware measures the kernel inside into PCR 4 as well.
    pub kernel_in_pcr4: bool,
    /// Registers.
    pub pcrs: Vec<Register>,
}

/// Predicts what a TPM will have measured of a unified kernel image.
pub fn measure(file: &(impl Medium + ?Sized)) -> Result<Measured, PeError> {
    let pe = Pe::read(file)?;
    let stub = StubInfo::read(&pe, file)?;
    let image = Image { file, stub, pe };
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
        sections.push((name.name().to_owned(), hex(&image.hash::<Sha256>(section)?)));
    }
    Ok(Measured {
        authenticode: hex(&digest::<Sha256>(&image.pe, file, Tail::Padded)?.digest),
        kernel_in_pcr4: image.kernel().is_some(),
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

    /// The kernel, where firmware measures that, too.
    fn kernel(&self) -> Option<&Section> {
        let measured = self.stub.version().is_some_and(|version| version < STARTS_BY_ITSELF);
        self.pe.section(UkiSection::Linux.name()).filter(|_| measured)
    }

    /// All registers of a bank.
    fn bank<D: Digest>(&self, bank: Bank) -> Result<Vec<Register>, PeError> {
        let mut four = Pcr::<D>::new();
        four.extend(&D::digest(CALLING));
        four.extend(&D::digest(SEPARATOR));
        four.extend(&digest::<D>(&self.pe, self.file, Tail::AsItIs)?.digest);
        if let Some(section) = self.kernel() {
            let kernel = Part { whole: self.file, section };
            four.extend(&digest::<D>(&Pe::read(&kernel)?, &kernel, Tail::AsItIs)?.digest);
        }
        let mut registers = vec![Register { pcr: 4, bank, phase: None, hash: four.hex() }];
        let mut eleven = Pcr::<D>::new();
        for (name, section) in self.measured() {
            eleven.extend(&D::digest([name.name().as_bytes(), b"\0"].concat()));
            eleven.extend(&self.hash::<D>(section)?);
        }
        let mut phase = String::new();
        registers.push(Register { pcr: 11, bank, phase: Some(phase.clone()), hash: eleven.hex() });
        for word in PHASES {
            eleven.extend(&D::digest(word));
            phase.push_str(if phase.is_empty() { "" } else { ":" });
            phase.push_str(word);
            registers.push(Register { pcr: 11, bank, phase: Some(phase.clone()), hash: eleven.hex() });
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
            let offset = start + done;
            let failed = |source| PeError::Io { offset, length: read, source };
            self.file.read_at(&mut part[..read], offset).map_err(failed)?;
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
    use crate::disk::pe::builder::Builder;
    use crate::disk::pe::{NewSection, append};
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
            parts.iter().for_each(|part| pcr.extend(&Sha256::digest(part)));
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
        assert_eq!(measured.sections[1], (".osrel".to_owned(), hex(&Sha256::digest(b"ID="))));
        assert_eq!(measured.pcrs.len(), 3 * 6);
    }

    #[test]
    fn the_kernel_is_in_pcr_4_where_firmware_loads_it() {
        let (old, new) = (image("systemd-stub 257.9", b"\0.linux\0"), image("systemd-stub 258", b"\0.linux\0"));
        assert!(measure(&old).expect("measured").kernel_in_pcr4);
        assert!(!measure(&new).expect("measured").kernel_in_pcr4);
        assert_ne!(value(&old, 4), value(&new, 4));
    }
}

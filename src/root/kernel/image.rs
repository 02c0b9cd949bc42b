//! Identifies kernel images by their first bytes, so that an unsupported one is reported instead of a timeout.
//!
//! x86: `Documentation/arch/x86/boot.rst`; arm64: `Documentation/arch/arm64/booting.rst`; RISC-V:
//! `Documentation/arch/riscv/boot-image-header.rst`; EFI zboot: `drivers/firmware/efi/libstub/zboot-header.S`;
//! UKI: the UAPI Group's specification. QEMU accepts most of these without an error and then shows no output.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use goblin::pe::section_table::SectionTable;

use super::{ImageKind, error::KernelError};
use crate::arch::Arch;
use crate::format::compression::{Compression, Streams};
use crate::format::elf::{ElfError, is_elf};
use crate::format::kernel::arm64;
use crate::format::kernel::bzimage::{BzImage, SetupError};
use crate::format::kernel::vmlinux::{Vmlinux, release_in};

/// Number of bytes read from the start of a file. Enough for all headers, including a PE section table.
const HEAD: u64 = 8192;

/// A bootable kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bootable {
    /// Format of the image.
    pub(crate) kind: ImageKind,
    /// `uname -r`, if the image contains it.
    pub(crate) release: Option<String>,
    /// Architecture of the image.
    pub(crate) arch: Arch,
}

/// A file that is not bootable, with its type and advice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// File type, such as "an arm64 Image".
    pub(crate) what: String,
    /// One line of advice.
    pub(crate) advice: &'static str,
}

impl Refused {
    pub(super) fn new(what: impl Into<String>, advice: &'static str) -> Self {
        Self { what: what.into(), advice }
    }
}

const GIVE_KERNEL: &str = "pass an x86-64 bzImage (vmlinuz) or vmlinux, or an arm64 Image";
const GIVE_IMAGE: &str = "pass an arm64 Image (vmlinuz)";
const UNPACK: &str = "unpack it (gunzip) and pass the Image";
const INITRD: &str =
    "pass an initrd with --initrd; --kernel takes a bzImage, a vmlinux, a build tree, a .deb or a release";

/// Identifies the file at `path`.
pub(crate) fn identify(path: &Path) -> Result<Result<Bootable, Refused>, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(failed)?;
    if is_elf(&head) {
        return elf_image(&file).map_err(failed);
    }
    if BzImage::is(&head) {
        // The version string may be anywhere in the setup code. Limit of the setup code: 32 KiB.
        let mut setup = vec![0; usize::try_from(len.min(64 << 10)).unwrap_or(0)];
        file.read_exact_at(&mut setup, 0).map_err(failed)?;
        return Ok(bzimage(&setup, len));
    }
    match arm64::is_little_endian(&head) {
        Some(true) => return Ok(Ok(Bootable { kind: ImageKind::Arm64, release: None, arch: Arch::Aarch64 })),
        Some(false) => return Ok(Err(Refused::new("a big-endian arm64 Image", GIVE_IMAGE))),
        None => {}
    }
    Ok(Err(other_file(&head, len)))
}

/// Returns the release of an image whose header does not contain it, by searching for the kernel's banner.
pub(crate) fn search_release(path: &Path) -> Result<Option<String>, KernelError> {
    let failed = |source| KernelError::Io { doing: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    release_in(&file, &[(0, len)]).map_err(failed)
}

/// Identifies a file with an x86 boot header.
fn bzimage(setup: &[u8], len: u64) -> Result<Bootable, Refused> {
    match BzImage::parse(setup, len) {
        Ok(header) if !header.is_64 => Err(Refused::new("a bzImage for 32-bit x86 (i386)", GIVE_KERNEL)),
        Ok(header) => Ok(Bootable { kind: ImageKind::BzImage, release: header.release(setup), arch: Arch::X86_64 }),
        Err(error @ SetupError::Truncated { .. }) => {
            Err(Refused::new(format!("a truncated bzImage ({error})"), "copy or build it again"))
        }
        Err(error) => {
            Err(Refused::new(format!("a damaged or unsupported bzImage ({error})"), "copy or build it again"))
        }
    }
}

/// Identifies an ELF file.
fn elf_image(file: &File) -> std::io::Result<Result<Bootable, Refused>> {
    let found = match Vmlinux::read(file) {
        Ok(found) => found,
        Err(ElfError::Io(error)) => return Err(error),
        Err(fault @ ElfError::Malformed { .. }) => {
            return Ok(Err(Refused::new(format!("a damaged ELF file ({fault})"), "copy or build it again")));
        }
    };
    let arch = found.abi.arch();
    let machine = || arch.map_or_else(|| format!("machine {}", found.abi.machine), |arch| arch.to_string());
    if found.is_relocatable {
        return Ok(Err(Refused::new(format!("a kernel module or object file for {}", machine()), INITRD)));
    }
    if arch == Some(Arch::Aarch64) {
        return Ok(Err(Refused::new(
            "a vmlinux for aarch64",
            "pass the Image of the same build (arch/arm64/boot/Image)",
        )));
    }
    if arch != Some(Arch::X86_64) {
        return Ok(Err(Refused::new(format!("an ELF file for {}", machine()), GIVE_KERNEL)));
    }
    if !found.has_pvh {
        let what = if found.release(file)?.is_some() {
            "a vmlinux without a PVH entry note (CONFIG_PVH is off)"
        } else {
            "an ELF file that is not a Linux kernel (no PVH entry note, no version string)"
        };
        return Ok(Err(Refused::new(what, "pass the bzImage of the same build, or build with CONFIG_PVH=y")));
    }
    let release = found.release(file)?;
    Ok(Ok(Bootable { kind: ImageKind::VmlinuxPvh, release, arch: Arch::X86_64 }))
}

/// Identifies all other files that users pass to `--kernel`.
fn other_file(head: &[u8], len: u64) -> Refused {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if len == 0 {
        return Refused::new("an empty file", "copy or build it again");
    }
    if at(0, b"MZ") && at(4, b"zimg") {
        return Refused::new("an EFI zboot image (vmlinuz.efi)", GIVE_KERNEL);
    }
    if at(48, b"RISCV") || at(56, b"RSC\x05") {
        return Refused::new("a RISC-V Image", GIVE_KERNEL);
    }
    if at(0, b"MZ") {
        return pe(head);
    }
    if let Some(refused) = packed(head) {
        return refused;
    }
    for (magic, what, advice) in [
        (b"070701".as_slice(), "an initrd (newc cpio archive)", INITRD),
        (b"070702", "an initrd (newc cpio archive with checksums)", INITRD),
        (b"070707", "a cpio archive in the old format", INITRD),
        (b"\xed\xab\xee\xdb", "an rpm package", "unpack it (rpm2cpio FILE | cpio -id) and pass the directory"),
        (b"\x27\x05\x19\x56", "a U-Boot uImage", GIVE_KERNEL),
        (b"QFI\xfb", "a qcow2 disk image", "extract the kernel and pass that, or boot the disk"),
        (b"\xd0\x0d\xfe\xed", "a device tree or FIT image", GIVE_KERNEL),
        (b"#!", "a script", GIVE_KERNEL),
    ] {
        if at(0, magic) {
            return Refused::new(what, advice);
        }
    }
    if at(510, &[0x55, 0xaa]) {
        return Refused::new("a disk image or boot sector", "extract the kernel and pass that, or boot the disk");
    }
    Refused::new("a file of unknown type", GIVE_KERNEL)
}

/// Identifies a PE file that is not a Linux image: a UKI or another EFI application.
fn pe(head: &[u8]) -> Refused {
    let sections = pe_sections(head).unwrap_or_default();
    if sections.iter().any(|name| name == ".linux") {
        return Refused::new(
            "a unified kernel image (UKI)",
            "extract the kernel (objcopy -O binary -j .linux) and pass that",
        );
    }
    Refused::new("an EFI application, not a Linux kernel", GIVE_KERNEL)
}

/// Returns the names of the PE sections whose headers are in `head`.
fn pe_sections(head: &[u8]) -> Option<Vec<String>> {
    let word = |at: usize| Some(u16::from_le_bytes(head.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let start = head.get(0x3c..0x40).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)?;
    let start = usize::try_from(start).ok()?;
    if head.get(start..start.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let count = word(start.checked_add(6)?)?.min(96);
    let optional = usize::from(word(start.checked_add(20)?)?);
    let mut offset = start.checked_add(24)?.checked_add(optional)?;
    let mut names = Vec::new();
    for _ in 0..count {
        let Ok(section) = SectionTable::parse(head, &mut offset, 0) else { break };
        names.push(section.name().unwrap_or_default().to_owned());
    }
    Some(names)
}

/// Identifies a compressed file. Looks into gzip, which is cheap; other formats are reported only by name.
fn packed(head: &[u8]) -> Option<Refused> {
    let compression = Compression::detect(head);
    if compression == Compression::None {
        return None;
    }
    if compression != Compression::Gzip {
        return Some(Refused::new(format!("a {compression}-compressed file, perhaps an initrd"), INITRD));
    }
    let mut inside = Vec::new();
    // `head` is a part of the stream, so an error at its end is expected.
    let _ = compression.reader(head, Streams::First).and_then(|reader| reader.take(HEAD).read_to_end(&mut inside));
    let has = |offset: usize, magic: &[u8]| inside.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    Some(if has(56, b"ARM\x64") {
        Refused::new("a gzip-compressed arm64 Image", UNPACK)
    } else if has(48, b"RISCV") {
        Refused::new("a gzip-compressed RISC-V Image", GIVE_KERNEL)
    } else if has(0, b"07070") {
        Refused::new("a gzip-compressed initrd", INITRD)
    } else {
        Refused::new("a gzip-compressed file", GIVE_KERNEL)
    })
}

#[cfg(test)]
mod tests {
    use super::{identify, other_file, search_release};
    use crate::arch::Arch;
    use crate::root::kernel::ImageKind;
    use proptest::prelude::{ProptestConfig, any, proptest};
    use std::io::Write as _;

    #[test]
    fn every_unsupported_type_is_identified() {
        let at = |offset: usize, magic: &[u8]| {
            let mut bytes = vec![0; 1024];
            bytes[offset..offset + magic.len()].copy_from_slice(magic);
            bytes
        };
        let mut zboot = at(4, b"zimg");
        zboot[..2].copy_from_slice(b"MZ");
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&at(56, b"ARM\x64")).expect("compressed");
        let gz = gz.finish().expect("finished");
        for (bytes, expected) in [
            (gz, "gzip-compressed arm64 Image"),
            (zboot, "EFI zboot"),
            (at(48, b"RISCV\0\0\0"), "RISC-V Image"),
            (at(0, b"070701"), "initrd"),
            (at(0, &[0x28, 0xb5, 0x2f, 0xfd]), "zstd"),
            (at(0, b"\xed\xab\xee\xdb"), "rpm"),
            (at(510, &[0x55, 0xaa]), "boot sector"),
            (at(0, b"MZ"), "EFI application"),
            (Vec::new(), "empty"),
        ] {
            let found = other_file(&bytes, bytes.len() as u64);
            assert!(found.what.contains(expected), "{} is not {expected}", found.what);
        }
    }

    #[test]
    fn an_arm64_image_is_bootable_if_it_is_little_endian() {
        let mut image = vec![0; 4096];
        image[56..60].copy_from_slice(b"ARM\x64");
        image[2000..2036].copy_from_slice(b"Linux version 6.9.0-test (a@b) #1 S\0");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &image).expect("written");
        let found = identify(file.path()).expect("read").expect("bootable");
        assert_eq!((found.kind, found.arch), (ImageKind::Arm64, Arch::Aarch64));
        assert_eq!(search_release(file.path()).expect("read").as_deref(), Some("6.9.0-test"));
        image[24] = 1;
        std::fs::write(file.path(), &image).expect("written");
        let refused = identify(file.path()).expect("read").expect_err("big-endian");
        assert!(refused.what.contains("big-endian"), "{}", refused.what);
    }

    #[test]
    fn a_uki_is_identified_by_its_linux_section() {
        let mut uki = vec![0; 1024];
        uki[..2].copy_from_slice(b"MZ");
        uki[0x3c] = 0x80;
        uki[0x80..0x84].copy_from_slice(b"PE\0\0");
        uki[0x86] = 2;
        uki[0x98..0x9d].copy_from_slice(b".text");
        uki[0xc0..0xc6].copy_from_slice(b".linux");
        assert!(other_file(&uki, 1024).what.contains("UKI"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_bytes_are_identified(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), kind in 0..4) {
            for (at, magic) in [(0x1fe, b"\x55\xaa".as_slice()), (0x202, b"HdrS"), (0, b"MZ"), (0, b"\x7fELF")] {
                if kind > 0 && bytes.len() > 0x300 {
                    bytes[at..at + magic.len()].copy_from_slice(magic);
                }
            }
            if kind == 1 && bytes.len() > 2 {
                bytes[..2].copy_from_slice(b"MZ");
            }
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), &bytes).expect("written");
            let _ = identify(file.path()).expect("read");
        }
    }
}

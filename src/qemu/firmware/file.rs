//! Firmware given as a file: its type, and its variables.
//!
//! UEFI firmware starts with a firmware volume (UEFI Platform Initialization Specification, volume 3, §3.2.1): its file
//! system GUID at byte 16, its length at byte 32, `_FVH` at byte 40. Any other file is treated as a BIOS.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Files, Firmware, FirmwareError, Format, Image, Search, Uefi};

/// `gEfiSystemNvDataFvGuid` in stored byte order: the volume of the variables (EDK2 `MdeModulePkg`).
const NV_DATA: [u8; 16] =
    [0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50];
/// Magic number of a qcow2 image (`docs/interop/qcow2.txt`).
const QCOW2: [u8; 4] = *b"QFI\xfb";
const HEAD: usize = 56;

/// Type of a firmware file, detected from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A qcow2 image. Its content is not inspected: distributions use qcow2 only for split firmware.
    Qcow2,
    Code,
    /// Variables followed by code.
    Combined,
    Variables,
    Bios,
}

/// Detects the type of a firmware file from its first bytes and its length.
fn kind(head: &[u8], len: u64) -> Kind {
    if head.starts_with(&QCOW2) {
        return Kind::Qcow2;
    }
    if head.get(40..44) != Some(b"_FVH") {
        return Kind::Bios;
    }
    if head.get(16..32) != Some(&NV_DATA) {
        return Kind::Code;
    }
    let volume = head.get(32..40).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    // A variable store is followed by a spare area at most (EDK2 `OvmfPkg/VarStore.fdf.inc`); code takes far more
    // space.
    if volume >= len / 2 { Kind::Variables } else { Kind::Combined }
}

/// Determines the firmware in the given file, before `--firmware-vars` is applied.
pub(crate) fn identify(path: &Path, vars: Option<&Path>, search: &Search) -> Result<Firmware, FirmwareError> {
    let (head, len) = head(path).map_err(|source| FirmwareError::Unreadable { path: path.to_owned(), source })?;
    let format = match kind(&head, len) {
        Kind::Bios if vars.is_some() => return Err(FirmwareError::NoFlash { firmware: path.display().to_string() }),
        Kind::Bios => return Ok(Firmware::Bios(Some(absolute(path)))),
        Kind::Variables => return Err(FirmwareError::Variables { path: path.to_owned() }),
        Kind::Combined => {
            let files = Files::Combined(Image { path: absolute(path), format: Format::Raw });
            return Ok(Firmware::Uefi(Uefi { files, smm: false }));
        }
        Kind::Qcow2 => Format::Qcow2,
        Kind::Code => Format::Raw,
    };
    if let Some(described) = search.describes(path) {
        return Ok(Firmware::Uefi(described));
    }
    let code = Image { path: absolute(path), format };
    let files = match vars {
        // `--firmware-vars` supplies the variables.
        Some(_) => Files::Stateless(code),
        None => Files::Split { vars: vars_beside(path)?, code },
    };
    Ok(Firmware::Uefi(Uefi { files, smm: is_built_with_smm(path) }))
}

/// Returns true if code without a descriptor was built for SMM (without SMM such code hangs silently). Only the file
/// name shows it; all distributions follow these naming patterns.
fn is_built_with_smm(code: &Path) -> bool {
    let name = code.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    ["secboot", "secure", "-smm", ".ms."].iter().any(|word| name.contains(word))
}

/// Opens a flash image and detects its format from its first bytes.
pub(crate) fn image(path: &Path) -> Result<Image, FirmwareError> {
    let (head, _) = head(path).map_err(|source| FirmwareError::Unreadable { path: path.to_owned(), source })?;
    let format = if head.starts_with(&QCOW2) { Format::Qcow2 } else { Format::Raw };
    Ok(Image { path: absolute(path), format })
}

fn head(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut head = Vec::new();
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head, metadata.len()))
}

/// Makes a path absolute: QEMU searches its own data directory for names without a directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Finds the variable template in the directory of the code.
fn vars_beside(code: &Path) -> Result<Image, FirmwareError> {
    let name = code.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let names = names_of_vars(&name);
    let found = names.iter().map(|name| code.with_file_name(name)).find(|path| path.is_file());
    match found {
        Some(path) => image(&path),
        None => Err(FirmwareError::NoVariables { path: code.to_owned(), tried: names.join(", ") }),
    }
}

/// Candidate file names of the variables for code with this name.
fn names_of_vars(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    // The variables of `OVMF_CODE_4M.secboot.fd` are in `OVMF_VARS_4M.fd`.
    let plain = code.replace(".secboot", "").replace(".snakeoil", "");
    for name in [code, plain.as_str()] {
        for (from, to) in [("CODE", "VARS"), ("code", "vars")] {
            names.extend(name.contains(from).then(|| name.replace(from, to)));
        }
    }
    names.extend(["edk2-i386-vars.fd".to_owned(), "OVMF_VARS.fd".to_owned()]);
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::{Kind, NV_DATA, kind, names_of_vars};

    fn volume(guid: [u8; 16], len: u64) -> Vec<u8> {
        let mut head = vec![0; 56];
        head[16..32].copy_from_slice(&guid);
        head[32..40].copy_from_slice(&len.to_le_bytes());
        head[40..44].copy_from_slice(b"_FVH");
        head
    }

    #[test]
    fn a_file_tells_what_it_is() {
        for (head, len, expected) in [
            (volume([1; 16], 0x34_8000), 0x37_c000, Kind::Code),
            (volume(NV_DATA, 0x8_4000), 0x40_0000, Kind::Combined),
            (volume(NV_DATA, 0x8_4000), 0x8_4000, Kind::Variables),
            (volume(NV_DATA, 0x1_0000), 0x2_0000, Kind::Variables),
            (volume(NV_DATA, u64::MAX), 10, Kind::Variables),
            (b"QFI\xfb\0\0\0\x03".to_vec(), 1 << 20, Kind::Qcow2),
            (vec![0; 56], 256 << 10, Kind::Bios),
            (Vec::new(), 0, Kind::Bios),
            (volume(NV_DATA, 1)[..41].to_vec(), 41, Kind::Bios),
        ] {
            assert_eq!(kind(&head, len), expected);
        }
    }

    #[test]
    fn the_variables_of_some_code_are_looked_for_under_its_names() {
        assert_eq!(names_of_vars("OVMF_CODE_4M.secboot.fd")[..2], ["OVMF_VARS_4M.secboot.fd", "OVMF_VARS_4M.fd"]);
        assert_eq!(names_of_vars("edk2-x86_64-code.fd")[..2], ["edk2-x86_64-vars.fd", "edk2-i386-vars.fd"]);
        assert_eq!(names_of_vars("x.fd"), ["edk2-i386-vars.fd", "OVMF_VARS.fd"]);
    }
}

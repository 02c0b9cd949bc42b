//! Lookup and validation of systemd's EFI stub.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use super::UkiError;
use crate::arch::Arch;
use crate::format::archive_path::ArchivePath;
use crate::format::pe::{Machine, Pe};
use crate::format::uki::{MOST_STUB, StubInfo, UkiSection};
use crate::root::directory::Root;

/// Directories of the stub. Debian, Ubuntu, Fedora, Arch and openSUSE use the first; the second is for a split `/usr`.
const FOLDERS: [&str; 2] = ["/usr/lib/systemd/boot/efi", "/lib/systemd/boot/efi"];
/// `EFI_APPLICATION` (PE Format, "Windows Subsystem").
const EFI_APPLICATION: u16 = 10;

/// Sections that the stub must support to boot a kernel.
const NEEDED: [UkiSection; 3] = [UkiSection::Linux, UkiSection::Initrd, UkiSection::Cmdline];

/// A stub file.
#[derive(Debug, Clone)]
pub(crate) struct Stub {
    /// Path of the file.
    pub(crate) path: PathBuf,
    /// Content of the file.
    pub(crate) bytes: Vec<u8>,
    /// Its PE headers.
    pub(crate) pe: Pe,
}

impl Stub {
    /// Finds the stub for an architecture in the directories of the systemd below the root.
    pub(crate) fn find(root: &Root, arch: Arch) -> Result<Self, UkiError> {
        let Some(suffix) = Machine::of(arch).and_then(Machine::suffix) else {
            return Err(UkiError::NoUefi { arch });
        };
        let mut tried = Vec::new();
        for folder in FOLDERS {
            let path = ArchivePath::new(folder).join(format!("linux{suffix}.efi.stub"));
            match root.resolve(&path) {
                Ok(found) => return Self::read(root.host_path(&found.real)),
                Err(error) if error.is_missing() => tried.push(root.host_path(&path)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(UkiError::NoStub { tried })
    }

    /// Reads and checks the stub in a file on the host.
    pub(crate) fn read(path: PathBuf) -> Result<Self, UkiError> {
        let failed = |source| UkiError::Io { doing: "read EFI stub", path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).and_then(|file| file.take(MOST_STUB + 1).read_to_end(&mut bytes)).map_err(failed)?;
        let refused = |why| Err(UkiError::NotAStub { path: path.clone(), why });
        if bytes.len() as u64 > MOST_STUB {
            return refused("larger than 16 MiB");
        }
        if bytes.starts_with(b"\x7fELF") {
            return refused("this is the ELF file that the stub is built from");
        }
        let why = |why| UkiError::Stub { path: path.clone(), why };
        let pe = Pe::read(&bytes).map_err(why)?;
        let info = StubInfo::read(&pe, &bytes).map_err(why)?;
        if pe.subsystem != EFI_APPLICATION {
            return refused("not an EFI application");
        }
        if info.is_addon() {
            return refused("this is the stub for addons, which cannot contain a kernel");
        }
        if pe.section(".linux").is_some() {
            return refused("already contains a kernel");
        }
        // Firmware would start any other EFI application, too, but that application would ignore the kernel. Sections
        // that only other programs read (`.osrel`, `.uname`) are not required.
        if NEEDED.iter().any(|section| !info.sections.contains(section)) {
            return refused("no support for .linux, .initrd and .cmdline, so it would not start the kernel");
        }
        Ok(Self { path, bytes, pe })
    }
}

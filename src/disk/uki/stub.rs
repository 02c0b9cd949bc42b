//! systemd's EFI stub: where it is kept, and what it can do.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::UkiError;
use crate::arch::Arch;
use crate::format::Medium;
use crate::format::archive_path::ArchivePath;
use crate::format::pe::{Machine, Pe};
use crate::format::uki::{MOST_STUB, StubInfo, UkiSection};
use crate::root::root::Root;

/// Where distributions have it: Debian, Ubuntu, Fedora, Arch and openSUSE agree on it; the second is for split `/usr`.
const FOLDERS: [&str; 2] = ["/usr/lib/systemd/boot/efi", "/lib/systemd/boot/efi"];
/// `EFI_APPLICATION` (PE Format, "Windows Subsystem").
const EFI_APPLICATION: u16 = 10;

/// Sections without which nothing boots.
const NEEDED: [UkiSection; 3] = [UkiSection::Linux, UkiSection::Initrd, UkiSection::Cmdline];

/// A stub.
#[derive(Debug, Clone)]
pub struct Stub {
    /// The file.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its headers.
    pub pe: Pe,
    /// What it says of itself, and which sections it knows.
    pub info: StubInfo,
}

impl Stub {
    /// Looks for the stub for an architecture where the root's own systemd keeps it.
    pub fn find(root: &Root, arch: Arch) -> Result<Self, UkiError> {
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

    /// Reads the stub in a file of the host.
    pub fn read(path: PathBuf) -> Result<Self, UkiError> {
        let failed = |source| UkiError::Io { doing: "reading EFI stub", path: path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&path).and_then(|file| file.take(MOST_STUB + 1).read_to_end(&mut bytes)).map_err(failed)?;
        let refused = |why| Err(UkiError::NotAStub { path: path.clone(), why });
        if bytes.len() as u64 > MOST_STUB {
            return refused("it has more than 16 MiB");
        }
        if bytes.starts_with(b"\x7fELF") {
            return refused("it is the ELF file that the stub is made of, not the stub");
        }
        let why = |why| UkiError::Stub { path: path.clone(), why };
        let pe = Pe::read(&bytes).map_err(why)?;
        let info = StubInfo::read(&pe, &bytes).map_err(why)?;
        if pe.subsystem != EFI_APPLICATION {
            return refused("it is no EFI application");
        }
        if info.is_addon() {
            return refused("it is the stub for addons, which carry no kernel");
        }
        if pe.section(".linux").is_some() {
            return refused("it has a kernel in it already");
        }
        // Any other EFI program would start, too, and never look at the kernel behind it. What is there for others than the
        // stub to read (`.osrel`, `.uname`) it need not know.
        if NEEDED.iter().any(|section| !info.knows.contains(section)) {
            return refused("it does not look for .linux, .initrd and .cmdline, so it would start no kernel");
        }
        Ok(Self { path, bytes, pe, info })
    }
}

/// A file as a medium.
pub(super) struct FileMedium<'a> {
    pub file: &'a File,
    pub size: u64,
}

impl Medium for FileMedium<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

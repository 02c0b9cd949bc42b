//! bootling in a directory with an image, and the expected boot sector.

use std::fs;
use std::path::Path;

use bootling::format::SectorSize;
use bootling::format::bootsector::Message;
use bootling::format::bootsector::Then;
use bootling::format::bootsector::boot_code;
use bootling::format::mbr::BOOT_CODE;
use bootling::format::mbr::Mbr;
use snapbox::cmd::Command;

use crate::disks::{self, gpt_disk};

/// bootling in a private directory.
pub(crate) struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self { dir: disks::scratch() }
    }

    /// Creates a directory with the image `x.img`.
    pub(crate) fn with(disk: impl AsRef<[u8]>) -> Self {
        let case = Self::new();
        case.write("x.img", disk);
        case
    }

    pub(crate) fn usual() -> Self {
        Self::with(gpt_disk(SectorSize::S512))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        disks::read(self.path(), name)
    }

    pub(crate) fn bootling(&self, words: &[&str]) -> Command {
        Command::new(env!("CARGO_BIN_EXE_bootling")).args(words).current_dir(self.path())
    }

    /// Checks for success with this text on standard error and an empty standard output.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str], text: impl snapbox::IntoData) {
        self.bootling(words).assert().success().stdout_eq("").stderr_eq(text);
    }

    /// Checks for failure with this text on standard error and unchanged files.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str], error: impl snapbox::IntoData) {
        let before = self.files();
        self.bootling(words).assert().code(125).stdout_eq("").stderr_eq(error);
        assert!(self.files() == before, "a file changed");
    }

    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path()).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut files: Vec<_> = names.map(|name| (name.clone(), self.read(&name))).collect();
        files.sort();
        files
    }
}

pub(crate) fn standard() -> [u8; BOOT_CODE] {
    boot_code(&Message::standard(), Then::Halt).expect("fits")
}

/// Returns the usual disk with the standard boot sector.
pub(crate) fn stamped(sector: SectorSize) -> Vec<u8> {
    let mut disk = gpt_disk(sector);
    disk[..BOOT_CODE].copy_from_slice(&standard());
    disk
}

pub(crate) fn changed(change: impl FnOnce(&mut Mbr)) -> Vec<u8> {
    let mut disk = gpt_disk(SectorSize::S512);
    let mut mbr = Mbr::decode(disk[..512].try_into().expect("512 bytes"));
    change(&mut mbr);
    disk[..512].copy_from_slice(&mbr.encode());
    disk
}

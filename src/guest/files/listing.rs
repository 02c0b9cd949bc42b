//! Entries of a directory.

use std::io::{self, Seek, SeekFrom};
use std::mem::MaybeUninit;

use fuse_backend_rs::api::filesystem::DirEntry;
use rustix::fs::{FileType, RawDir};

use super::tree::Tree;

/// Size of the buffer for directory entries, bytes.
const ENTRIES: usize = 32 * 1024;

impl Tree {
    /// Reads entries of a directory from a position on, and passes each to `add` with its inode number, until it returns 0.
    pub(super) fn list(
        &self,
        inode: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        let handle = self.file(inode, handle)?;
        let mut directory = handle.file();
        directory.seek(SeekFrom::Start(offset))?;
        let mut buffer = vec![MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(&*directory, &mut buffer);
        let mut is_first = true;
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) if is_first => return Err(errno.into()),
                // The kernel asks again after the entries that it has received.
                Err(_) => break,
            };
            is_first = false;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => libc::DT_REG,
                FileType::Directory => libc::DT_DIR,
                FileType::Symlink => libc::DT_LNK,
                FileType::Fifo => libc::DT_FIFO,
                FileType::Socket => libc::DT_SOCK,
                FileType::CharacterDevice => libc::DT_CHR,
                FileType::BlockDevice => libc::DT_BLK,
                FileType::Unknown => libc::DT_UNKNOWN,
            };
            let (ino, offset) = (entry.ino(), entry.next_entry_cookie());
            if add(DirEntry { ino, offset, type_: u32::from(kind), name })? == 0 {
                break;
            }
        }
        Ok(())
    }
}

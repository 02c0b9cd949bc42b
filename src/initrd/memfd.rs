//! Archives in memory for QEMU: a sealed memfd that no process can change while a guest boots from it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};

use super::archive::{self, Options};
use super::check::CheckedPlan;
use crate::format::compression::Compression;
use crate::{
    format::newc,
    output::{Sink, WriteError},
};

/// Writes the archive of `plan` to a sealed memfd. The file offset is 0.
pub(crate) fn memfd(plan: &CheckedPlan, mtime: u32) -> Result<OwnedFd, WriteError> {
    let mut memory = create()?;
    archive::write(plan, &mut memory, &Options { align: true, mtime })?;
    seal(memory)
}

/// Writes the archive of `plan` to an unsealed memfd, to be copied elsewhere. Returns the memfd and the length in
/// bytes.
pub(crate) fn window(plan: &CheckedPlan, mtime: u32) -> Result<(OwnedFd, u64), WriteError> {
    let mut memory = create()?;
    let len = archive::write(plan, &mut memory, &Options { align: true, mtime })?;
    Ok((memory.into(), len))
}

/// Writes the archive of `plan` to the start of an existing memory file, which must still be zeros there. The archive
/// has [`newc::len`] bytes.
pub(crate) fn into(plan: &CheckedPlan, mtime: u32, memory: &OwnedFd) -> Result<(), WriteError> {
    let mut memory = memory.try_clone().map(File::from).map_err(WriteError::Archive)?;
    memory.seek(SeekFrom::Start(0)).map_err(WriteError::Archive)?;
    archive::write(plan, &mut memory, &Options { align: true, mtime }).map(drop)
}

/// Writes the archive of `plan`, optionally compressed, to a sealed memfd. The file offset is 0.
pub fn packed(plan: &CheckedPlan, compression: Compression, mtime: u32) -> Result<OwnedFd, WriteError> {
    let mut memory = create()?;
    let mut sink = compression.writer(&mut memory).map_err(WriteError::Archive)?;
    // Aligned data is only useful in an uncompressed archive.
    archive::write(plan, &mut sink, &Options { align: compression == Compression::None, mtime })?;
    sink.finish().map_err(WriteError::Archive)?;
    seal(memory)
}

/// Writes an existing initrd, followed by the archive of `plan`, to a sealed memfd. Members of the second archive
/// replace members of the first with the same name (`init/initramfs.c`, `clean_path`).
pub(crate) fn overlay(initrd: &mut File, plan: &CheckedPlan, mtime: u32) -> Result<OwnedFd, WriteError> {
    let failed = |source| WriteError::Output { name: "the initrd in memory".to_owned(), source };
    let mut memory = create()?;
    let len = copy(initrd, &mut memory).map_err(failed)?;
    let last = last_segment(&memory).map_err(failed)?;
    if let Some(compression) = last.filter(|last| last.properties().extends_to_end) {
        // The kernel reads LZ4 up to the end of the initrd or to the next LZ4 frame (`lib/decompress_unlz4.c`).
        let mut sink = compression.writer(&mut memory).map_err(WriteError::Archive)?;
        archive::write(plan, &mut sink, &Options { align: false, mtime })?;
        sink.finish().map_err(WriteError::Archive)?;
        return seal(memory);
    }
    // An archive must start at a multiple of 4. A multiple of the page size also keeps the data aligned.
    let padding = usize::try_from(len.next_multiple_of(4096) - len).unwrap_or(0);
    memory.write_all(&vec![0; padding]).map_err(failed)?;
    archive::write(plan, &mut memory, &Options { align: true, mtime })?;
    seal(memory)
}

/// Returns the compression format of the last segment, or of the first compressed one, where the search ends.
fn last_segment(memory: &File) -> io::Result<Option<Compression>> {
    let mut start = memory.try_clone()?;
    start.seek(SeekFrom::Start(0))?;
    let mut last = None;
    let walked = newc::walk(start, &mut |member, _| {
        last = Some(member.segment.compression);
        Ok(if last == Some(Compression::None) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    // A duplicate shares its file offset with the original.
    let mut memory = memory.try_clone()?;
    memory.seek(SeekFrom::End(0))?;
    // The kernel may be able to read an initrd that bootling cannot, so errors are ignored.
    Ok(if walked.is_ok() { last } else { None })
}

fn create() -> Result<File, WriteError> {
    rustix::fs::memfd_create("bootling-initrd", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map(File::from)
        .map_err(|errno| WriteError::Archive(errno.into()))
}

fn copy(from: &mut File, to: &mut File) -> io::Result<u64> {
    let mut done = 0;
    loop {
        match to.copy_from(from, 1 << 30)? {
            0 => break,
            count => done += count,
        }
    }
    // Either the end of the file was reached, or copying in the kernel is not supported.
    Ok(done + io::copy(from, to)?)
}

fn seal(mut memory: File) -> Result<OwnedFd, WriteError> {
    let sealed = memory.seek(SeekFrom::Start(0)).and_then(|_| {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        Ok(rustix::fs::fcntl_add_seals(&memory, seals)?)
    });
    sealed.map_err(WriteError::Archive)?;
    Ok(memory.into())
}

#[cfg(test)]
mod tests {
    use super::{memfd, overlay};
    use crate::format::archive_path::ArchivePath;
    use crate::format::compression::Compression;
    use crate::initrd::{
        build::Plan,
        check::{CheckedPlan, Purpose},
    };
    use crate::root::fact::{Content, Fact, Node, Why};
    use crate::{
        format::newc,
        initrd::archive::{self, Options},
    };
    use std::fs::File;
    use std::io::{Read, Seek, Write};
    use std::ops::ControlFlow;

    fn plan(name: &str) -> CheckedPlan {
        let node = Node::File { mode: 0o755, content: Content::Static(b"#!/bin/sh\n"), hardlink: None };
        let facts = [Fact { path: ArchivePath::new(name), node, why: Why::Base }];
        Plan::from_facts(facts).expect("a plan").check(Purpose::Overlay).expect("sound")
    }

    #[test]
    fn a_sealed_memfd_cannot_be_changed() {
        let memory = memfd(&plan("/init"), 0).expect("in memory");
        let mut file = File::from(memory);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("read");
        let mut straight = Vec::new();
        archive::write(&plan("/init"), &mut straight, &Options { align: true, mtime: 0 }).expect("written");
        assert_eq!(bytes, straight);
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn an_overlay_is_read_after_an_initrd_in_any_compression_format() {
        for compression in Compression::writable() {
            let mut initrd = tempfile::tempfile().expect("a file");
            let mut sink = compression.writer(&mut initrd).expect("a writer");
            archive::write(&plan("/first"), &mut sink, &Options::default()).expect("written");
            sink.finish().expect("finished");
            initrd.rewind().expect("rewound");
            let both = File::from(overlay(&mut initrd, &plan("/init"), 0).expect("in memory"));
            let mut names = Vec::new();
            newc::walk(both, &mut |member, _| {
                names.push(String::from_utf8_lossy(&member.name).into_owned());
                Ok(ControlFlow::Continue(()))
            })
            .expect("read");
            assert_eq!(names, ["first", "init"], "{}", compression.name());
        }
    }
}

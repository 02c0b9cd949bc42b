//! Archives in memory, for QEMU: a sealed memfd that nobody can change while a guest boots from it.

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

/// The archive of `plan` in memory, sealed, read position at its start.
pub fn memfd(plan: &CheckedPlan, mtime: u32) -> Result<OwnedFd, WriteError> {
    let mut memory = create()?;
    archive::write(plan, &mut memory, &Options { align: true, mtime })?;
    seal(memory)
}

/// The archive of `plan` in memory that is to be copied elsewhere, and how long it is.
pub fn window(plan: &CheckedPlan, mtime: u32) -> Result<(OwnedFd, u64), WriteError> {
    let mut memory = create()?;
    let len = archive::write(plan, &mut memory, &Options { align: true, mtime })?;
    Ok((memory.into(), len))
}

/// The same in memory that is there already, from its start on, where nothing has been written yet; it is as long as
/// [`archive::len`] says.
pub fn into(plan: &CheckedPlan, mtime: u32, memory: &OwnedFd) -> Result<(), WriteError> {
    let mut memory = memory.try_clone().map(File::from).map_err(WriteError::Archive)?;
    memory.seek(SeekFrom::Start(0)).map_err(WriteError::Archive)?;
    archive::write(plan, &mut memory, &Options { align: true, mtime }).map(drop)
}

/// The archive of `plan` in memory, compressed or not, sealed, read position at its start.
pub fn packed(plan: &CheckedPlan, compression: Compression, mtime: u32) -> Result<OwnedFd, WriteError> {
    let mut memory = create()?;
    let mut sink = compression.writer(&mut memory).map_err(WriteError::Archive)?;
    // Only an archive that is stored as it is has anything to gain from aligned data.
    archive::write(plan, &mut sink, &Options { align: compression == Compression::None, mtime })?;
    sink.finish().map_err(WriteError::Archive)?;
    seal(memory)
}

/// An existing initrd with the archive of `plan` behind it, in memory, sealed. What the second holds replaces what the
/// first has of the same name (`init/initramfs.c`, `clean_path`).
pub fn overlay(initrd: &mut File, plan: &CheckedPlan, mtime: u32) -> Result<OwnedFd, WriteError> {
    let failed = |source| WriteError::Output { name: "the initrd in memory".to_owned(), source };
    let mut memory = create()?;
    let len = copy(initrd, &mut memory).map_err(failed)?;
    let last = last_segment(&memory).map_err(failed)?;
    if last == Some(newc::Packing::Lz4) {
        // The kernel reads LZ4 up to the end of what it was given, or to another such frame (`lib/decompress_unlz4.c`).
        let mut sink = Compression::Lz4.writer(&mut memory).map_err(WriteError::Archive)?;
        archive::write(plan, &mut sink, &Options { align: false, mtime })?;
        sink.finish().map_err(WriteError::Archive)?;
        return seal(memory);
    }
    // Archives start at multiples of four; a page keeps the data aligned.
    let padding = usize::try_from(len.next_multiple_of(4096) - len).unwrap_or(0);
    memory.write_all(&vec![0; padding]).map_err(failed)?;
    archive::write(plan, &mut memory, &Options { align: true, mtime })?;
    seal(memory)
}

/// How the segment is packed that reaches to the end of an initrd, as far as that matters: a compressed one found on
/// the way ends the search.
fn last_segment(memory: &File) -> io::Result<Option<newc::Packing>> {
    let mut start = memory.try_clone()?;
    start.seek(SeekFrom::Start(0))?;
    let mut last = None;
    let walked = newc::walk(start, &mut |member, _| {
        last = Some(member.segment.packing);
        Ok(if last == Some(newc::Packing::None) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    // A duplicate shares its position with the original.
    let mut memory = memory.try_clone()?;
    memory.seek(SeekFrom::End(0))?;
    // An initrd we cannot read may still be one the kernel can: it is booted as it is.
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
    // Nothing left, or no such way here: the plain one tells.
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
    fn what_is_sealed_cannot_be_changed() {
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
    fn an_overlay_is_read_after_what_it_lies_on_whatever_the_packing() {
        for compression in Compression::ALL {
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

//! Unified kernel images: one EFI program that has everything, from parts that stay where they are.
//!
//! UAPI group specification 5; the order of the sections is that of systemd's ukify. Refuses command lines that the kernel
//! would cut or the stub would change, and whatever the stub has no room for.

use std::io;
use std::sync::Arc;

use super::UkiParts;
use crate::format::pe::{Appended, Machine, NewSection, Pe, PeError, append};
use crate::format::uki::{StubInfo, UkiSection};
use crate::output::Sink;
use crate::output::extents::{ExtentError, Extents, Source, SourceFile};

/// The kernel's `COMMAND_LINE_SIZE` on x86 and arm64, with its final NUL (`arch/x86/include/asm/setup.h`).
const COMMAND_LINE_SIZE: usize = 2048;

/// Why there is no unified kernel image.
#[derive(Debug, thiserror::Error)]
pub enum UkiWriteError {
    /// The stub will not take the sections.
    #[error("adding sections to EFI stub {stub}")]
    Append {
        /// The stub's file.
        stub: String,
        /// What is wrong with it, or with them.
        #[source]
        why: PeError,
    },
    /// The kernel would see only a part of it.
    #[error("writing the kernel command line: it has {length} bytes, and the kernel takes {}", COMMAND_LINE_SIZE - 1)]
    LongCmdline {
        /// Its length.
        length: usize,
    },
    /// Stubs turn control characters into blanks, or end there.
    #[error("writing the kernel command line: byte {offset} is the control character {byte:#04x}")]
    Cmdline {
        /// Where it is.
        offset: usize,
        /// Which.
        byte: u8,
    },
    /// An initrd without a byte.
    #[error("putting the initrd into an EFI program: it is empty")]
    EmptyInitrd,
    /// A file that would not be read.
    #[error(transparent)]
    Extent(#[from] ExtentError),
    /// The kernel's file.
    #[error("reading kernel {kernel}")]
    Kernel {
        /// In the user's words.
        kernel: String,
        /// What the host said.
        source: io::Error,
    },
}

/// A unified kernel image, put together but not copied together.
#[derive(Debug, Clone)]
pub struct Uki {
    /// The stub with its new headers.
    head: Arc<[u8]>,
    /// Bytes of the file.
    size: u64,
    /// Its sections, their places in the file and their contents.
    sections: Vec<Placed>,
    machine: Machine,
    stub: StubInfo,
}

/// A section that has its place.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Which.
    pub section: UkiSection,
    /// Offset of its contents in the file.
    pub at: u64,
    /// Its contents; their size is the section's.
    pub contents: Extents,
}

impl Uki {
    /// Puts the parts together. An empty command line leaves its section out, and the firmware's load options count then.
    pub fn new(parts: UkiParts, cmdline: &str, initrd: Extents) -> Result<Self, UkiWriteError> {
        check_cmdline(cmdline)?;
        if initrd.size() == 0 {
            return Err(UkiWriteError::EmptyInitrd);
        }
        let kernel = SourceFile::open(&parts.kernel.path);
        let kernel = kernel.map_err(|source| UkiWriteError::Kernel { kernel: parts.kernel.origin.clone(), source })?;
        if kernel.len != parts.kernel.size {
            return Err(ExtentError::Rewritten(parts.kernel.path).into());
        }
        let mut whole = Extents::new(parts.kernel.size);
        whole.add(0, parts.kernel.size, Source::File(kernel), 0);
        // ukify's order. The kernel comes last: stubs before 254 may run it where it lies, and it takes more room in memory
        // than it has in the file.
        let mut contents = vec![(UkiSection::Osrel, bytes(parts.os_release))];
        if !cmdline.is_empty() {
            contents.push((UkiSection::Cmdline, bytes(cmdline.as_bytes().to_vec())));
        }
        if let Some(uname) = parts.uname.filter(|uname| !uname.is_empty()) {
            contents.push((UkiSection::Uname, bytes(uname.into_bytes())));
        }
        contents.extend([(UkiSection::Initrd, initrd), (UkiSection::Linux, whole)]);
        let new = |(section, extents): &(UkiSection, Extents)| NewSection {
            name: section.name(),
            size: extents.size(),
            code: *section == UkiSection::Linux,
        };
        let new: Vec<_> = contents.iter().map(new).collect();
        let stub = parts.stub.path.display().to_string();
        let Appended { head, places, size } =
            append(&parts.stub.bytes, &new).map_err(|why| UkiWriteError::Append { stub, why })?;
        let place = |((section, contents), at)| Placed { section, at, contents };
        let sections = contents.into_iter().zip(places).map(place).collect();
        let machine = parts.stub.pe.machine;
        Ok(Self { head: Arc::from(head), size, sections, machine, stub: parts.stub.info })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What it runs on; its name in an ESP follows from it.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// What the stub says of itself.
    pub fn stub(&self) -> &StubInfo {
        &self.stub
    }

    /// The sections that were added, in the order of the file.
    pub fn sections(&self) -> &[Placed] {
        &self.sections
    }

    /// The whole file, contents still in their places.
    pub fn extents(&self) -> Extents {
        let mut file = Extents::new(self.size);
        file.add(0, self.head.len() as u64, Source::Bytes(Arc::clone(&self.head)), 0);
        for placed in &self.sections {
            file.add_all(placed.at, &placed.contents);
        }
        file
    }

    /// Writes it to a stream.
    pub fn write(&self, out: &mut impl Sink) -> Result<(), ExtentError> {
        self.extents().write_to(out)
    }

    /// Its headers, as they are in the file.
    pub fn pe(&self) -> Result<Pe, PeError> {
        Pe::parse(&self.head, self.size)
    }
}

fn bytes(bytes: Vec<u8>) -> Extents {
    let mut extents = Extents::new(bytes.len() as u64);
    extents.add(0, bytes.len() as u64, Source::Bytes(Arc::from(bytes)), 0);
    extents
}

fn check_cmdline(cmdline: &str) -> Result<(), UkiWriteError> {
    if cmdline.len() >= COMMAND_LINE_SIZE {
        return Err(UkiWriteError::LongCmdline { length: cmdline.len() });
    }
    match cmdline.bytes().enumerate().find(|(_, byte)| byte.is_ascii_control()) {
        Some((offset, byte)) => Err(UkiWriteError::Cmdline { offset, byte }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

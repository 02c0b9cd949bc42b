//! Unified kernel images: one EFI program that contains the stub, the kernel, the initrd and the command line.
//!
//! UAPI group specification 5. The order of the sections is the same as in systemd's ukify. Refuses command lines that
//! the kernel would truncate or the stub would change, and sections for which the stub has no space.

use std::io;
use std::sync::Arc;

use super::UkiParts;
use crate::format::pe::{Appended, Machine, NewSection, PeError, append};
use crate::format::uki::UkiSection;
use crate::output::extents::{ExtentError, Extents, Source, SourceFile};

/// The kernel's `COMMAND_LINE_SIZE` on x86 and arm64, including the NUL (`arch/x86/include/asm/setup.h`).
const COMMAND_LINE_SIZE: usize = 2048;

/// Error from building a unified kernel image.
#[derive(Debug, thiserror::Error)]
pub enum UkiWriteError {
    /// The sections cannot be added to the stub.
    #[error("failed to add sections to EFI stub {stub}")]
    Append {
        /// File of the stub.
        stub: String,
        /// Cause.
        #[source]
        why: PeError,
    },
    /// The kernel would truncate the command line.
    #[error("kernel command line of {length} bytes is too long (limit {})", COMMAND_LINE_SIZE - 1)]
    LongCmdline {
        /// Length in bytes.
        length: usize,
    },
    /// The command line contains a control character. Stubs replace these with spaces, or truncate the line there.
    #[error("kernel command line contains the control character {byte:#04x} at byte {offset}")]
    Cmdline {
        /// Byte offset.
        offset: usize,
        /// The character.
        byte: u8,
    },
    /// The initrd has no bytes.
    #[error("empty initrd for an EFI program")]
    EmptyInitrd,
    /// A part cannot be read.
    #[error(transparent)]
    Extent(#[from] ExtentError),
    /// The kernel cannot be read.
    #[error("failed to read kernel {kernel}")]
    Kernel {
        /// The kernel, as the user specified it.
        kernel: String,
        /// Cause.
        source: io::Error,
    },
}

/// Unified kernel image, as extents.
#[derive(Debug, Clone)]
pub struct Uki {
    /// The stub with its new headers.
    head: Arc<[u8]>,
    /// File size in bytes.
    size: u64,
    /// File offsets and contents of the added sections, in file order.
    sections: Vec<(u64, Extents)>,
    machine: Machine,
}

impl Uki {
    /// Combines the parts. If the command line is empty, the image has no command line section, and the firmware's load
    /// options apply.
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
        // The order of ukify. The kernel must be last: stubs before version 254 may run it in place, and it needs more
        // space in memory than in the file.
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
        let sections = contents.into_iter().zip(places).map(|((_, contents), at)| (at, contents)).collect();
        let machine = parts.stub.pe.machine;
        Ok(Self { head: Arc::from(head), size, sections, machine })
    }

    /// Returns the machine type, which determines the file name in an ESP.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns the complete file as extents.
    pub fn extents(&self) -> Extents {
        let mut file = Extents::new(self.size);
        file.add(0, self.head.len() as u64, Source::Bytes(Arc::clone(&self.head)), 0);
        for (at, contents) in &self.sections {
            file.add_all(*at, contents);
        }
        file
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

//! Recording of a session, to be kept if it fails: the complete console, the QMP traffic, the guest's memory. The size
//! is bounded, except for the memory. The caller opens the files.

use std::fs::File;
use std::io;

use crate::output::bounded::BoundedFile;
use crate::qemu::qmp;

/// Maximum size of the console file.
const CONSOLE_BYTES: usize = 256 << 20;

/// Files of a recording.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Console output.
    pub(crate) console: BoundedFile,
    /// QMP traffic; taken by the session.
    pub(crate) qmp: Option<qmp::Log>,
    /// File for the guest's memory and registers, if requested.
    pub(crate) core: Option<File>,
}

impl Recording {
    /// Records to these files.
    pub(crate) fn new(console: File, qmp: File, core: Option<File>) -> Self {
        Self { console: BoundedFile::new(console, CONSOLE_BYTES), qmp: Some(qmp::Log::new(qmp)), core }
    }

    /// Returns a recording that appends to the same files.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let core = self.core.as_ref().map(File::try_clone).transpose()?;
        let qmp = self.qmp.as_ref().map(qmp::Log::try_clone).transpose()?;
        Ok(Self { console: self.console.try_clone()?, qmp, core })
    }
}

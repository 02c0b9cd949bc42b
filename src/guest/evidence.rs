//! Evidence of a guest that did not end well (`--evidence`): atomic files in a directory with mode 0700. A guest that ends
//! well leaves nothing, not even the directory.
//!
//! | file | contents |
//! |---|---|
//! | `command.txt` | QEMU's command line, quoted for the shell |
//! | `console.log` | the whole console, output of the hang inspection included |
//! | `qmp.log` | QMP commands and replies |
//! | `hang.txt` | the hang report, after a timeout |
//! | `screen.png` | the screen, if there is one |
//! | `guest.core` | memory and registers of the guest (ELF), after a hang, if requested |

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::VmError;
use super::hang::Recording;
use super::transcript::Transcript;
use crate::qemu::argv::shell_line;

/// Name of the hang report.
pub const REPORT: &str = "hang.txt";

/// Temporary files for the evidence.
#[derive(Debug)]
pub struct Evidence {
    console: NamedTempFile,
    qmp: NamedTempFile,
    core: Option<NamedTempFile>,
    /// Dropped last, so that it can be removed when it is empty.
    directory: Directory,
}

/// A directory that is removed on drop if it was created here and is empty.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    is_ours: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_ours {
            // Fails if the directory is not empty: then it stays.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl Evidence {
    /// Prepares to store evidence in `directory`, which is created with mode 0700 if it is missing.
    pub fn prepare(directory: &Path, wants_core: bool) -> Result<Self, VmError> {
        let failed = || VmError::io("prepare to store evidence in", directory.display().to_string());
        let is_ours = !directory.is_dir();
        if is_ours {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed())?;
        }
        let directory_of_files = Directory { path: directory.to_owned(), is_ours };
        let file = || tempfile::Builder::new().prefix(".bootling-").tempfile_in(directory).map_err(failed());
        let core = wants_core.then(file).transpose()?;
        Ok(Self { console: file()?, qmp: file()?, core, directory: directory_of_files })
    }

    /// Returns the files that a session writes to.
    pub(crate) fn recording(&self) -> Result<Recording, VmError> {
        let failed = || VmError::io("prepare to store evidence in", self.directory.path.display().to_string());
        let core = self.core.as_ref().map(NamedTempFile::reopen).transpose().map_err(failed())?;
        Ok(Recording::new(self.console.reopen().map_err(failed())?, self.qmp.reopen().map_err(failed())?, core))
    }

    /// Gives all files their names. Returns the directory. Without this call nothing is left.
    pub(crate) fn store(self, transcript: &Transcript, command: &[OsString]) -> Result<PathBuf, VmError> {
        let Self { directory, console, qmp, core } = self;
        let path = directory.path.clone();
        let failed = || VmError::io("store evidence in", path.display().to_string());
        let put = |file: NamedTempFile, name: &str| {
            file.persist(path.join(name)).map(drop).map_err(|error| failed()(error.error))
        };
        let new = |name: &str, write: &dyn Fn(&mut NamedTempFile) -> std::io::Result<()>| {
            let mut file = tempfile::Builder::new().prefix(".bootling-").tempfile_in(&path).map_err(failed())?;
            write(&mut file).map_err(failed())?;
            put(file, name)
        };
        put(console, "console.log")?;
        put(qmp, "qmp.log")?;
        if let Some(core) = core
            && core.as_file().metadata().map_err(failed())?.len() > 0
        {
            put(core, "guest.core")?;
        }
        let mut line = shell_line(command).into_encoded_bytes();
        line.push(b'\n');
        new("command.txt", &|file| file.write_all(&line))?;
        if let Some(hang) = &transcript.hang {
            new(REPORT, &|file| file.write_all(hang.report.as_bytes()))?;
        }
        if let Some(Ok(picture)) = &transcript.screen.picture {
            new("screen.png", &|file| picture.write_png(file))?;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::Evidence;
    use crate::guest::hang::Hang;
    use crate::guest::transcript::Transcript;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_stored_evidence_leaves_files() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("a/b");
        drop(Evidence::prepare(&directory, true).expect("it can be made"));
        assert!(!directory.exists());
        let evidence = Evidence::prepare(&directory, true).expect("it can be made");
        let mut recording = evidence.recording().expect("open");
        recording.console.write(b"said\n");
        let qmp = recording.qmp.as_mut().expect("a log");
        qmp.sent(b"{\"execute\":\"stop\"}\n");
        qmp.received(b"{\"return\":{}}");
        let hang = Some(Box::new(Hang { summary: Vec::new(), report: "report\n".to_owned() }));
        let transcript = Transcript { hang, ..Transcript::default() };
        evidence.store(&transcript, &["qemu".into(), "a b".into()]).expect("kept");
        let read = |name: &str| fs::read_to_string(directory.join(name)).expect("it is there");
        assert_eq!(read("console.log"), "said\n");
        assert_eq!(read("qmp.log"), "-> {\"execute\":\"stop\"}\n<- {\"return\":{}}\n");
        assert_eq!((read("hang.txt"), read("command.txt")), ("report\n".to_owned(), "qemu 'a b'\n".to_owned()));
        assert_eq!(fs::read_dir(&directory).expect("there").count(), 4, "no empty core, no screen");
        assert_eq!(fs::metadata(&directory).expect("there").permissions().mode() & 0o777, 0o700);
    }
}

//! What is kept of a guest that did not end well, in a directory of its own (`--evidence`): files that appear whole, for
//! the user's eyes alone. Of one that ended well nothing is left, not even the directory.
//!
//! | file | what |
//! |---|---|
//! | `command.txt` | QEMU's command line, as a shell takes it |
//! | `console.log` | all that the console said, what it was made to say at the end with it |
//! | `qmp.log` | what was said on QEMU's monitor, both ways |
//! | `hang.txt` | the hang report, where the time was up |
//! | `screen.png` | the screen, where there is one |
//! | `guest.core` | the guest's memory and registers (ELF), where it hung and that was wanted |

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::VmError;
use super::hang::Keep;
use super::transcript::Transcript;
use crate::qemu::argv::shell_line;

/// The report's name.
pub const REPORT: &str = "hang.txt";

/// Files for all of it, not yet under their names.
#[derive(Debug)]
pub struct Evidence {
    console: NamedTempFile,
    qmp: NamedTempFile,
    core: Option<NamedTempFile>,
    /// Dropped last: it goes once nothing is in it.
    directory: Directory,
}

/// A directory that goes away if it is ours and stays empty.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    is_ours: bool,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_ours {
            // It stays where something is in it.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl Evidence {
    /// Prepares to keep it in `directory`, which is made (0700) where it is not there.
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

    /// What a conversation writes to.
    pub fn keep(&self) -> Result<Keep, VmError> {
        let failed = || VmError::io("prepare to store evidence in", self.directory.path.display().to_string());
        let core = self.core.as_ref().map(NamedTempFile::reopen).transpose().map_err(failed())?;
        Ok(Keep::new(self.console.reopen().map_err(failed())?, self.qmp.reopen().map_err(failed())?, core))
    }

    /// Gives everything its name; the directory. To be called where it did not end well: else dropping it leaves nothing.
    pub fn store(self, transcript: &Transcript, command: &[OsString]) -> Result<PathBuf, VmError> {
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
    fn what_ends_well_leaves_nothing_and_what_does_not_leaves_everything_that_there_is() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("a/b");
        drop(Evidence::prepare(&directory, true).expect("it can be made"));
        assert!(!directory.exists());
        let evidence = Evidence::prepare(&directory, true).expect("it can be made");
        let mut keep = evidence.keep().expect("open");
        keep.console(b"said\n");
        keep.asked(b"{\"execute\":\"stop\"}\n");
        keep.said(b"{\"ret");
        keep.said(b"urn\":{}}\n");
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

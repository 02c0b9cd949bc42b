//! What all commands on one kernel and one machine share, found once: the kernel, QEMU, the accelerator, the firmware.
//!
//! Whoever runs hundreds of commands saves that work with each of them. The kernel, its modules' tables and what guests are
//! restored to are as they were found; files of the commands themselves are looked for anew.

use super::builder::Notes;
use super::prepare::Found;
use super::{Builder, Command, Inputs, Listener, Prepared, RunSpec, Vm, VmError};
use crate::initrd::spec::RunWhat;
use crate::qemu::machine::Accelerator;
use crate::root::root::Root;

/// Where commands can be run. May be shared by threads.
#[derive(Debug)]
pub struct Site {
    builder: Builder,
    found: Found,
    notes: Vec<String>,
}

impl Site {
    /// Finds all that a builder's guests need, whatever their commands.
    pub fn find(builder: &Builder) -> Result<Self, VmError> {
        let spec = builder.spec(&Command::of(RunWhat::Shell), true)?;
        let root = Root::new(&spec.initrd.root)?;
        let mut notes = Notes::default();
        let found = Found::find(&root, &spec, &mut Inputs::default(), &mut notes)?;
        Ok(Self { builder: builder.clone(), found, notes: notes.0 })
    }

    /// Makes the snapshot that guests are restored from, where there is none yet and the builder is for warm guests. Gives
    /// the reason, in half a sentence, where there can be none.
    pub fn make_snapshot(&self) -> Result<Option<String>, VmError> {
        if self.builder.is_cold() {
            return Ok(None);
        }
        match Vm::start(self.builder.clone()) {
            Ok(_) => Ok(None),
            Err(VmError::NotKept(why)) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }

    /// What there was to say, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// QEMU's version.
    pub fn qemu_version(&self) -> &str {
        &self.found.platform.qemu.facts.version
    }

    /// What runs guest code.
    pub fn accelerator(&self) -> Accelerator {
        self.found.platform.accelerator
    }

    /// Prepares a run.
    pub(super) fn prepare(&self, spec: &RunSpec, listener: &mut dyn Listener) -> Result<Prepared, VmError> {
        let root = Root::new(&spec.initrd.root)?;
        self.found.prepared(&root, spec, listener)
    }
}

#[cfg(test)]
mod tests {
    use super::Site;

    #[test]
    fn threads_may_share_a_site() {
        fn may<T: Send + Sync>() {}
        may::<Site>();
    }
}

//! A kernel and a machine for many commands: kernel, QEMU, accelerator and firmware are looked up once.
//!
//! The kernel, its module tables and the bases stay as they were found; files of a command are looked up for each command.

use std::sync::Arc;

use super::driver::{Prepared, prepare_from};
use super::listener::Notes;
use super::packages::fetch_root;
use super::template::Template;
use super::{Builder, Command, Inputs, Listener, RunSpec, Vm, VmError};
use crate::root::directory::Root;
use crate::root::spec::RunWhat;

/// A kernel and a machine. Threads may share it.
#[derive(Debug)]
pub struct Site {
    builder: Builder,
    template: Arc<Template>,
    notes: Vec<String>,
}

impl Site {
    /// Looks up everything that a builder's guests need besides their commands.
    pub(crate) fn find(builder: &Builder) -> Result<Self, VmError> {
        let spec = builder.spec(&Command::of(RunWhat::Shell), true)?;
        let mut notes = Notes::default();
        let spec = fetch_root(&spec, &mut notes)?;
        let root = Root::new(&spec.initrd.root)?;
        let template = Arc::new(Template::find(&root, &spec, &spec.open_cache()?, &mut Inputs::default(), &mut notes)?);
        Ok(Self { builder: builder.clone(), template, notes: notes.0 })
    }

    /// Makes the snapshot that guests are restored from, if it is missing and the builder's guests are warm. Returns
    /// the reason if there can be no snapshot.
    pub(crate) fn make_snapshot(&self) -> Result<Option<String>, VmError> {
        if self.builder.is_cold() {
            return Ok(None);
        }
        match Vm::start(self.builder.clone()) {
            Ok(_) => Ok(None),
            Err(VmError::NotKept(why)) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }

    /// Notes of the lookup, a line each.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the first of these options that the kernel's configuration does not enable, built in or as a module. `None`
    /// if all are enabled, or if the configuration is unknown, incomplete, or not trusted (`--no-preflight`).
    pub(crate) fn lacking_option<'a>(&self, options: &'a [String]) -> Option<&'a str> {
        let spec = self.builder.spec(&Command::of(RunWhat::Shell), true).ok()?;
        let config = self.template.config(&spec)?;
        options.iter().map(String::as_str).find(|option| !config.is_enabled(option))
    }

    /// QEMU's version.
    pub(crate) fn qemu_version(&self) -> &str {
        &self.template.platform.qemu.facts.version
    }

    /// Prepares a guest.
    pub(super) fn prepare(&self, spec: &RunSpec, listener: &mut dyn Listener) -> Result<Prepared, VmError> {
        let spec = fetch_root(spec, listener)?;
        let root = Root::new(&spec.initrd.root)?;
        prepare_from(&self.template, &root, &spec, None, listener)
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

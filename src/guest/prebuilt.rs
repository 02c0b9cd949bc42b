//! A guest whose kernel image and initrd exist already, as in a bundle: only QEMU is looked up on this host.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::driver::Prepared;
use super::platform::{Boots, Platform};
use super::template::{Start, hang_input};
use super::{Inputs, Listener, RunSpec, VmError, ready_made};
use crate::arch::Arch;
use crate::initrd::job::Job;
use crate::initrd::memfd;
use crate::initrd::{build::Plan, check::Purpose};
use crate::qemu::machine_type::Transport;
use crate::root::kernel::{ImageKind, Kernel};
use crate::root::modules::Need;

/// A kernel image and an initrd with its job.
#[derive(Debug)]
pub struct Prebuilt {
    /// The kernel image.
    pub(crate) image: PathBuf,
    /// Its kind.
    pub(crate) kind: ImageKind,
    /// Its architecture.
    pub(crate) arch: Arch,
    /// Its origin, for the user.
    pub(crate) origin: String,
    /// The initrd, with pid 1 and its job.
    pub(crate) initrd: File,
    /// The channel that its pid 1 uses.
    pub(crate) transport: Transport,
}

impl Prebuilt {
    /// Prepares to boot it on the machine that `spec` requests.
    pub fn prepare(self, spec: &RunSpec, listener: &mut dyn Listener) -> Result<Prepared, VmError> {
        let Self { image, kind, arch, origin, initrd, transport } = self;
        let cache = spec.open_cache()?;
        let kernel = Kernel { image: image.clone(), kind, arch, release: None, modules: None, config: None, origin };
        let platform = Platform::find(&spec.boot, arch, &cache, listener)?;
        platform.check_kernel(&kernel)?;
        let initrd_len = initrd.metadata().map_err(VmError::io("get the size of", "the initrd"))?.len();
        Ok(Prepared {
            spec: spec.clone(),
            machine: platform.machine(&spec.boot, Boots::Linux { initrd_len, transport })?,
            kernel: kernel.origin,
            hang_input: Some(hang_input(&image, &image, kind)),
            start: Start::Boot { image, initrd: initrd.into() },
            inputs: Inputs::default(),
            cache,
            template: None,
        })
    }
}

/// Returns a small archive that, appended to an initrd, makes its pid 1 use only the console.
pub(crate) fn console_archive(initrd: &File) -> Result<Vec<u8>, VmError> {
    let failed = || VmError::io("read", "the initrd");
    let mut file = initrd;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    let broken = |source| VmError::BrokenInitrd { path: "in memory".into(), source };
    let job = ready_made::job_of(initrd).map_err(broken)?;
    let Some(job) = job else { return Err(VmError::ForeignInitrd { path: "in memory".into() }) };
    let mut job = Job { channel: None, ..Job::decode(&job)? };
    job.modules.retain(|module| module.need != Need::Channel);
    let plan = Plan::from_facts(job.facts()?)?.check(Purpose::Overlay)?;
    let mut archive = File::from(memfd::memfd(&plan, 0)?);
    let mut bytes = Vec::new();
    archive.read_to_end(&mut bytes).map_err(failed())?;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    Ok(bytes)
}

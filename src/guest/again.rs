//! A run of which kernel image and initrd are there already, made elsewhere: only QEMU is looked for here.

use crate::initrd::memfd;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::prepare::{Platform, inquest};
use super::ready_made;
use super::{Inputs, Listener, Prepared, RunSpec, VmError, Way};
use crate::arch::Arch;
use crate::initrd::job::Job;
use crate::initrd::{build::Plan, check::Purpose};
use crate::qemu::machine::Transport;
use crate::root::kernel::{ImageKind, Kernel};

/// What was made elsewhere.
#[derive(Debug)]
pub struct Again {
    /// The kernel image.
    pub image: PathBuf,
    /// Its kind.
    pub kind: ImageKind,
    /// What it is for.
    pub arch: Arch,
    /// Where it came from, in words.
    pub origin: String,
    /// The initrd, with pid 1 and its job.
    pub initrd: File,
    /// How that pid 1 will talk.
    pub transport: Transport,
}

/// Makes it ready to boot on the machine that `spec` wants.
pub fn again(again: Again, spec: &RunSpec, listener: &mut dyn Listener) -> Result<Prepared, VmError> {
    let Again { image, kind, arch, origin, initrd, transport } = again;
    let cache = spec.open_cache()?;
    let kernel = Kernel { image: image.clone(), kind, arch, release: None, modules: None, config: None, origin };
    let platform = Platform::find(spec, &kernel, &cache, listener)?;
    let bytes = initrd.metadata().map_err(VmError::io("sizing", "the initrd"))?.len();
    let machine = platform.machine(&spec.boot, bytes, transport)?;
    let way = Way::Boot(initrd.into());
    let inquest = inquest(&image, &image, kind);
    Ok(Prepared { machine, image, kernel: kernel.origin, way, inputs: Inputs::default(), inquest, cache })
}

/// A small archive that, put behind an initrd of bootling's, makes its pid 1 talk on the console.
pub fn on_console(initrd: &File) -> Result<Vec<u8>, VmError> {
    let failed = || VmError::io("reading", "the initrd");
    let mut file = initrd;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    let broken = |source| VmError::BrokenInitrd { path: "in memory".into(), source };
    let job = ready_made::job_of(initrd).map_err(broken)?;
    let Some(job) = job else { return Err(VmError::ForeignInitrd { path: "in memory".into() }) };
    let job = Job { channel: None, channel_modules: Vec::new(), ..Job::decode(&job)? };
    let plan = Plan::from_facts(job.facts()?)?.check(Purpose::Overlay)?;
    let mut archive = File::from(memfd::memfd(&plan, 0)?);
    let mut bytes = Vec::new();
    archive.read_to_end(&mut bytes).map_err(failed())?;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    Ok(bytes)
}

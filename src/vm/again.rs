//! A run of which kernel image and initrd are there already, made elsewhere: only QEMU is looked for here.

use std::fs::File;
use std::path::PathBuf;

use super::prepare::{Platform, inquest};
use super::{Inputs, Listener, Prepared, RunSpec, VmError, Way};
use crate::arch::Arch;
use crate::boot::machine::Transport;
use crate::cache::{Cache, DEFAULT_LIMIT};
use crate::resolve::kernel::{ImageKind, Kernel};

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
    let cache = match &spec.cache {
        Some(directory) => Cache::at(directory, DEFAULT_LIMIT)?,
        None => Cache::open()?,
    };
    let kernel = Kernel { image: image.clone(), kind, arch, release: None, modules: None, config: None, origin };
    let platform = Platform::find(spec, &kernel, &cache, listener)?;
    let bytes = initrd.metadata().map_err(VmError::io("sizing", "the initrd"))?.len();
    let machine = platform.machine(&spec.boot, bytes, transport)?;
    let way = Way::Boot(initrd.into());
    let inquest = inquest(&image, kind);
    Ok(Prepared { machine, image, kernel: kernel.origin, way, inputs: Inputs::default(), inquest, cache })
}

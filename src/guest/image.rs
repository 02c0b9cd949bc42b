//! Initrds for `bootling build`: from a specification to a plan.

use std::io::Read;

use super::VmError;
use super::compose::{BuildContext, Composition, Drivers, add_modules, compose};
use crate::arch::Arch;
use crate::initrd::build::Plan;
use crate::initrd::job::init;
use crate::initrd::pid1;
use crate::root::directory::Root;
use crate::root::kernel::{ImageKind, Kernel};
use crate::root::modules::tables::ModuleTables;
use crate::{format::archive_path::ArchivePath, root::spec::InitrdSpec};

/// Returns the plan, and notes for the user.
pub fn plan(
    root: &Root,
    kernel: Option<&Kernel>,
    spec: &InitrdSpec,
    block_devices: Option<u32>,
) -> Result<(Plan, Vec<String>), VmError> {
    let arch = match kernel {
        Some(kernel) if kernel.kind != ImageKind::Absent => kernel.arch,
        Some(_) | None => arch_of(root)?,
    };
    let image = pid1::image(arch).ok_or(VmError::NoPid1(arch))?;
    // The initrd boots without a host that could provide modules.
    let mut composition = compose(root, &InitrdSpec { autoload: false, ..spec.clone() }, arch)?;
    if let Some(kernel) = kernel {
        let context = BuildContext { root, kernel, tables: &ModuleTables::default() };
        add_modules(&mut composition, context, &spec.modules, Drivers::NONE)?;
    }
    let Composition { mut facts, mut job, notes } = composition;
    job.block_devices = block_devices;
    facts.push(init(image));
    facts.extend(job.facts()?);
    Ok((Plan::from_facts(facts)?, notes))
}

/// Programs that reveal the architecture of a root.
const PROGRAMS: [&str; 5] = ["/bin/sh", "/bin/busybox", "/usr/bin/busybox", "/usr/bin/env", "/sbin/init"];

/// Returns the architecture of a root: the host's, or that of another root's programs.
fn arch_of(root: &Root) -> Result<Arch, VmError> {
    let programs = if root.is_host() { &[][..] } else { &PROGRAMS[..] };
    for program in programs {
        let Ok((_, file)) = root.open(&ArchivePath::new(program)) else { continue };
        let mut start = [0; 20];
        if Read::read_exact(&mut &file, &mut start).is_ok()
            && let [0x7f, b'E', b'L', b'F', class, data, .., low, high] = start
        {
            let machine = if data == 1 { u16::from_le_bytes([low, high]) } else { u16::from_be_bytes([low, high]) };
            if let Some(arch) = Arch::from_elf(machine, class == 2, data == 1) {
                return Ok(arch);
            }
        }
    }
    // A root without programs does not reveal its architecture: use the host's.
    Arch::host().ok_or(VmError::UnknownArch)
}

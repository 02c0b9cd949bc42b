//! An initrd that is there already: booted as it is, or with pid 1 and a job on top.

use crate::format::newc;
use crate::initrd::memfd;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::compose::{BuildContext, Composition, Drivers, add_modules, set_variables};
use super::initrd::{Made, apply_run_options, plan};
use super::{Listener, RunSpec, VmError};
use crate::format::newc::{ReadError, Rule};
use crate::format::protocol;
use crate::initrd::check::Purpose;
use crate::initrd::job::Job;
use crate::qemu::machine::Transport;
use crate::root::{fact::Fact, userland};
use crate::{format::archive_path::ArchivePath, initrd::spec::RunWhat};

/// Makes of `path` what is to be booted.
pub(super) fn make(
    path: &Path,
    spec: &RunSpec,
    context: BuildContext<'_>,
    transport: Transport,
    listener: &mut dyn Listener,
) -> Result<Made, VmError> {
    let mut file = open(path)?;
    let as_it_is = spec.initrd.run == RunWhat::Shell;
    let job = match job_of(&file) {
        Err(error) if as_it_is && is_unknown(&error) => None,
        found => found.map_err(|source| VmError::BrokenInitrd { path: path.to_owned(), source })?,
    };
    if job.is_none() && as_it_is {
        if !spec.initrd.modules.is_empty() || !spec.env.is_empty() {
            return Err(VmError::ForeignInitrd { path: path.to_owned() });
        }
        rewind(&mut file, path)?;
        return Ok(Made { initrd: file.into(), transport: Transport::None });
    }
    let job = job.filter(|_| as_it_is).map(|bytes| Job::decode(&bytes)).transpose()?;
    let mut composition = Composition::default();
    if job.is_none() {
        composition.job.env = userland::base_environment();
    }
    add_modules(&mut composition, context, &spec.initrd.modules, Drivers::of(transport))?;
    move_modules(&mut composition);
    apply_run_options(&mut composition, context.root, spec, listener)?;
    take_over(&mut composition.job, job, &spec.initrd.run);
    let plan = plan(composition, context.kernel.arch, Purpose::Overlay)?;
    rewind(&mut file, path)?;
    Ok(Made { initrd: memfd::overlay(&mut file, &plan, 0)?, transport })
}

fn open(path: &Path) -> Result<File, VmError> {
    let failed = || VmError::io("open", format!("initrd {}", path.display()));
    let file = File::open(path).map_err(failed())?;
    let metadata = file.metadata().map_err(failed())?;
    if metadata.is_file() { Ok(file) } else { Err(VmError::InitrdKind { path: path.to_owned() }) }
}

fn rewind(file: &mut File, path: &Path) -> Result<(), VmError> {
    file.seek(SeekFrom::Start(0)).map_err(VmError::io("open", format!("initrd {}", path.display())))?;
    Ok(())
}

/// In a segment on top of somebody's initrd, modules stand where they cannot collide with anything: a directory `/lib`
/// of ours would replace a link `/lib` of theirs (`init/initramfs.c`, `clean_path`).
fn move_modules(composition: &mut Composition) {
    let below = ArchivePath::new("/.bootling/modules");
    let facts = std::mem::take(&mut composition.facts);
    let job = &mut composition.job;
    for load in job.modules.iter_mut().chain(&mut job.channel_modules) {
        let moved = below.join(load.path.file_name());
        let found = facts.iter().find(|fact| fact.path == load.path);
        composition.facts.extend(found.map(|fact| Fact { path: moved.clone(), ..fact.clone() }));
        load.path = moved;
    }
}

/// The job of an initrd, if bootling built it; the last one counts, as it does for the kernel. The whole of it is read:
/// what the kernel would give up on in the middle hides all that stands behind it, and that is where ours goes.
pub(super) fn job_of(file: &File) -> Result<Option<Vec<u8>>, ReadError> {
    /// A job holds arguments, an environment and module names.
    const LIMIT: u64 = 256 << 20;
    let wanted = ArchivePath::new(protocol::job::PATH);
    let mut job = None;
    let reader = BufReader::with_capacity(1 << 16, file);
    newc::walk(reader, &mut |member, data| {
        if ArchivePath::new(OsStr::from_bytes(&member.name)) == wanted {
            let mut bytes = Vec::new();
            data.take(LIMIT).read_to_end(&mut bytes)?;
            job = Some(bytes);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(job)
}

/// Whether a file starts in a way that we do not know, but a kernel may.
fn is_unknown(error: &ReadError) -> bool {
    matches!(error, ReadError::Broken { segment, rule: Rule::Magic(_), .. } if segment.number == 1)
}

/// What a ready-made initrd is to run: its own job over our channel, or what was asked for.
fn take_over(job: &mut Job, own: Option<Job>, what: &RunWhat) {
    match (own, what) {
        (Some(own), _) => {
            // Theirs is the command; ours are the way to talk, and what was asked for on top.
            let asked = std::mem::replace(job, own);
            (job.channel, job.channel_modules, job.tty) = (asked.channel, asked.channel_modules, asked.tty);
            job.modules.extend(asked.modules);
            set_variables(job, asked.env);
        }
        (None, RunWhat::Command(words)) => job.args.clone_from(words),
        (None, RunWhat::Line(line)) => job.args = vec!["/bin/sh".into(), "-c".into(), line.clone()],
        (None, RunWhat::Shell) => {}
    }
}

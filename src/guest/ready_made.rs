//! An existing initrd: booted unchanged, or with pid 1 and a job appended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::compose::{BuildContext, Composition, Drivers, HOSTNAME, Made, add_modules, apply_run_options, plan};
use super::devices::GuestDevices;
use super::preflight::{self, Requests};
use super::{Listener, RunSpec, VmError};
use crate::format::compression::Compression;
use crate::format::newc::{self, ReadError, Rule};
use crate::format::protocol;
use crate::initrd::check::Purpose;
use crate::initrd::job::Job;
use crate::initrd::memfd;
use crate::qemu::machine_type::Transport;
use crate::root::modules::Need;
use crate::root::{fact::Fact, userland};
use crate::{format::archive_path::ArchivePath, root::spec::RunWhat};

/// Prepares the initrd at `path`.
pub(super) fn make(
    path: &Path,
    spec: &RunSpec,
    context: BuildContext<'_>,
    transport: Transport,
    listener: &mut dyn Listener,
) -> Result<Made, VmError> {
    let mut file = open(path)?;
    let as_it_is = spec.initrd.run == RunWhat::Shell;
    let read = match read(&file) {
        Err(error) if as_it_is && is_unknown(&error) => {
            InitrdRead { job: None, compressions: vec![first_compression(&mut file, path)?] }
        }
        found => found.map_err(|source| VmError::BrokenInitrd { path: path.to_owned(), source })?,
    };
    preflight::check(context.kernel, spec, &Requests::of_initrd(read.compressions), listener)?;
    let job = read.job;
    if job.is_none() && as_it_is {
        let is_changed = spec.user.is_some() || spec.hostname.is_some() || !spec.collect.is_empty();
        if is_changed || !spec.initrd.modules.is_empty() || !spec.env.is_empty() {
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
    GuestDevices::of(&spec.boot).add_to_boot(&mut composition, context)?;
    move_modules(&mut composition);
    apply_run_options(&mut composition, context.root, spec, listener)?;
    take_over(&mut composition.job, job, &spec.initrd.run);
    composition.job.autoload = spec.initrd.autoload;
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

/// Moves modules of an appended archive to a directory where they cannot collide: a directory `/lib` would replace a
/// symbolic link `/lib` of the existing initrd (`init/initramfs.c`, `clean_path`).
fn move_modules(composition: &mut Composition) {
    let below = ArchivePath::new("/.bootling/modules");
    let facts = std::mem::take(&mut composition.facts);
    let job = &mut composition.job;
    for load in &mut job.modules {
        let moved = below.join(load.path.file_name());
        let found = facts.iter().find(|fact| fact.path == load.path);
        composition.facts.extend(found.map(|fact| Fact { path: moved.clone(), ..fact.clone() }));
        load.path = moved;
    }
}

/// Properties of an existing initrd.
#[derive(Debug, Default)]
struct InitrdRead {
    /// Its job, if bootling built it.
    job: Option<Vec<u8>>,
    /// Compressions of its segments.
    compressions: Vec<Compression>,
}

/// Returns the last job in an initrd, if bootling built it; the kernel also uses the last one.
pub(super) fn job_of(file: &File) -> Result<Option<Vec<u8>>, ReadError> {
    read(file).map(|read| read.job)
}

/// Reads all of an initrd: damage in the middle would hide the appended archive from the kernel.
fn read(file: &File) -> Result<InitrdRead, ReadError> {
    /// A job contains arguments, an environment and module names.
    const LIMIT: u64 = 256 << 20;
    let wanted = ArchivePath::new(protocol::job::PATH);
    let mut read = InitrdRead::default();
    let reader = BufReader::with_capacity(1 << 16, file);
    newc::walk(reader, &mut |member, data| {
        let compression = member.segment.compression;
        if compression != Compression::None && !read.compressions.contains(&compression) {
            read.compressions.push(compression);
        }
        if ArchivePath::new(OsStr::from_bytes(&member.name)) == wanted {
            let mut bytes = Vec::new();
            data.take(LIMIT).read_to_end(&mut bytes)?;
            read.job = Some(bytes);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(read)
}

/// Returns the compression of an initrd by its first bytes.
fn first_compression(file: &mut File, path: &Path) -> Result<Compression, VmError> {
    rewind(file, path)?;
    let mut magic = Vec::new();
    file.take(8).read_to_end(&mut magic).map_err(VmError::io("read", format!("initrd {}", path.display())))?;
    Ok(Compression::detect(&magic))
}

/// Returns true if the file starts with a magic that is unknown to bootling but may be known to the kernel.
fn is_unknown(error: &ReadError) -> bool {
    matches!(error, ReadError::Broken { segment, rule: Rule::Magic(_), .. } if segment.number == 1)
}

/// Sets the program that an existing initrd runs: that of its own job, over bootling's channel, or the requested
/// command.
fn take_over(job: &mut Job, own: Option<Job>, what: &RunWhat) {
    match (own, what) {
        (Some(own), _) => {
            // The command is from the initrd's job; the channel and additional settings are this run's.
            let asked = std::mem::replace(job, own);
            (job.channel, job.tty) = (asked.channel, asked.tty);
            (job.collect, job.collect_limit) = (asked.collect, asked.collect_limit);
            job.user = asked.user.or(job.user.take());
            if asked.hostname.as_deref() != Some(HOSTNAME.as_ref()) {
                job.hostname = asked.hostname;
            }
            // The channel's drivers precede the initrd's own modules.
            let mut drivers = asked.modules;
            let end = drivers.iter().rposition(|module| module.need == Need::Channel).map_or(0, |last| last + 1);
            let rest = drivers.split_off(end);
            let own = std::mem::replace(&mut job.modules, drivers);
            job.modules.extend(own.into_iter().filter(|module| module.need != Need::Channel).chain(rest));
            job.set_variables(asked.env);
        }
        (None, RunWhat::Command(words)) => job.args.clone_from(words),
        (None, RunWhat::Line(line)) => job.args = vec!["/bin/sh".into(), "-c".into(), line.clone()],
        (None, RunWhat::Shell) => {}
    }
}

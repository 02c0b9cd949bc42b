//! Contents of an initrd and the job of its pid 1, from a specification.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::collect::request::DEFAULT_LIMIT;
use super::{Cwd, Listener, RunSpec, VmError, files, user};
use crate::arch::Arch;
use crate::format::archive_path::ArchivePath;
use crate::initrd::build::Plan;
use crate::initrd::check::{CheckedPlan, Purpose};
use crate::initrd::job::{Channel, Job, ModuleToLoad, init};
use crate::initrd::pid1;
use crate::qemu::machine::MachineError;
use crate::qemu::machine_type::Transport;
use crate::root::kernel::Kernel;
use crate::root::modules::{self, ModuleLoad, tables::ModuleTables};
use crate::root::request::ModuleRequest;
use crate::root::spec::{InitrdSpec, RunWhat};
use crate::root::{directory::Root, fact::Fact, userland};

/// Host name of guests.
pub(super) const HOSTNAME: &str = "bootling";

/// Contents of an initrd, without pid 1 and the encoded job.
#[derive(Debug, Default)]
pub(crate) struct Composition {
    /// The contents.
    pub(crate) facts: Vec<Fact>,
    /// The job of pid 1.
    pub(crate) job: Job,
    /// Notes for the user.
    pub(crate) notes: Vec<String>,
}

/// Channel of pid 1, and the modules that it may need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drivers {
    /// The channel; `None`: only the console.
    pub(crate) channel: Option<Channel>,
    /// Its modules, needed unless they are built in.
    pub(crate) modules: &'static [&'static str],
}

impl Drivers {
    /// Only the console.
    pub(crate) const NONE: Self = Self { channel: None, modules: &[] };

    /// The drivers of a transport.
    pub(crate) fn of(transport: Transport) -> Self {
        match transport {
            Transport::VirtioPci => Self { channel: Some(Channel::Virtio), modules: &["virtio_pci", "virtio_console"] },
            Transport::VirtioMmio => {
                Self { channel: Some(Channel::Virtio), modules: &["virtio_mmio", "virtio_console"] }
            }
            Transport::Com2 => Self { channel: Some(Channel::Serial("ttyS1".into())), modules: &[] },
            Transport::None => Self::NONE,
        }
    }
}

/// Sources of an initrd: a root, a kernel, and the kernel's module tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuildContext<'a> {
    /// The root.
    pub(crate) root: &'a Root,
    /// The kernel.
    pub(crate) kernel: &'a Kernel,
    /// The module tables.
    pub(crate) tables: &'a ModuleTables,
}

/// Composes a base, which boots before its command is known: the channel and its drivers.
pub(crate) fn base(context: BuildContext<'_>, drivers: Drivers) -> Result<Composition, VmError> {
    let mut base = Composition::default();
    add_modules(&mut base, context, &[], drivers)?;
    Ok(base)
}

/// Composes a payload: the command with its programs, files, modules and job. A module that the base needs too is in both.
pub(crate) fn command(context: BuildContext<'_>, spec: &InitrdSpec) -> Result<Composition, VmError> {
    whole(context, spec, Drivers::NONE)
}

/// Composes an initrd that boots with its command. A module that the channel needs too counts as requested.
pub(crate) fn whole(context: BuildContext<'_>, spec: &InitrdSpec, drivers: Drivers) -> Result<Composition, VmError> {
    let mut composition = compose(context.root, spec, context.kernel.arch)?;
    add_modules(&mut composition, context, &spec.modules, drivers)?;
    Ok(composition)
}

/// Resolves programs and files, and starts the job.
pub(crate) fn compose(root: &Root, spec: &InitrdSpec, arch: Arch) -> Result<Composition, VmError> {
    let users = userland::resolve(root, spec, arch)?;
    let mut composition = Composition { facts: users.facts, job: Job::default(), notes: users.notes };
    // A shell on the console or a terminal is interactive without options.
    composition.job.args = users.command.unwrap_or_else(|| vec!["/bin/sh".into()]);
    composition.job.env = users.env;
    composition.job.tty = spec.run == RunWhat::Shell;
    composition.job.autoload = spec.autoload;
    Ok(composition)
}

/// Adds the requested modules, and those that the channel may need.
pub(crate) fn add_modules(
    composition: &mut Composition,
    context: BuildContext<'_>,
    requests: &[ModuleRequest],
    drivers: Drivers,
) -> Result<(), VmError> {
    composition.job.channel = drivers.channel;
    if requests.is_empty() && drivers.modules.is_empty() {
        return Ok(());
    }
    let BuildContext { root, kernel, tables } = context;
    let found = modules::resolve(root, kernel, tables, requests, drivers.modules)?;
    composition.facts.extend(found.facts);
    composition.notes.extend(found.notes);
    let to_load = |ModuleLoad { path, params, need, .. }| ModuleToLoad { path, params, need };
    composition.job.modules = found.loads.into_iter().map(to_load).collect();
    Ok(())
}

/// Returns the command's working directory. The host's current directory is used if the image has it, so that `./test` works.
pub(crate) fn working_directory(wanted: &Cwd, root: &Root, facts: &[Fact]) -> Option<PathBuf> {
    let here = match wanted {
        Cwd::Root => return None,
        Cwd::At(there) => return Some(there.clone()),
        Cwd::Here(_) if !root.is_host() => return None,
        Cwd::Here(here) => here,
    };
    let inside = ArchivePath::new(here);
    let below = |fact: &Fact| {
        let mut at = Some(fact.path.clone());
        while let Some(path) = at {
            if path == inside {
                return true;
            }
            at = path.parent();
        }
        false
    };
    (!inside.is_root() && facts.iter().any(below)).then(|| here.clone())
}

/// Adds `NAME=VALUE` settings to a job's environment. A bare `NAME` passes this process's value, if it is set.
pub(crate) fn set_environment(job: &mut Job, settings: &[OsString]) -> Result<(), VmError> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    for setting in settings {
        let bytes = setting.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (OsString::from_vec(bytes[..at].to_vec()), Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
            None => (setting.clone(), std::env::var_os(setting)),
        };
        if name.is_empty() {
            return Err(VmError::Variable(setting.clone()));
        }
        job.env.retain(|(other, _)| *other != name);
        job.set_variables(value.map(|value| (name, value)));
    }
    Ok(())
}

/// An initrd, and the channel of its pid 1.
#[derive(Debug)]
pub(super) struct Made {
    /// In memory, or an open file.
    pub(super) initrd: OwnedFd,
    /// The channel.
    pub(super) transport: Transport,
}

/// Applies options of the run that do not belong to the image: terminal, environment, directory. Reports the notes.
pub(super) fn apply_run_options(
    composition: &mut Composition,
    root: &Root,
    spec: &RunSpec,
    listener: &mut dyn Listener,
) -> Result<(), VmError> {
    let hostname = spec.hostname.as_deref().unwrap_or(HOSTNAME);
    user::check_hostname(hostname)?;
    composition.job.hostname = Some(hostname.into());
    if hostname != HOSTNAME {
        user::set_hosts(&mut composition.facts, HOSTNAME, hostname);
    }
    composition.job.tty = spec.boot.tty || (spec.print_only && spec.initrd.run == RunWhat::Shell);
    let shares = files::shares::find(&spec.boot.files)?;
    composition.job.cwd = match files::image::working_directory(&spec.cwd, &spec.boot.files, &shares) {
        Some(directory) => Some(directory),
        None => working_directory(&spec.cwd, root, &composition.facts),
    };
    composition.job.has_root = spec.boot.files.root.is_some();
    let mounts = shares.into_iter().filter_map(|share| Some((share.guest?, share.writable)));
    composition.job.shares = mounts.collect();
    if spec.boot.tty
        && let Some(term) = &spec.term
    {
        composition.job.env.push(("TERM".into(), term.clone()));
    }
    if let Some(request) = spec.collect.first().filter(|_| composition.job.has_root) {
        // The collector sees the initrd, not the command's root.
        let why = "not supported with --root; write the files to a directory of --share DIR:rw".to_owned();
        return Err(VmError::Value { option: "--collect", value: request.to_string(), why });
    }
    composition.job.collect = spec.collect.iter().map(|request| request.guest.clone()).collect();
    composition.job.collect_limit = spec.collect_limit.unwrap_or(DEFAULT_LIMIT);
    if let Some(typed) = &spec.user {
        let users = spec.boot.files.root.as_ref().map(files::image::users).transpose()?;
        user::apply(&mut composition.job, users.as_deref().unwrap_or(&composition.facts), typed)?;
    }
    set_environment(&mut composition.job, &spec.env)?;
    for note in &composition.notes {
        listener.note(note);
    }
    Ok(())
}

/// Adds pid 1 and the job, and checks the result.
pub(super) fn plan(composition: Composition, arch: Arch, purpose: Purpose) -> Result<CheckedPlan, VmError> {
    let image = pid1::image(arch).ok_or(MachineError::Arch(arch))?;
    let mut facts = composition.facts;
    facts.push(init(image));
    facts.extend(composition.job.facts()?);
    Ok(Plan::from_facts(facts)?.check(purpose)?)
}

#[cfg(test)]
mod tests {
    use super::{BuildContext, Composition, Drivers, base, command, whole};
    use crate::arch::Arch;
    use crate::format::modules::modinfo::tests::module;
    use crate::initrd::job::Channel;
    use crate::qemu::machine_type::Transport;
    use crate::root::directory::Root;
    use crate::root::kernel::{ImageKind, Kernel, ModuleDir, ModuleLayout};
    use crate::root::modules::Need;
    use crate::root::modules::tables::ModuleTables;
    use crate::{
        root::request::ModuleRequest,
        root::spec::{InitrdSpec, RunWhat},
    };
    use std::collections::BTreeSet;
    use std::path::Path;

    /// A kernel with modular channel drivers; `shared` is needed by one of them and by `asked`.
    fn kernel(host: &Path) -> Kernel {
        let needs = [("shared", ""), ("virtio_pci", "shared"), ("virtio_console", ""), ("asked", "shared")];
        let mut table = String::new();
        for (name, needed) in needs {
            let line = if needed.is_empty() { String::new() } else { format!(" {needed}.ko") };
            table.extend([name, ".ko:", &line, "\n"]);
            let info = [format!("depends={needed}"), "vermagic=6.9.0 SMP".to_owned()];
            let info: Vec<&str> = info.iter().map(String::as_str).collect();
            std::fs::write(host.join(format!("{name}.ko")), module(&info)).expect("a module");
        }
        std::fs::write(host.join("modules.dep"), table).expect("a table");
        let layout = ModuleLayout::Installed;
        Kernel {
            image: "/nowhere".into(),
            kind: ImageKind::BzImage,
            arch: Arch::host().expect("an architecture"),
            release: Some("6.9.0".to_owned()),
            modules: Some(ModuleDir { host: host.to_owned(), release: "6.9.0".to_owned(), layout }),
            config: None,
            origin: "the test's".to_owned(),
        }
    }

    /// Names of the modules in load order; those that are loaded only for the channel have a `*`.
    fn loads(composition: &Composition) -> Vec<String> {
        let mark = |need| if need == Need::Channel { "*" } else { "" };
        let loads = composition.job.modules.iter();
        loads.map(|load| format!("{}{}", mark(load.need), load.path.file_name().to_string_lossy())).collect()
    }

    fn paths(composition: &Composition) -> BTreeSet<String> {
        composition.facts.iter().map(|fact| fact.path.to_string()).collect()
    }

    #[test]
    fn base_and_payload_together_contain_the_whole_and_each_loads_its_own_modules() {
        let modules = tempfile::tempdir().expect("a directory");
        let kernel = kernel(modules.path());
        let root = Root::new("/").expect("a root");
        // A program that certainly exists.
        let program = std::env::current_exe().expect("this program");
        let spec = InitrdSpec {
            busybox: false,
            modules: vec![ModuleRequest { name: "asked".into(), params: "p=1".into() }],
            run: RunWhat::Command(vec![program.into(), "word".into()]),
            ..InitrdSpec::default()
        };
        let drivers = Drivers::of(Transport::VirtioPci);
        let tables = ModuleTables::default();
        let context = BuildContext { root: &root, kernel: &kernel, tables: &tables };
        let whole = whole(context, &spec, drivers.clone()).expect("a whole");
        let base = base(context, drivers).expect("a base");
        let command = command(context, &spec).expect("a command");

        assert_eq!(loads(&whole), ["shared.ko", "*virtio_pci.ko", "*virtio_console.ko", "asked.ko"]);
        assert_eq!(loads(&base), ["*shared.ko", "*virtio_pci.ko", "*virtio_console.ko"]);
        assert_eq!(loads(&command), ["shared.ko", "asked.ko"]);
        assert_eq!(paths(&base).union(&paths(&command)).cloned().collect::<BTreeSet<_>>(), paths(&whole));
        assert_eq!((&base.job.channel, &command.job.channel), (&Some(Channel::Virtio), &None));
        assert_eq!((&base.job.args, &command.job.args), (&Vec::new(), &whole.job.args));
    }
}

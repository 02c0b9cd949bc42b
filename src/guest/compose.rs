//! From a spec to the facts of an image and the job of its pid 1: the way all images share.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Cwd, VmError};
use crate::arch::Arch;
use crate::initrd::job::{Channel, Job, ModuleToLoad};
use crate::qemu::machine::Transport;
use crate::root::kernel::Kernel;
use crate::root::modules::{self, ModuleLoad, tables::ModuleTables};
use crate::root::{fact::Fact, root::Root, userland};
use crate::{
    format::archive_path::ArchivePath,
    initrd::spec::{InitrdSpec, RunWhat},
    root::request::ModuleRequest,
};

/// Everything an image is made of, pid 1 and its job apart.
#[derive(Debug, Default)]
pub struct Composition {
    /// What goes in.
    pub facts: Vec<Fact>,
    /// What pid 1 is to do.
    pub job: Job,
    /// Lines for the user.
    pub notes: Vec<String>,
}

/// How pid 1 talks, and the modules it may need for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drivers {
    /// The channel; `None`: on the console alone.
    pub channel: Option<Channel>,
    /// Its modules, where they are not built in.
    pub modules: &'static [&'static str],
}

impl Drivers {
    /// On the console alone.
    pub const NONE: Self = Self { channel: None, modules: &[] };

    /// Those of a transport.
    pub fn of(transport: Transport) -> Self {
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

/// What images are made from: a system, a kernel, and the tables of the kernel's modules.
#[derive(Debug, Clone, Copy)]
pub struct BuildContext<'a> {
    /// The system.
    pub root: &'a Root,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The tables of its modules.
    pub tables: &'a ModuleTables,
}

/// The half of a guest that boots before anybody knows its command: the channel and its drivers.
pub fn base(context: BuildContext<'_>, drivers: Drivers) -> Result<Composition, VmError> {
    let mut base = Composition::default();
    add_modules(&mut base, context, &[], drivers)?;
    Ok(base)
}

/// The other half: the command with all it needs (programs, files, the modules that were asked for, the job). A module that
/// both need is in both.
pub fn command(context: BuildContext<'_>, spec: &InitrdSpec) -> Result<Composition, VmError> {
    whole(context, spec, Drivers::NONE)
}

/// All of an image that boots in one piece: a module that the channel needs, too, counts as asked for.
pub fn whole(context: BuildContext<'_>, spec: &InitrdSpec, drivers: Drivers) -> Result<Composition, VmError> {
    let mut composition = compose(context.root, spec, context.kernel.arch)?;
    add_modules(&mut composition, context, &spec.modules, drivers)?;
    Ok(composition)
}

/// Resolves programs and files, and begins the job.
pub fn compose(root: &Root, spec: &InitrdSpec, arch: Arch) -> Result<Composition, VmError> {
    let users = userland::resolve(root, spec, arch)?;
    let mut composition = Composition { facts: users.facts, job: Job::default(), notes: users.notes };
    // A shell on the console or a terminal is interactive by itself.
    composition.job.args = users.command.unwrap_or_else(|| vec!["/bin/sh".into()]);
    composition.job.env = users.env;
    composition.job.tty = spec.run == RunWhat::Shell;
    Ok(composition)
}

/// Adds the modules that were asked for, and those the channel may need.
pub fn add_modules(
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
    let (optional, asked): (Vec<ModuleLoad>, Vec<ModuleLoad>) = found.loads.into_iter().partition(|load| load.optional);
    composition.job.modules = asked.into_iter().map(to_load).collect();
    composition.job.channel_modules = optional.into_iter().map(to_load).collect();
    Ok(())
}

fn to_load(load: ModuleLoad) -> ModuleToLoad {
    ModuleToLoad { path: load.path, params: load.params }
}

/// Where the command starts. Where the user is, if the image has that directory: `./test` then works as typed.
pub fn working_directory(wanted: &Cwd, root: &Root, facts: &[Fact]) -> Option<PathBuf> {
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

/// Adds `NAME=VALUE` settings to a job's environment; a bare `NAME` is taken over from this process, if it is set.
pub fn set_environment(job: &mut Job, settings: &[OsString]) -> Result<(), VmError> {
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
        set_variables(job, value.map(|value| (name, value)));
    }
    Ok(())
}

/// Sets variables of a job's environment; each name stands there once.
pub fn set_variables(job: &mut Job, variables: impl IntoIterator<Item = (OsString, OsString)>) {
    for (name, value) in variables {
        job.env.retain(|(other, _)| *other != name);
        job.env.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::{BuildContext, Composition, Drivers, base, command, whole};
    use crate::arch::Arch;
    use crate::format::modules::modinfo::tests::module;
    use crate::initrd::job::Channel;
    use crate::qemu::machine::Transport;
    use crate::root::kernel::{ImageKind, Kernel, ModuleDir, ModuleLayout};
    use crate::root::modules::tables::ModuleTables;
    use crate::root::root::Root;
    use crate::{
        initrd::spec::{InitrdSpec, RunWhat},
        root::request::ModuleRequest,
    };
    use std::collections::BTreeSet;
    use std::path::Path;

    /// A kernel whose channel drivers are modules, and `shared` is needed by one of them and by `asked`.
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

    /// Names of the modules that are loaded for the channel, and of those that were asked for.
    fn loads(composition: &Composition) -> [Vec<String>; 2] {
        let job = &composition.job;
        [&job.channel_modules, &job.modules]
            .map(|loads| loads.iter().map(|load| load.path.file_name().to_string_lossy().into_owned()).collect())
    }

    fn paths(composition: &Composition) -> BTreeSet<String> {
        composition.facts.iter().map(|fact| fact.path.to_string()).collect()
    }

    #[test]
    fn the_two_halves_hold_what_the_whole_does_and_each_can_load_its_modules_by_itself() {
        let modules = tempfile::tempdir().expect("a directory");
        let kernel = kernel(modules.path());
        let root = Root::new("/").expect("a root");
        // Some program that is surely here.
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

        assert_eq!(loads(&whole), [&["virtio_pci.ko", "virtio_console.ko"], &["shared.ko", "asked.ko"]]);
        assert_eq!(loads(&base), [vec!["shared.ko", "virtio_pci.ko", "virtio_console.ko"], vec![]]);
        assert_eq!(loads(&command), [vec![], vec!["shared.ko", "asked.ko"]]);
        assert_eq!(paths(&base).union(&paths(&command)).cloned().collect::<BTreeSet<_>>(), paths(&whole));
        assert_eq!((&base.job.channel, &command.job.channel), (&Some(Channel::Virtio), &None));
        assert_eq!((&base.job.args, &command.job.args), (&Vec::new(), &whole.job.args));
    }
}

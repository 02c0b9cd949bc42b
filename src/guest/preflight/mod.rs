//! Checks the kernel's configuration before QEMU starts: without an option that a guest needs, a kernel hangs, resets,
//! or panics with a misleading message.
//!
//! `table` lists the options. A missing option is an error if the run cannot work without it, and a note if less works.
//! Without a configuration, nothing is checked; the message for the outcome then describes what is known.

mod need;
mod report;
mod table;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub use self::need::Severity;
use self::need::{Need, When};
pub use self::report::{Report, Row, State};
use super::transcript::KernelTraits;
use super::{Listener, RunSpec, VmError};
use crate::format::compression::Compression;
use crate::format::modules::name;
use crate::qemu::device::files::Support;
use crate::qemu::machine_type::Transport;
use crate::root::kernel::{Config, Kernel};
use crate::root::spec::RunWhat;

/// Requests of a run that the kernel's configuration may not support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requests {
    /// Conditions that apply.
    whens: Vec<When>,
    /// True if modules are available: an option may be a module.
    has_modules: bool,
}

impl Requests {
    /// Returns the needs of all guests of a kernel on a machine. `transport` is the channel that was chosen for the
    /// kernel.
    pub(super) fn of_machine(spec: &RunSpec, transport: Transport) -> Self {
        let mut whens = vec![When::Always];
        // A foreign initrd and one that is booted by hand have only the console. Whether an initrd is foreign is not known
        // before it is read.
        let is_foreign = spec.ready_made.is_some() && spec.initrd.run == RunWhat::Shell;
        if !is_foreign && !spec.print_only {
            whens.push(When::Channel(transport));
            whens.push(When::Reports);
        }
        if spec.boot.smp.as_deref().is_some_and(|smp| smp != "1") {
            whens.push(When::SeveralCpus);
        }
        whens.extend(spec.boot.disks.iter().map(|disk| When::Disk(disk.bus)));
        if spec.boot.net.as_ref().is_some_and(|net| net.backend.is_some()) {
            whens.push(When::Network);
        }
        let needs = spec.boot.files.needs();
        whens.extend((needs >= Support::Shares).then_some(When::Shares));
        whens.extend((needs >= Support::Root).then_some(When::Root));
        Self { whens, has_modules: transport != Transport::Com2 }
    }

    /// Returns the needs of a command.
    pub(super) fn of_command(spec: &RunSpec) -> Self {
        let mut whens = Vec::new();
        if spec.boot.tty {
            whens.push(When::Tty);
        }
        let modules = spec.initrd.modules.iter().chain(&spec.base_modules);
        if modules.map(|module| module.name.as_os_str()).any(is_file) {
            whens.push(When::ModuleFile);
        }
        Self { whens, has_modules: true }
    }

    /// Returns the needs of an existing initrd that consists of segments with these compressions.
    pub(super) fn of_initrd(compressions: impl IntoIterator<Item = Compression>) -> Self {
        Self { whens: compressions.into_iter().map(When::Compressed).collect(), has_modules: true }
    }
}

/// Returns true for the path of a `.ko` file, false for the name of a module.
fn is_file(module: &OsStr) -> bool {
    module.as_bytes().contains(&b'/') || name::stem(&module.to_string_lossy()).is_some()
}

/// Checks that the kernel has all options for these requests. Reports options without which less works to `listener`.
pub(super) fn check(
    kernel: &Kernel,
    spec: &RunSpec,
    requests: &Requests,
    listener: &mut dyn Listener,
) -> Result<(), VmError> {
    let Some(config) = trusted(kernel, spec) else { return Ok(()) };
    let table = table::table(kernel.arch);
    let needs = table.iter().filter(|need| requests.whens.contains(&need.when));
    let lacks: Vec<(&Need, String)> =
        needs.filter_map(|need| Some((need, need.lack(config, requests.has_modules)?))).collect();
    let fatal = lacks.iter().filter(|(need, _)| need.severity == Severity::Fatal);
    let lacks_text = |(need, set): &(&Need, String)| format!("{set}: {}", need.without);
    let fatal: Vec<String> = fatal.map(lacks_text).collect();
    if !fatal.is_empty() {
        let (origin, configuration) = (kernel.origin.clone(), config.source().to_owned());
        return Err(VmError::Preflight { origin, configuration, lacks: fatal });
    }
    for note in notes(&lacks, config) {
        listener.note(&note);
    }
    Ok(())
}

/// Returns what the configuration says about the kernel, for the verdict.
pub(super) fn traits(kernel: &Kernel, spec: &RunSpec) -> KernelTraits {
    let has = |options: [&str; 2]| {
        let config = trusted(kernel, spec)?;
        Some(options.iter().all(|option| config.is_builtin(option)))
    };
    KernelTraits {
        writes_console: has(["PRINTK", kernel.arch.guest().serial[1]]),
        starts_init: has(["BLK_DEV_INITRD", "BINFMT_ELF"]),
    }
}

/// Returns the configuration if it is complete, and the user trusts it.
pub(super) fn trusted<'a>(kernel: &'a Kernel, spec: &RunSpec) -> Option<&'a Config> {
    kernel.config.as_ref().filter(|config| spec.boot.preflight && is_complete(kernel, config))
}

/// Returns why guests of this kernel cannot be restored from a snapshot, as a clause; `None` if nothing is known against it.
pub(super) fn not_warm(kernel: &Kernel, spec: &RunSpec) -> Option<String> {
    let config = trusted(kernel, spec)?;
    let need = table::table(kernel.arch)
        .into_iter()
        .find(|need| need.when == When::Warm && need.lack(config, true).is_some())?;
    Some(format!("{} ({} lacks {})", need.without, config.source(), need.lack(config, true)?))
}

/// Returns the notes about options without which less works: one for all consequences of the same options.
fn notes(lacks: &[(&Need, String)], config: &Config) -> Vec<String> {
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (need, set) in lacks.iter().filter(|(need, _)| need.severity == Severity::Degraded) {
        match notes.iter_mut().find(|(other, _)| other == set) {
            Some((_, texts)) => texts.push(&need.without),
            None => notes.push((set, vec![&need.without])),
        }
    }
    let format = |(set, texts): (&str, Vec<&str>)| format!("{} ({} lacks {set})", texts.join("; "), config.source());
    notes.into_iter().map(format).collect()
}

/// Returns true for a complete configuration of the kernel. A minimal one (`make savedefconfig`) omits options that are set
/// by default; it never contains this one, which has no prompt.
pub(super) fn is_complete(kernel: &Kernel, config: &Config) -> bool {
    config.is_builtin(kernel.arch.guest().config)
}

#[cfg(test)]
mod tests;

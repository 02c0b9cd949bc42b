//! Creates a bundle from a prepared run and its result.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::instructions::made_by;
use super::{
    Bundle, BundleError, CONSOLE, CONSOLE_ARCHIVE, CONSOLE_INITRD, INITRD, KERNEL, KernelInfo, MachineInfo, Manifest,
    QemuInfo, STDERR, STDOUT, VERSION,
};
use crate::guest::prebuilt::console_archive;
use crate::guest::report::RecordedResult;
use crate::guest::{Output, Prepared, RunSpec};
use crate::qemu::argv::{Chardevs, Connections, Payload, argv};
use crate::qemu::device::Devices;
use crate::qemu::firmware::Firmware;
use crate::qemu::machine::Machine;
use crate::qemu::machine_type::Transport;
use crate::root::spec::RunWhat;

impl Bundle {
    /// Creates a bundle of a prepared run, without a result. `timeout` limits a repeated run.
    pub fn new(spec: &RunSpec, prepared: &Prepared, timeout: Option<Duration>) -> Result<Self, BundleError> {
        let machine = &prepared.machine;
        if machine.transport == Transport::None {
            return unsupported("an initrd not built by bootling: give COMMAND or --run LINE");
        }
        if machine.devices != Devices::default() {
            return unsupported("a run with --disk, --net, --share or --root: a bundle contains all that it needs");
        }
        if !spec.collect.is_empty() {
            return unsupported("a run with --collect");
        }
        let Some((image, initrd)) = prepared.boot_files() else { return unsupported("a run that does not boot") };
        let read = |name| move |source: io::Error| BundleError::Input(name, source);
        let initrd = File::from(initrd.try_clone().map_err(read(INITRD))?);
        let kernel = File::open(image).map_err(read(KERNEL))?;
        let mut magic = [0; 4];
        kernel.read_exact_at(&mut magic, 0).map_err(read(KERNEL))?;
        let console_archive = console_archive(&initrd).map_err(|error| BundleError::Initrd(Box::new(error)))?;
        let manifest = Manifest {
            version: VERSION,
            made_by: made_by(),
            command: command(&spec.initrd.run),
            arch: machine.arch.name().to_owned(),
            kernel: KernelInfo { origin: origin(&prepared.kernel), release: None, is_elf: &magic == b"\x7fELF" },
            machine: MachineInfo::new(machine, spec, timeout)?,
            health: spec.health.clone(),
            qemu: QemuInfo::new(machine)?,
            expected: None,
            files: BTreeMap::new(),
        };
        let files = [(INITRD, initrd), (KERNEL, kernel)].map(|(name, file)| (name.to_owned(), file)).into();
        let mut bundle = Self { manifest, files, unchecked: Vec::new() };
        bundle.add(CONSOLE_ARCHIVE, &console_archive)?;
        Ok(bundle)
    }

    /// Adds the result of the run, with the last lines of the console if requested.
    pub fn add_result(&mut self, output: &Output, with_console: bool) -> Result<(), BundleError> {
        self.manifest.expected = Some(RecordedResult::new(&output.outcome));
        self.manifest.kernel.release.clone_from(&output.release);
        self.add(STDOUT, &output.stdout)?;
        self.add(STDERR, &output.stderr)?;
        if with_console {
            self.add(CONSOLE, (output.console.join("\n") + "\n").as_bytes())?;
        }
        Ok(())
    }
}

impl MachineInfo {
    fn new(machine: &Machine, spec: &RunSpec, timeout: Option<Duration>) -> Result<Self, BundleError> {
        // Every QEMU installation contains SeaBIOS.
        let bios = match machine.firmware {
            Firmware::Direct => false,
            Firmware::Bios(None) => true,
            Firmware::Bios(Some(_)) | Firmware::Uefi(_) => {
                return unsupported("a run with firmware of the host: only --firmware none and bios are portable");
            }
        };
        Ok(Self {
            machine: utf8(&machine.machine)?,
            accel: machine.accelerator.name().to_owned(),
            cpu: utf8(&machine.cpu)?,
            smp: machine.smp.as_deref().map(utf8).transpose()?,
            memory_mib: machine.memory_mib,
            bios,
            append: all_utf8(&spec.boot.append)?,
            fast_boot: spec.boot.fast_boot,
            tty: spec.boot.tty,
            channel: machine.transport.name().to_owned(),
            qemu_args: all_utf8(&machine.extra)?,
            timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

impl QemuInfo {
    /// Describes QEMU, with the command line to start it by hand.
    pub(super) fn new(machine: &Machine) -> Result<Self, BundleError> {
        let payload = Payload::Linux { kernel: KERNEL.into(), initrd: CONSOLE_INITRD.into(), warm: None };
        let connections = Connections { payload, flash: None, disks: Vec::new(), chardevs: Chardevs::Stdio };
        let mut line = argv(machine, &connections);
        let program = machine.qemu.path.file_name().unwrap_or_default().to_owned();
        if let Some(first) = line.first_mut() {
            first.clone_from(&program);
        }
        let version = machine.qemu.facts.version.clone();
        Ok(Self { program: utf8(&program)?, version, line: all_utf8(&line)? })
    }
}

fn unsupported<T>(reason: &str) -> Result<T, BundleError> {
    Err(BundleError::Unsupported(reason.to_owned()))
}

/// Returns the command for the manifest.
fn command(run: &RunWhat) -> Vec<String> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    match run {
        RunWhat::Command(words) => words.iter().map(text).collect(),
        RunWhat::Line(line) => vec!["sh".to_owned(), "-c".to_owned(), text(line)],
        RunWhat::Shell => vec!["command of the initrd".to_owned()],
    }
}

fn utf8(argument: &OsStr) -> Result<String, BundleError> {
    let invalid = || BundleError::Unsupported(format!("argument {}: not UTF-8", argument.display()));
    argument.to_str().map(str::to_owned).ok_or_else(invalid)
}

fn all_utf8(arguments: &[OsString]) -> Result<Vec<String>, BundleError> {
    arguments.iter().map(|argument| utf8(argument)).collect()
}

/// Returns the file name of the kernel's source, without the directories of this host.
fn origin(kernel: &str) -> String {
    let path = std::path::absolute(kernel).unwrap_or_else(|_| kernel.into());
    Path::new(&path).file_name().map_or_else(|| kernel.to_owned(), |name| name.to_string_lossy().into_owned())
}

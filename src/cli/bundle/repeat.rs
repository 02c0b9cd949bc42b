//! `bootling run BUNDLE`: repeats a recorded run and compares the result.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{kind, script};
use crate::cli::output;
use crate::cli::reporter::Reporter;
use crate::cli::run::{Booted, RunArgs, on_terminal};
use bootling::arch::Arch;
use bootling::guest::prebuilt::Prebuilt;
use bootling::guest::report::Recorded;
use bootling::guest::snapshot::Warm;
use bootling::guest::verdict::Outcome;
use bootling::guest::{Listener, RunSpec, TimeLimit};
use bootling::initrd::explain::Printable;
use bootling::qemu::machine::Transport;
use bootling::regress::bundle::{Bundle, INITRD, KERNEL, MachineNote, Manifest, SCRIPT, is_bundle, read, vetted};
use bootling::{
    initrd::spec::{InitrdSpec, RunWhat},
    qemu::spec::{Accel, BootSpec, FirmwareRef},
};

/// An opened bundle.
pub struct Found {
    path: PathBuf,
    file: File,
}

/// Opens the bundle if the command is a single argument that names a bundle.
pub fn find(args: &RunArgs) -> anyhow::Result<Option<Found>> {
    let ([name], RunWhat::Command(_)) = (args.command(), args.wanted()) else { return Ok(None) };
    let path = Path::new(name);
    // Other code resolves programs and reports missing ones.
    if !path.is_file() {
        return Ok(None);
    }
    let Ok(mut file) = File::open(path) else { return Ok(None) };
    let found = is_bundle(&mut file).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(found.then(|| Found { path: path.to_owned(), file }))
}

impl Found {
    /// Verifies the bundle, repeats the run and compares the result.
    pub fn repeat(mut self, args: &RunArgs, start: Instant, reporter: &mut Reporter) -> anyhow::Result<Booted> {
        let reading = || format!("failed to read bundle {}", self.path.display());
        refuse(args)?;
        let bundle = read(&mut self.file).with_context(reading)?;
        let manifest = &bundle.manifest;
        let spec = RunSpec {
            boot: machine(args, &manifest.machine, reporter).with_context(reading)?,
            health: args.health.on_top_of(manifest.health.clone(), &args.typed),
            initrd: InitrdSpec { run: RunWhat::Command(vec!["it".into()]), ..InitrdSpec::default() },
            ..RunSpec::default()
        };
        let prepared = what(&bundle).with_context(reading)?.prepare(&spec, reporter).map_err(|error| {
            let error = output::advised(error);
            let was_kvm =
                spec.boot.accel == Accel::Kvm && args.boot.machine.spec(FirmwareRef::Direct).accel == Accel::Auto;
            if was_kvm {
                output::advise(error, "recorded with KVM; use --accel tcg to repeat it without KVM")
            } else {
                error
            }
        })?;
        if let Some(warning) = script::warning(&bundle).with_context(reading)? {
            reporter.note(&format!("{SCRIPT} is {warning}"));
        }
        let version = prepared.machine.qemu.facts.version.clone();
        if version != manifest.qemu.version {
            let theirs = Printable(manifest.qemu.version.as_bytes());
            reporter.note(&format!("QEMU version {version}, recorded with {theirs}"));
        }
        let mut args = args.clone();
        let limit = manifest.machine.timeout_ms.map(Duration::from_millis);
        args.boot.machine.timeout.get_or_insert(limit.map_or(TimeLimit::None, TimeLimit::After));
        reporter.announces = spec.boot.tty && on_terminal();
        let result = prepared.run(args.options()?, reporter).map_err(output::advised)?;
        let mut booted = Booted::new(&args, spec.boot.fast_boot, result, start);
        judge(manifest, &mut booted, args.quiet);
        Ok(booted)
    }
}

/// Rejects options that the bundle determines.
fn refuse(args: &RunArgs) -> anyhow::Result<()> {
    let initrd = &args.initrd;
    let typed = [
        ("--kernel", args.typed.has("kernel")),
        ("--with", !initrd.with.is_empty()),
        ("--copy", !initrd.copy.is_empty()),
        ("--kmod", !initrd.kmod.is_empty()),
        ("--base-kmod", !args.base_kmod.is_empty()),
        ("--sysroot", initrd.sysroot.is_some()),
        ("--no-busybox", initrd.no_busybox),
        ("--lib-path", !initrd.lib_path.is_empty()),
        ("--initrd", args.ready_made.is_some()),
        ("--env", !args.env.is_empty()),
        ("--tty", args.tty),
        // A bundle was recorded with a boot, so it is always booted.
        ("--warm", args.typed.has("warm") && args.warm() != Warm::No),
        ("--firmware-vars", args.boot.machine.firmware_vars.is_some()),
    ];
    if let Some((option, _)) = typed.iter().find(|(_, typed)| *typed) {
        bail!("{option} cannot be used with a bundle, which defines what to run");
    }
    ensure!(
        !args.print_command,
        "--print-command cannot be used with a bundle; see its run.sh (bootling cat BUNDLE run.sh)"
    );
    Ok(())
}

/// Returns the recorded machine, with the options from the command line applied.
fn machine(args: &RunArgs, note: &MachineNote, reporter: &mut Reporter) -> anyhow::Result<BootSpec> {
    let recorded = vetted(note, args.trust).map_err(|error| {
        let may = vetted(note, true).is_ok();
        if may { output::advise(error, "use --trust if you trust the origin of the bundle") } else { error.into() }
    })?;
    let firmware = args.boot.firmware.as_ref().filter(|_| args.typed.has("firmware"));
    if firmware.is_some_and(|typed| *typed != recorded.firmware) {
        let word = if note.bios { "bios" } else { "none" };
        bail!("invalid --firmware: the bundle was recorded with {word}; omit the option");
    }
    let leave = bootling::regress::bundle::needs_leave(note);
    if !leave.is_empty() {
        let words = leave.join(" ");
        reporter.note(&format!("passing recorded arguments to QEMU: {}", Printable(words.as_bytes())));
    }
    let typed = args.boot.spec(note.tty);
    let accel = if typed.accel == Accel::Auto { recorded.accel } else { typed.accel };
    // `host` requires KVM. `None` selects the default for the accelerator.
    let own = (note.accel.as_str(), note.cpu.as_str());
    let cpu =
        if accel != recorded.accel && matches!(own, ("kvm", "host") | ("tcg", "max")) { None } else { recorded.cpu };
    Ok(BootSpec {
        qemu: typed.qemu,
        accel,
        machine: typed.machine.or(recorded.machine),
        cpu: typed.cpu.or(cpu),
        smp: typed.smp.or(recorded.smp),
        memory_mib: typed.memory_mib.or(recorded.memory_mib),
        append: [recorded.append, typed.append].concat(),
        fast_boot: recorded.fast_boot || typed.fast_boot,
        firmware: recorded.firmware,
        firmware_vars: None,
        qemu_args: [recorded.qemu_args, typed.qemu_args].concat(),
        console: typed.console,
        tty: recorded.tty,
    })
}

/// Returns the recorded files to boot.
fn what(bundle: &Bundle) -> anyhow::Result<Prebuilt> {
    let Manifest { arch, kernel, machine, .. } = &bundle.manifest;
    let arch = Arch::ALL.into_iter().find(|known| known.name() == arch).context("unknown architecture")?;
    let known = [Transport::VirtioPci, Transport::VirtioMmio, Transport::Com2];
    let transport = known.into_iter().find(|known| known.name() == machine.channel);
    let initrd = bundle.files.get(INITRD).context("initrd missing")?;
    Ok(Prebuilt {
        image: bundle.path(KERNEL).context("kernel missing")?,
        kind: kind(kernel),
        arch,
        origin: Printable(kernel.origin.as_bytes()).to_string(),
        initrd: initrd.try_clone().context("failed to share the initrd")?,
        transport: transport.context("unknown guest channel")?,
    })
}

/// Compares the result with the recorded one, and adds this to the report.
fn judge(manifest: &Manifest, booted: &mut Booted, quiet: bool) {
    let qemu_version = manifest.qemu.version.clone();
    let Some(expected) = &manifest.expected else {
        booted.report.recorded = Some(Recorded { same: None, expected: None, qemu_version });
        return;
    };
    let outcome: &Outcome = &booted.outcome;
    let same = outcome.name() == expected.outcome && outcome.exit_code() == expected.exit_code;
    let theirs = expected.describe();
    let theirs = Printable(theirs.as_bytes());
    let told = match (same, outcome.sentence() == expected.message) {
        (true, true) => "as recorded".to_owned(),
        (true, false) => format!("as recorded, with a different message: {theirs}"),
        (false, _) => format!("not as recorded: {theirs}"),
    };
    if !quiet || !same {
        // Writing to a String cannot fail.
        let _ = writeln!(booted.text, "bootling: {told}");
    }
    booted.report.recorded = Some(Recorded { same: Some(same), expected: Some(expected.clone()), qemu_version });
}

//! `bootling run BUNDLE`: repeats a recorded run and compares the result.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cli::output;
use crate::cli::reporter::Reporter;
use crate::cli::run::{Booted, RunArgs, on_terminal};
use bootling::guest::report::Recorded;
use bootling::guest::snapshot::Warm;
use bootling::guest::{Listener, RunSpec, TimeLimit};
use bootling::initrd::explain::Printable;
use bootling::qemu::spec::{Accel, BootSpec, FirmwareRef};
use bootling::regress::bundle::{BundleError, MachineInfo, Manifest, SCRIPT, read};
use bootling::root::spec::{InitrdSpec, RunWhat};

/// An opened bundle.
pub(crate) struct Found {
    path: PathBuf,
    file: File,
}

/// Opens the bundle if the command is a single argument that names a bundle.
pub(crate) fn find(args: &RunArgs) -> anyhow::Result<Option<Found>> {
    let ([name], RunWhat::Command(_)) = (args.command(), args.wanted()) else { return Ok(None) };
    let path = PathBuf::from(name);
    Ok(super::open(&path)?.map(|file| Found { path, file }))
}

impl Found {
    /// Verifies the bundle, repeats the run and compares the result.
    pub(crate) fn repeat(mut self, args: &RunArgs, start: Instant, reporter: &mut Reporter) -> anyhow::Result<Booted> {
        let reading = || format!("failed to read bundle {}", self.path.display());
        refuse(args)?;
        let bundle = read(&mut self.file).with_context(reading)?;
        let Manifest { machine, health, qemu, .. } = &bundle.manifest;
        let spec = RunSpec {
            boot: boot_spec(args, machine, reporter).with_context(reading)?,
            health: args.health.on_top_of(health.clone(), &args.typed),
            initrd: InitrdSpec { run: RunWhat::Command(vec!["it".into()]), ..InitrdSpec::default() },
            ..RunSpec::default()
        };
        let prepared = bundle.prebuilt().with_context(reading)?.prepare(&spec, reporter).map_err(|error| {
            let error = output::advised(error);
            let typed = args.boot.machine.spec(FirmwareRef::Direct).accel;
            if (spec.boot.accel, typed) == (Accel::Kvm, Accel::Auto) {
                output::advise(error, "recorded with KVM; use --accel tcg to repeat it without KVM")
            } else {
                error
            }
        })?;
        if let Some(warning) = bundle.script_warning().with_context(reading)? {
            reporter.note(&format!("{SCRIPT} is {warning}"));
        }
        let version = &prepared.machine.qemu.facts.version;
        if *version != qemu.version {
            let recorded = Printable(qemu.version.as_bytes());
            reporter.note(&format!("QEMU version {version}, recorded with {recorded}"));
        }
        let mut args = args.clone();
        let limit = machine.timeout_ms.map(Duration::from_millis);
        args.boot.machine.timeout.get_or_insert(limit.map_or(TimeLimit::None, TimeLimit::After));
        reporter.announces = spec.boot.tty && on_terminal();
        let result = prepared.run(args.options()?, reporter).map_err(output::advised)?;
        let mut booted = Booted::new(&args, spec.boot.fast_boot, result, start);
        compare(&bundle.manifest, &mut booted, args.quiet);
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
        ("--user", args.user.is_some()),
        ("--hostname", args.hostname.is_some()),
        ("--collect", !args.collect.is_empty()),
        ("--tty", args.tty),
        ("--arch", args.boot.arch.is_some()),
        ("--disk", !args.boot.disk.is_empty()),
        ("--net", args.boot.net.is_some()),
        ("--publish", !args.boot.publish.is_empty()),
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
fn boot_spec(args: &RunArgs, machine: &MachineInfo, reporter: &mut Reporter) -> anyhow::Result<BootSpec> {
    let spec = machine.boot_spec_with(args.boot.spec(machine.tty), args.trust).map_err(|error| match error {
        BundleError::Permission(_) => output::advise(error, "use --trust if you trust the origin of the bundle"),
        error => error.into(),
    })?;
    let firmware = args.boot.firmware.as_ref().filter(|_| args.typed.has("firmware"));
    if firmware.is_some_and(|typed| *typed != spec.firmware) {
        let recorded = if machine.bios { "bios" } else { "none" };
        bail!("invalid --firmware: the bundle was recorded with {recorded}; omit the option");
    }
    let privileged = machine.privileged_arguments().join(" ");
    if !privileged.is_empty() {
        reporter.note(&format!("passing recorded arguments to QEMU: {}", Printable(privileged.as_bytes())));
    }
    Ok(spec)
}

/// Compares the result with the recorded one, and adds this to the report.
fn compare(manifest: &Manifest, booted: &mut Booted, quiet: bool) {
    let expected = manifest.expected.clone();
    let same = expected.as_ref().map(|expected| expected.is_same(&booted.outcome));
    if let (Some(same), Some(expected)) = (same, &expected) {
        let recorded = expected.describe();
        let recorded = Printable(recorded.as_bytes());
        let text = match (same, booted.outcome.sentence() == expected.message) {
            (true, true) => "as recorded".to_owned(),
            (true, false) => format!("as recorded, with a different message: {recorded}"),
            (false, _) => format!("not as recorded: {recorded}"),
        };
        if !quiet || !same {
            booted.text.extend(["bootling: ", &text, "\n"]);
        }
    }
    booted.report.recorded = Some(Recorded { same, expected, qemu_version: manifest.qemu.version.clone() });
}

//! `bootling run BUNDLE`: what somebody else ran, again, and whether the same came of it.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{kind, script};
use crate::cli::boot_options::LimitArg;
use crate::cli::output;
use crate::cli::report::Recorded;
use crate::cli::run::{Booted, Ready, RunArgs};
use crate::cli::teller::Teller;
use bootling::arch::Arch;
use bootling::guest::again::{Again, again};
use bootling::guest::snapshot::Warm;
use bootling::guest::verdict::Outcome;
use bootling::guest::{Listener, RunSpec};
use bootling::initrd::explain::Printable;
use bootling::qemu::machine::Transport;
use bootling::regress::bundle::{Bundle, INITRD, KERNEL, MachineNote, Manifest, SCRIPT, is_bundle, read, vetted};
use bootling::{
    initrd::spec::{InitrdSpec, RunWhat},
    qemu::spec::{Accel, BootSpec, FirmwareRef},
};

/// A bundle that is to be run.
pub struct Found {
    path: PathBuf,
    file: File,
}

/// The bundle that the command is, if it is one: a single word that names a file which begins like one.
pub fn find(args: &RunArgs) -> anyhow::Result<Option<Found>> {
    let ([name], RunWhat::Command(_)) = (args.command(), args.wanted()) else { return Ok(None) };
    let path = Path::new(name);
    // Programs are looked for by others, who say what is wrong with them.
    if !path.is_file() {
        return Ok(None);
    }
    let Ok(mut file) = File::open(path) else { return Ok(None) };
    let found = is_bundle(&mut file).with_context(|| format!("reading {}", path.display()))?;
    Ok(found.then(|| Found { path: path.to_owned(), file }))
}

impl Found {
    /// Checks it, runs it, and compares.
    pub fn repeat(mut self, args: &RunArgs, start: Instant, teller: &mut Teller) -> anyhow::Result<Booted> {
        let reading = || format!("reading bundle {}", self.path.display());
        refuse(args)?;
        let bundle = read(&mut self.file).with_context(reading)?;
        let manifest = &bundle.manifest;
        let spec = RunSpec {
            boot: machine(args, &manifest.machine, teller).with_context(reading)?,
            health: args.health.on_top_of(manifest.health.clone(), &args.typed),
            initrd: InitrdSpec { run: RunWhat::Command(vec!["it".into()]), ..InitrdSpec::default() },
            ..RunSpec::default()
        };
        let prepared = again(what(&bundle).with_context(reading)?, &spec, teller).map_err(|error| {
            let error = output::advised(error);
            let was_kvm =
                spec.boot.accel == Accel::Kvm && args.boot.machine.spec(FirmwareRef::Direct).accel == Accel::Auto;
            if was_kvm { output::advise(error, "it was made with KVM; --accel tcg repeats it without") } else { error }
        })?;
        if let Some(warning) = script::warning(&bundle).with_context(reading)? {
            teller.note(&format!("its {SCRIPT} is {warning}"));
        }
        let version = prepared.machine.qemu.facts.version.clone();
        if version != manifest.qemu.version {
            let theirs = Printable(manifest.qemu.version.as_bytes());
            teller.note(&format!("QEMU is {version} here, and was {theirs} where the bundle was made"));
        }
        let mut args = args.clone();
        let limit = manifest.machine.timeout_ms.map(Duration::from_millis);
        args.boot.machine.timeout.get_or_insert(LimitArg(limit));
        let mut booted = Ready::of(&args, start, spec, prepared).boot(teller)?;
        judge(manifest, &mut booted, args.quiet);
        Ok(booted)
    }
}

/// What a bundle settles by itself.
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
        // A bundle boots, as it was recorded.
        ("--warm", args.typed.has("warm") && args.warm() != Warm::No),
        ("--firmware-vars", args.boot.machine.firmware_vars.is_some()),
    ];
    if let Some((option, _)) = typed.iter().find(|(_, typed)| *typed) {
        bail!("repeating a bundle with {option}: what it runs is in it");
    }
    ensure!(!args.print_command, "printing a bundle's command line: it is in its run.sh (bootling cat BUNDLE run.sh)");
    Ok(())
}

/// The recorded machine, and what was typed on top of it.
fn machine(args: &RunArgs, note: &MachineNote, teller: &mut Teller) -> anyhow::Result<BootSpec> {
    let recorded = vetted(note, args.trust).map_err(|error| {
        let may = vetted(note, true).is_ok();
        if may { output::advise(error, "if you trust whoever made the bundle: --trust") } else { error.into() }
    })?;
    let firmware = args.boot.firmware.as_ref().filter(|_| args.typed.has("firmware"));
    if firmware.is_some_and(|typed| *typed != recorded.firmware) {
        let word = if note.bios { "bios" } else { "none" };
        bail!("starting it with --firmware: what is in it was made to be started with {word}; leave that out");
    }
    let leave = bootling::regress::bundle::needs_leave(note);
    if !leave.is_empty() {
        let words = leave.join(" ");
        teller.note(&format!("giving QEMU what the bundle wants it to have: {}", Printable(words.as_bytes())));
    }
    let typed = args.boot.spec(note.tty);
    let accel = if typed.accel == Accel::Auto { recorded.accel } else { typed.accel };
    // `host` is for KVM alone; what is left out becomes what fits.
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

/// What is to boot.
fn what(bundle: &Bundle) -> anyhow::Result<Again> {
    let Manifest { arch, kernel, machine, .. } = &bundle.manifest;
    let arch =
        Arch::ALL.into_iter().find(|known| known.name() == arch).context("its architecture is not known here")?;
    let known = [Transport::VirtioPci, Transport::VirtioMmio, Transport::Com2];
    let transport = known.into_iter().find(|known| known.name() == machine.channel);
    let initrd = bundle.files.get(INITRD).context("it has no initrd")?;
    Ok(Again {
        image: bundle.path(KERNEL).context("it has no kernel")?,
        kind: kind(kernel),
        arch,
        origin: Printable(kernel.origin.as_bytes()).to_string(),
        initrd: initrd.try_clone().context("sharing its initrd")?,
        transport: transport.context("the way its guest talks is not known here")?,
    })
}

/// Adds to what is told whether it is as recorded.
fn judge(manifest: &Manifest, booted: &mut Booted, quiet: bool) {
    let qemu_version = manifest.qemu.version.clone();
    let Some(expected) = &manifest.expected else {
        booted.report.recorded = Some(Recorded { same: None, expected: None, qemu_version });
        return;
    };
    let outcome: &Outcome = &booted.outcome;
    let same = outcome.name() == expected.outcome && outcome.exit_code() == expected.exit_code;
    let theirs = expected.told();
    let theirs = Printable(theirs.as_bytes());
    let told = match (same, outcome.sentence() == expected.message) {
        (true, true) => "as recorded".to_owned(),
        (true, false) => format!("as recorded, in other words: {theirs}"),
        (false, _) => format!("not as recorded: {theirs}"),
    };
    if !quiet || !same {
        // Writing to a String cannot fail.
        let _ = writeln!(booted.told, "bootling: {told}");
    }
    booted.report.recorded = Some(Recorded { same: Some(same), expected: Some(expected.clone()), qemu_version });
}

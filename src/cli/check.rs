//! `bootling check`: one file against the table of rules.

mod print;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use regex::bytes::Regex;

use super::boot_options::MachineArgs;
use super::opened::{Opened, open};
use super::output;
use super::proof::{Claims, Ending, Message, Proven, prove};
use bootling::disk::check::{Report, Severity, disk, initrd, program, rules};
use bootling::format::bootsector::{Found, decode_message, recognise};
use bootling::format::mbr::BOOT_CODE;
use bootling::format::{Guid, Medium, SectorSize, gpt};
use bootling::qemu::spec::FirmwareRef;

/// Exit code where a rule is broken that counts.
const BROKEN: u8 = 1;

/// What `--timeout` limits here.
const TIMEOUT: &str =
    "With --boot: longest time of each boot, such as 90, 90s, 5m, or `none` (also 0). Default: 1m by BIOS, 5m by UEFI";

/// Check a disk image, UKI or initrd against the rules of firmware and tools
///
/// Disk images are raw files, block devices, qcow2 and fixed VHD; they are only read. Each finding names its rule, where
/// it is, who breaks by it and what helps.
#[derive(Debug, Args)]
#[command(mut_arg("timeout", |timeout| timeout.help(TIMEOUT)))]
#[command(after_help = "Examples:
  bootling check disk.qcow2
  bootling check --strict --ignore size-mib disk.raw
  bootling check --json uki.efi | jq -r '.findings[] | select(.severity == \"error\") | .rule'
  bootling check --rules
  bootling check --boot disk.img            proof: the message on three consoles, and UEFI

Exit status: 0 without errors, 1 with errors (with --strict: or warnings) or where --boot
proved otherwise, 2 for wrong usage, 125 where FILE could not be checked, 128+n where
signal n ended --boot.
")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct CheckArgs {
    /// The file.
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// Print JSON with all findings.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print errors and warnings only, and nothing where there are none.
    #[arg(short, long)]
    quiet: bool,
    /// Open the files that an overlay names below it, too.
    #[arg(long)]
    allow_backing: bool,
    /// Let warnings count like errors.
    #[arg(long)]
    strict: bool,
    /// Leave out a rule; may be given several times.
    #[arg(long, value_name = "RULE", value_parser = known_rule)]
    ignore: Vec<String>,
    /// Print all rules, with who breaks by them and where they come from.
    #[arg(long, conflicts_with_all = ["file", "strict", "ignore", "boot"])]
    rules: bool,
    /// Boot it, too: by BIOS with three consoles, and by UEFI.
    #[arg(long, conflicts_with = "rules")]
    boot: bool,
    /// With --boot: the boot by UEFI ends well as soon as a line of the console matches. Default: the command inside ends
    /// with status 0; or the firmware starts the system, where that is not bootling's.
    #[arg(long, value_name = "REGEX", requires = "boot", value_parser = super::boot::regex)]
    expect: Option<Regex>,
    #[command(flatten)]
    machine: MachineArgs,
}

/// An id, if there is a rule of it.
fn known_rule(id: &str) -> Result<String, String> {
    match rules::by_id(id) {
        Some(rule) => Ok(rule.id.to_owned()),
        None => Err("there is no such rule; --rules prints them".to_owned()),
    }
}

/// Runs the verb.
pub fn run(args: &CheckArgs) -> anyhow::Result<u8> {
    let mut out = output::stdout();
    let Some(file) = args.file.as_deref().filter(|_| !args.rules) else {
        let printed = if args.json { print::rules_json(&mut out) } else { print::rules(&mut out) };
        printed.and_then(|()| out.flush()).context("printing the rules")?;
        return Ok(0);
    };
    let mut report = report(file, args.allow_backing)?;
    report.ignore(&args.ignore);
    let name = file.display().to_string();
    if !args.json {
        // Booting takes its time: what is known by now is told before.
        print::text(&name, &report, args.quiet, &mut out)
            .and_then(|()| out.flush())
            .context("printing what was found")?;
    }
    let proofs = match args.boot.then(|| boot(file, args)).transpose()? {
        None => None,
        Some(Proven::All(proofs)) => Some(proofs),
        Some(Proven::Interrupted(outcome)) => {
            output::fail(&anyhow!(outcome.sentence().unwrap_or_default()).context(format!("booting {name}")));
            return Ok(outcome.exit_code());
        }
    };
    let printed = match (args.json, &proofs) {
        (true, proofs) => print::json(&name, &report, proofs.as_deref(), &mut out),
        (false, Some(proofs)) => print::proofs(proofs, args.quiet, &mut out),
        (false, None) => Ok(()),
    };
    printed.and_then(|()| out.flush()).context("printing what was proven")?;
    let proven = proofs.iter().flatten().all(|proof| proof.holds);
    let warned = args.strict && report.count(Severity::Warning) > 0;
    Ok(if !proven || warned || report.count(Severity::Error) > 0 { BROKEN } else { 0 })
}

/// Boots a disk in every way.
fn boot(file: &Path, args: &CheckArgs) -> anyhow::Result<Proven> {
    let name = file.display();
    let Opened::Disk(image) = open(file, args.allow_backing).with_context(|| format!("booting {name}"))? else {
        bail!("booting {name}: it is not a disk image");
    };
    let mut code = [0; BOOT_CODE];
    image.read_at(&mut code, 0).with_context(|| format!("reading {name}"))?;
    let sector =
        image.sector().or_else(|| gpt::probe(&image).first().map(|table| table.sector)).unwrap_or(SectorSize::S512);
    // SeaBIOS starts nothing from sectors of another size: there is nobody to be told.
    let told = sector == SectorSize::S512;
    let for_uefi = gpt::probe(&image).iter().flat_map(|gpt| &gpt.partitions).any(|part| part.kind == Guid::ESP);
    let claims = Claims {
        image: file,
        sector,
        message: match decode_message(&code).filter(|_| told) {
            Some(message) => Message::Said(message),
            None if told && for_uefi => match recognise(&code) {
                // It starts by BIOS, too: there is nothing that it should have said.
                Found::Loader(_) => Message::NotNeeded,
                found @ (Found::Nothing | Found::Ours | Found::Byebyebios | Found::Unknown) => Message::Missing(found),
            },
            None => Message::NotNeeded,
        },
        ending: match &args.expect {
            Some(line) => Ending::Line(line.clone()),
            None => Ending::of(&image),
        },
        spec: args.machine.spec(FirmwareRef::Bios),
        timeout: args.machine.timeout,
    };
    // QEMU opens it next, and nobody else is to hold a lock of it.
    drop(image);
    if matches!(claims.message, Message::NotNeeded) {
        output::note("it has no message of bootling's that a BIOS would show; only the boot by UEFI is tried");
    }
    prove(&claims)
}

/// Checks a file as what it is.
fn report(file: &Path, backing: bool) -> anyhow::Result<Report> {
    let name = file.display().to_string();
    let opened = open(file, backing).with_context(|| format!("checking {name}"))?;
    Ok(match opened {
        Opened::Disk(image) => disk(&image, image.sector()),
        Opened::Program(image) => program(&image, &name),
        Opened::Initrd(input) => initrd(input, &name).map_err(|error| {
            let advice = "a compressed disk image has to be unpacked before it can be checked";
            output::advise(anyhow::Error::new(error).context(format!("checking {name}")), advice)
        })?,
    })
}

//! `bootling check`: checks one file against the rule table.

mod print;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use regex::bytes::Regex;

use super::boot_options::MachineArgs;
use super::output;
use super::proof::{Claims, Ending, Message, Proven, first_words, prove};
use bootling::disk::check::{Severity, check_file, rules};
use bootling::disk::opened::{Opened, open};
use bootling::format::bootsector::{Found, decode_message, recognize};
use bootling::format::mbr::Mbr;
use bootling::format::{Guid, Medium, SectorSize, gpt, iso9660};
use bootling::qemu::spec::FirmwareRef;

/// Exit code if a rule of sufficient severity is violated.
const BROKEN: u8 = 1;

/// Help text of `--timeout` in this verb.
const TIMEOUT: &str =
    "With --boot: time limit for each boot, such as 90, 90s, 5m or `none` (also 0). Default: 1m for BIOS, 5m for UEFI";

/// Check a disk image, UKI or initrd against the requirements of firmware and tools
///
/// Disk images may be raw files, block devices, qcow2 or fixed VHD; they are opened read-only. Each finding contains
/// its rule, its location, the affected software and a fix.
#[derive(Debug, Args)]
#[command(mut_arg("timeout", |timeout| timeout.help(TIMEOUT)))]
#[command(after_help = "Examples:
  bootling check disk.qcow2
  bootling check --strict --ignore size-mib disk.raw
  bootling check --json uki.efi | jq -r '.findings[] | select(.severity == \"error\") | .rule'
  bootling check --rules
  bootling check --boot disk.img            also boot it: BIOS with three consoles, and UEFI
  bootling check --boot debian.iso          also boot it, as a CD and as a USB disk

Exit status: 0 without errors; 1 with errors (with --strict: or warnings), or if a boot test
failed; 2 for usage errors; 125 if FILE could not be checked; 128+n if signal n ended
--boot.
")]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct CheckArgs {
    /// File to check.
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// Print all findings as JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print only errors and warnings.
    #[arg(short, long)]
    quiet: bool,
    /// Also open the backing files of an overlay.
    #[arg(long)]
    allow_backing: bool,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
    /// Ignore a rule. May be repeated.
    #[arg(long, value_name = "RULE", value_parser = known_rule)]
    ignore: Vec<String>,
    /// Print all rules, with the affected software and the sources.
    #[arg(long, conflicts_with_all = ["file", "strict", "ignore", "boot"])]
    rules: bool,
    /// Also boot the image: through BIOS with three console configurations, and through UEFI.
    #[arg(long, conflicts_with = "rules")]
    boot: bool,
    /// With --boot: the UEFI boot succeeds when a line of the console matches. Default: bootling's command in the image
    /// exits with status 0; for other images, the firmware starts the boot loader.
    #[arg(long, value_name = "REGEX", requires = "boot", value_parser = super::boot::regex)]
    expect: Option<Regex>,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Returns the id of an existing rule.
fn known_rule(id: &str) -> Result<String, String> {
    match rules::by_id(id) {
        Some(rule) => Ok(rule.id.to_owned()),
        None => Err("no such rule; --rules lists all rules".to_owned()),
    }
}

/// Runs the verb.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<u8> {
    let mut out = output::stdout();
    let Some(file) = args.file.as_deref().filter(|_| !args.rules) else {
        let printed = if args.json { print::rules_json(&mut out) } else { print::rules(&mut out) };
        printed.and_then(|()| out.flush()).context("failed to write to standard output")?;
        return Ok(0);
    };
    let mut report = check_file(file, args.allow_backing, &mut output::note).map_err(output::advised)?;
    let is_disk = report.count(Severity::Error) == 0;
    report.ignore(&args.ignore);
    let name = file.display().to_string();
    if !args.json {
        // Print the findings before the boot tests, which take time.
        print::text(&name, &report, args.quiet, &mut out)
            .and_then(|()| out.flush())
            .context("failed to write to standard output")?;
    }
    let proofs = match args.boot.then(|| boot(file, is_disk, args)).transpose()? {
        None => None,
        Some(Proven::All(proofs)) => Some(proofs),
        Some(Proven::Interrupted(outcome)) => {
            output::fail(&anyhow!(outcome.sentence().unwrap_or_default()).context(format!("failed to boot {name}")));
            return Ok(outcome.exit_code());
        }
    };
    let printed = match (args.json, &proofs) {
        (true, proofs) => print::json(&name, &report, proofs.as_deref(), &mut out),
        (false, Some(proofs)) => print::proofs(proofs, args.quiet, &mut out),
        (false, None) => Ok(()),
    };
    printed.and_then(|()| out.flush()).context("failed to write to standard output")?;
    let proven = proofs.iter().flatten().all(|proof| proof.holds);
    let warned = args.strict && report.count(Severity::Warning) > 0;
    Ok(if !proven || warned || report.count(Severity::Error) > 0 { BROKEN } else { 0 })
}

/// Boots a disk in all configurations; a CD also as a disk if it `is_disk`, without errors.
fn boot(file: &Path, is_disk: bool, args: &CheckArgs) -> anyhow::Result<Proven> {
    let name = file.display();
    let opened = open(file, args.allow_backing, &mut output::note).map_err(output::advised);
    let Opened::Disk(image) = opened.with_context(|| format!("failed to boot {name}"))? else {
        bail!("failed to boot {name}: not a disk image");
    };
    let mut first = [0; 512];
    image.read_at(&mut first, 0).with_context(|| format!("failed to read {name}"))?;
    let mbr = Mbr::decode(&first);
    let sector =
        image.sector().or_else(|| gpt::probe(&image).first().map(|table| table.sector)).unwrap_or(SectorSize::S512);
    // SeaBIOS only boots disks with sectors of 512 bytes, so no other disk needs a message.
    let boots_by_bios = sector == SectorSize::S512;
    let for_uefi = gpt::probe(&image).iter().flat_map(|gpt| &gpt.partitions).any(|part| part.type_guid == Guid::ESP);
    let is_hybrid = is_disk && iso9660::is_iso(&image);
    // An image for both sector sizes must boot with both.
    let both = image.sector().is_none() && gpt::probe(&image).len() > 1;
    let claims = Claims {
        image: file,
        sector,
        other_sector: both.then_some(SectorSize::S4096),
        is_hybrid,
        message: match decode_message(&mbr.boot_area()).filter(|_| boots_by_bios) {
            Some(message) => Message::Said(message),
            None if boots_by_bios && (for_uefi || is_hybrid) => match recognize(&mbr.boot_code) {
                // A BIOS boot loader is installed, so no message is required.
                Found::Loader(name) => Message::Loader(name),
                // Users of a legacy BIOS find out from the CD.
                Found::Nothing | Found::Bootling | Found::Byebyebios | Found::Unknown if is_hybrid => {
                    Message::NotNeeded
                }
                found @ (Found::Nothing | Found::Bootling | Found::Byebyebios | Found::Unknown) => {
                    Message::Missing(found)
                }
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
    // Close the image, since QEMU opens it next and takes a lock.
    drop(image);
    if matches!(claims.message, Message::NotNeeded) {
        output::note("no boot sector message of bootling found; testing only the UEFI boot");
    }
    if let Message::Loader(name) = claims.message
        && first_words(name).is_none()
    {
        output::note(&format!("the BIOS boot of {name} cannot be judged; testing only the UEFI boot"));
    }
    prove(&claims)
}

//! `bootling boot`: any disk image or ISO, by UEFI or BIOS, judged by its console and its screen.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use regex::bytes::Regex;

use super::boot_disk::{self, Disk, Naming, Seen, Unpacking};
use super::boot_options::MachineArgs;
use super::boot_report::{BootReport, for_people_of_disks};
use super::hang_options::{self, HangArgs};
use super::health::{self, HealthArgs};
use super::json::Json;
use super::output;
use super::report::NotBooted;
use bootling::format::SectorSize;
use bootling::guest::VmError;
use bootling::guest::evidence::Evidence;
use bootling::guest::expect::Expectations;
use bootling::guest::hang::Inquest;
use bootling::guest::health::Finding;
use bootling::guest::launch::Guest;
use bootling::guest::screen::Wanted;
use bootling::guest::session::{ConsoleSink, Foreground, Opening, Settings, ShownOn, Watch, converse};
use bootling::guest::transcript::Transcript;
use bootling::guest::verdict::{Outcome, code, judge_with};
use bootling::output::file::Output;
use bootling::process::signals::Signals;
use bootling::qemu::argv::{Ends, Payload, Wires, argv, shell_line};
use bootling::qemu::drive::Bus;
use bootling::qemu::machine::{Display, Machine};
use bootling::qemu::spec::FirmwareRef;

/// Boot any disk image or ISO by UEFI or BIOS, and judge its console
///
/// The image is never written to: what the guest writes is forgotten. Its serial console is on standard output, and on
/// the terminal's keyboard.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "they are switches of a command line")]
pub struct BootDiskArgs {
    /// The disk image (raw, qcow2, VMDK, VHD, VHDX, VDI; also packed with gzip, xz or zstd), ISO, or block device.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Boot it by UEFI, as is done where nothing else is said.
    #[arg(long, conflicts_with_all = ["bios", "firmware"])]
    uefi: bool,
    /// Boot it by legacy BIOS: SeaBIOS.
    #[arg(long, conflicts_with = "firmware")]
    bios: bool,
    /// Boot it by this firmware: `uefi`, `uefi-secure` (Secure Boot enforced), `bios`, or a file.
    #[arg(long, value_name = "WHICH", value_parser = FirmwareRef::read)]
    firmware: Option<FirmwareRef>,
    /// How the guest sees it. Default: `cd` for an ISO, else `virtio`.
    #[arg(long, value_enum, value_name = "BUS", help_heading = "Machine")]
    disk: Option<BusArg>,
    /// Bytes of its logical sectors: 512 or 4096.
    #[arg(long, value_name = "BYTES", value_parser = sector_size, default_value = "512", help_heading = "Machine")]
    sector_size: SectorSize,
    /// The screen: `mirror` (a VGA adapter, and SeaBIOS repeats on the serial console what it shows), `std` (a VGA
    /// adapter), `none`.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = VgaArg::Mirror, help_heading = "Machine")]
    vga: VgaArg,
    /// Let the image name further files, such as the backing file of an overlay; QEMU opens them with your rights.
    #[arg(long, help_heading = "Machine")]
    allow_backing: bool,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    hangs: HangArgs,
    #[command(flatten)]
    health: HealthArgs,
    /// How often the guest may restart its machine, as some systems do on their first boot.
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Limits")]
    restarts: u32,
    /// End well as soon as a line of the console matches this regular expression. Several are met one after the other.
    #[arg(long, value_name = "REGEX", value_parser = regex, help_heading = "Verdict")]
    expect: Vec<Regex>,
    /// The same for the text on the screen, which is looked at twice a second.
    #[arg(long, value_name = "REGEX", value_parser = regex, help_heading = "Verdict")]
    expect_screen: Vec<Regex>,
    /// Fail as soon as a line of the console matches. May be repeated.
    #[arg(long, value_name = "REGEX", value_parser = regex, help_heading = "Verdict")]
    reject: Vec<Regex>,
    /// Write the console to FILE too.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    log: Option<PathBuf>,
    /// Write a picture of the screen to FILE, a PNG, once the verdict is in.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    screenshot: Option<PathBuf>,
    /// Print the text on the screen once the verdict is in.
    #[arg(long, help_heading = "Output")]
    screen_text: bool,
    /// Write the whole verdict as JSON to FILE, or to standard output with `-`: the console is then on standard error.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Print the QEMU command line, ready to paste, and do not boot.
    #[arg(long, help_heading = "Output")]
    print_command: bool,
    /// Do not show the console; say only why there is no verdict.
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

/// `--disk`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BusArg {
    /// virtio-blk
    Virtio,
    /// A disk on the machine's IDE or AHCI controller
    Ide,
    /// A disk on virtio-scsi
    Scsi,
    /// NVMe
    Nvme,
    /// A USB stick
    Usb,
    /// A DVD
    Cd,
}

/// `--vga`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VgaArg {
    /// A VGA adapter, mirrored by SeaBIOS on the serial console
    Mirror,
    /// A VGA adapter
    Std,
    /// None
    None,
}

/// What `-h` ends with, and `--help` goes on from.
macro_rules! examples {
    () => {
        "Examples:
  bootling boot disk.qcow2                              by UEFI, its console on the terminal; Ctrl-a x ends it
  bootling boot --expect 'login: $' --timeout 2m disk.raw.zst
  bootling boot --bios --expect-screen 'UEFI' --screenshot bios.png disk.raw
  bootling boot --expect 'Install' --reject 'panic|BUG:' installer.iso
  bootling boot --sector-size 4096 --disk nvme disk.raw
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
Exit status:
  0    what was expected came; where nothing was expected: the guest powered itself off
  1    what --reject names came
  118 QEMU died            119 the processor reset, nobody asked    120 kernel panic
  121 all went well, but a kernel's log on the console says that it is not (--health fail)
  122 gone before all that was expected had come                    124 timed out
  125 could not test (bad image, no QEMU, no firmware)

Health is what a kernel says of itself on the console: reports of several lines, and single lines that begin
with its clock. Taints and processes left behind are told by pid 1, for `bootling run` only.
"
);

/// Firmware and boot loaders warn on the same console: a line of a kernel's has its clock, unless it is set to keep that to itself
/// (`printk.time=0`); then what has several lines is a report of its.
fn is_a_kernels(finding: &Finding) -> bool {
    finding.at.is_some() || finding.lines.len() > 1
}

/// Runs the verb.
pub fn run(args: &BootDiskArgs) -> anyhow::Result<u8> {
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let done = boot(args);
    let (exit_code, written) = match done {
        Ok((exit_code, None)) => return Ok(exit_code),
        Ok((exit_code, Some(report))) => (exit_code, json.map_or(Ok(()), |json| json.write(&report))),
        Err(error) => {
            let exit_code = code::COULD_NOT_TEST;
            let report = NotBooted { outcome: "could-not-test", exit_code, message: output::one_line(&error) };
            let written = json.map_or(Ok(()), |json| json.write(&report));
            output::fail(&error);
            (exit_code, written)
        }
    };
    if let Err(error) = written {
        output::fail(&error);
        return Ok(if exit_code == 0 { code::COULD_NOT_TEST } else { exit_code });
    }
    Ok(exit_code)
}

/// The exit code, and the verdict where there was a boot.
fn boot(args: &BootDiskArgs) -> anyhow::Result<(u8, Option<BootReport>)> {
    let display = args.display()?;
    // Outputs that cannot be written are better known before the boot than after it.
    let screenshot = args.screenshot.as_deref().map(Output::create).transpose()?;
    let log = args.log.as_deref().map(create_log).transpose()?;
    let bus = args.disk.map(BusArg::bus);
    let naming = if args.allow_backing { Naming::Allowed } else { Naming::Refused };
    let unpacking = match (args.print_command, args.quiet) {
        (true, _) => Unpacking::Refused,
        (false, true) => Unpacking::Silent,
        (false, false) => Unpacking::Told,
    };
    let disk = Disk::open(&args.image, Seen { bus, sector: args.sector_size, naming, unpacking })?;
    let machine = boot_disk::machine(&args.machine.spec(args.firmware()), display, args.quiet)?;
    if args.print_command {
        return print_command(&machine, &disk).map(|()| (0, None));
    }
    let interactive = args.expect.is_empty()
        && args.expect_screen.is_empty()
        && std::io::stdin().is_terminal()
        && std::io::stdout().is_terminal();
    if !args.quiet {
        output::note(&told(args, &machine, &disk, interactive));
    }
    let rules = args.health.spec().rules().map_err(VmError::from).map_err(output::advised)?;
    let evidence = args.hangs.evidence()?;
    let keep = evidence.as_ref().map(Evidence::keep).transpose()?;
    let settings = Settings { keep, ..args.settings(&machine, log, interactive) };
    let mut signals = Signals::catch().context("catching signals")?;
    let mut guest = Guest::start(&machine, &disk.payload()?).context("starting QEMU")?;
    let command = guest.command.clone();
    let mut transcript = converse(&mut guest, settings, &mut signals).context("talking with the guest")?;
    transcript.health.retain(is_a_kernels);
    let outcome = judge_with(&mut transcript, &rules);
    output::to_stderr(&for_people_of_disks(&outcome, &transcript, !args.quiet));
    if !args.quiet || matches!(outcome, Outcome::Unhealthy { .. }) {
        output::to_stderr(&health::for_people(&outcome, &transcript.health, false));
    }
    let report = BootReport::new(&outcome, &transcript, &machine, (&args.image, disk.drive), &command);
    output::to_stderr(&hang_options::store(evidence, outcome.exit_code(), &transcript, &command));
    let shown = args.show_screen(&transcript, screenshot);
    let exit_code = outcome.exit_code();
    match shown {
        Ok(()) => Ok((exit_code, Some(report))),
        // What is known of the guest still counts for more, unless it would look like success.
        Err(error) if exit_code == 0 => Err(error),
        Err(error) => {
            output::fail(&error);
            Ok((exit_code, Some(report)))
        }
    }
}

impl BootDiskArgs {
    fn firmware(&self) -> FirmwareRef {
        match &self.firmware {
            Some(FirmwareRef::Direct) | None if !self.bios => FirmwareRef::Uefi { secure: false },
            Some(FirmwareRef::Direct) | None => FirmwareRef::Bios,
            Some(firmware) => firmware.clone(),
        }
    }

    /// Whether standard output is the verdict's alone.
    fn json_on_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path.as_os_str() == "-")
    }

    fn display(&self) -> anyhow::Result<Display> {
        ensure!(self.firmware != Some(FirmwareRef::Direct), "using --firmware none: a disk is started by firmware");
        let wants_screen = self.screen_text || self.screenshot.is_some() || !self.expect_screen.is_empty();
        Ok(match self.vga {
            VgaArg::Mirror => Display::Mirrored,
            VgaArg::Std => Display::Vga,
            VgaArg::None if wants_screen => bail!("looking at the screen: with --vga none there is none"),
            VgaArg::None => Display::None,
        })
    }

    fn settings(&self, machine: &Machine, log: Option<File>, interactive: bool) -> Settings {
        let expectations = Expectations::new(self.expect.clone(), self.expect_screen.clone(), self.reject.clone());
        let has_screen = self.vga != VgaArg::None;
        let picture = self.screenshot.is_some() || (has_screen && self.hangs.keeps());
        let last_look = Wanted { text: self.screen_text, picture };
        Settings {
            timeout: self.machine.limit(machine, interactive),
            boot_timeout: None,
            foreground: match self.quiet {
                true => Foreground::Nobody,
                // Keys that were not meant for it would stop a boot loader.
                false if std::io::stdin().is_terminal() => Foreground::Console,
                false => Foreground::Viewer,
            },
            shown_on: if self.json_on_stdout() { ShownOn::Stderr } else { ShownOn::Stdout },
            console: log.map_or(ConsoleSink::Nowhere, ConsoleSink::File),
            show_qemu: !self.machine.qemu_arg.is_empty(),
            quiet: self.quiet,
            // Further drives may be the user's.
            flush_disks: !self.machine.qemu_arg.is_empty(),
            watch: Some(Watch { expectations, last_look, restarts: self.restarts, linger: Duration::ZERO }),
            idle_timeout: self.hangs.idle_timeout(),
            inquest: Some(Inquest::default()),
            keep: None,
            opening: Opening::Boot,
        }
    }

    /// Prints the screen's text and writes its picture.
    fn show_screen(&self, transcript: &Transcript, output: Option<Output>) -> anyhow::Result<()> {
        if self.screen_text {
            match &transcript.screen.text {
                Some(rows) => {
                    let last = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
                    let text = rows[..last].join("\n") + if last > 0 { "\n" } else { "" };
                    if self.json_on_stdout() {
                        output::to_stderr(&text);
                    } else {
                        let mut out = output::stdout();
                        out.write_all(text.as_bytes()).context("writing the screen's text")?;
                        out.flush().context("writing the screen's text")?;
                    }
                }
                None => output::note("the screen shows no text: it is in a graphics mode, or QEMU had ended"),
            }
        }
        let Some(mut output) = output else { return Ok(()) };
        match &transcript.screen.picture {
            Some(Ok(picture)) => {
                picture.write_png(&mut output).context("writing the screenshot")?;
                Ok(output.finish()?)
            }
            Some(Err(why)) => bail!("taking a screenshot: {why}"),
            None => bail!("taking a screenshot: QEMU had ended"),
        }
    }
}

impl BusArg {
    const fn bus(self) -> Bus {
        match self {
            Self::Virtio => Bus::Virtio,
            Self::Ide => Bus::Ide,
            Self::Scsi => Bus::Scsi,
            Self::Nvme => Bus::Nvme,
            Self::Usb => Bus::Usb,
            Self::Cd => Bus::Cd,
        }
    }
}

/// One line on what was chosen.
fn told(args: &BootDiskArgs, machine: &Machine, disk: &Disk, interactive: bool) -> String {
    let by = match machine.firmware.path() {
        Some(path) => format!("{} ({})", machine.firmware.name().to_uppercase(), path.display()),
        None => "BIOS".to_owned(),
    };
    let keys = if interactive { "; Ctrl-a x ends it, Ctrl-a h shows the keys" } else { "" };
    let (format, bus) = (disk.drive.format.name(), disk.drive.bus.name());
    format!("booting {} ({format}, as {bus}) by {by}{keys}", args.image.display())
}

fn create_log(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("creating the console's log {}", path.display()))
}

/// The line that boots the same machine by hand.
fn print_command(machine: &Machine, disk: &Disk) -> anyhow::Result<()> {
    let payload = Payload::Disk { image: disk.absolute()?.into_os_string(), drive: disk.drive };
    let wires = Wires { payload, flash: None, ends: Ends::Stdio };
    let mut line = shell_line(&argv(machine, &wires)).into_encoded_bytes();
    line.push(b'\n');
    let mut out = output::stdout();
    out.write_all(&line).and_then(|()| out.flush()).context("writing the command line")
}

/// A regular expression, as typed.
pub fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

fn sector_size(text: &str) -> Result<SectorSize, String> {
    match text {
        "512" => Ok(SectorSize::S512),
        "4096" | "4k" | "4K" => Ok(SectorSize::S4096),
        _ => Err("sectors have 512 or 4096 bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_a_kernels;
    use bootling::guest::health::{Finding, Kind};

    #[test]
    fn a_line_without_a_clock_is_anybodys_and_a_report_is_the_kernels() {
        let finding = |at, lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            Finding { kind: Kind::Warning, title: "WARNING: x".to_owned(), lines, at }
        };
        assert!(is_a_kernels(&finding(Some(1.0), &["WARNING: x"])));
        assert!(is_a_kernels(&finding(None, &["WARNING: x", "Call Trace:", " f+0x1/0x2"])));
        assert!(!is_a_kernels(&finding(None, &["WARNING: x"])));
    }
}

//! `bootling boot`: boots a disk image or ISO through UEFI or BIOS and judges it by its console and screen.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use regex::bytes::Regex;

use super::boot_options::MachineArgs;
use super::hang_options::{HangArgs, format_evidence};
use super::health::{self, HealthArgs};
use super::json::Json;
use super::output;
use super::reporter::Reporter;
use super::result::format_disk_result;
use bootling::format::SectorSize;
use bootling::guest::disk::{Disk, DiskOptions, References, Unpacking, disk_machine};
use bootling::guest::disk_report::BootReport;
use bootling::guest::expect::Expectations;
use bootling::guest::report::NotRun;
use bootling::guest::screen::ScreenRequest;
use bootling::guest::session::{Foreground, ShownOn, Watch};
use bootling::guest::transcript::Transcript;
use bootling::guest::verdict::{Outcome, code};
use bootling::guest::{Limits, RunOptions, RunSpec, Streams, TimeLimit, prepare_disk};
use bootling::output::file::Output;
use bootling::qemu::drive::{Bus, Drive};
use bootling::qemu::machine::{Display, Machine};
use bootling::qemu::spec::{BootSpec, ConsoleTo, FirmwareRef};

/// Boot a disk image or ISO through UEFI or BIOS, and judge it by its console
///
/// The image is never modified: the guest's writes are discarded. The guest's serial console is connected to standard
/// output, and to the keyboard of the terminal.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct BootDiskArgs {
    /// Disk image (raw, qcow2, VMDK, VHD, VHDX, VDI; also compressed with gzip, xz or zstd), ISO, or block device.
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Boot through UEFI (default).
    #[arg(long, conflicts_with_all = ["bios", "firmware"])]
    uefi: bool,
    /// Boot through legacy BIOS (SeaBIOS).
    #[arg(long, conflicts_with = "firmware")]
    bios: bool,
    /// Boot through this firmware: `uefi`, `uefi-secure` (Secure Boot enforced), `bios`, or an image file.
    #[arg(long, value_name = "WHICH", value_parser = FirmwareRef::read)]
    firmware: Option<FirmwareRef>,
    /// How to attach the disk. Default: `cd` for an ISO, else `virtio`.
    #[arg(long, value_enum, value_name = "BUS", help_heading = "Machine")]
    disk: Option<BusArg>,
    /// Logical sector size of the disk: 512 or 4096.
    #[arg(long, value_name = "BYTES", value_parser = sector_size, default_value = "512", help_heading = "Machine")]
    sector_size: SectorSize,
    /// Display: `mirror` (a VGA adapter, which SeaBIOS mirrors to the serial console), `std` (a VGA adapter) or `none`.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = VgaArg::Mirror, help_heading = "Machine")]
    vga: VgaArg,
    /// Allow the image to refer to other files, such as the backing file of an overlay. QEMU opens them as the user.
    #[arg(long, help_heading = "Machine")]
    allow_backing: bool,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    hangs: HangArgs,
    #[command(flatten)]
    health: HealthArgs,
    /// Number of reboots the guest may make, as some systems reboot on their first start.
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Limits")]
    restarts: u32,
    /// Succeed when a line of the console matches this regular expression. May be repeated; matched in the given order.
    #[arg(long, value_name = "REGEX", value_parser = regex, help_heading = "Verdict")]
    expect: Vec<Regex>,
    /// Succeed when the text on the screen matches, checked twice a second. May be repeated.
    #[arg(long, value_name = "REGEX", value_parser = regex, help_heading = "Verdict")]
    expect_screen: Vec<Regex>,
    /// Fail when a line of the console matches. May be repeated.
    #[arg(long, value_name = "REGEX", value_parser = regex, help_heading = "Verdict")]
    reject: Vec<Regex>,
    /// Also write the console to FILE.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    log: Option<PathBuf>,
    /// Write a PNG screenshot to FILE at the end.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    screenshot: Option<PathBuf>,
    /// Print the text on the screen at the end.
    #[arg(long, help_heading = "Output")]
    screen_text: bool,
    /// Write the result as JSON to FILE ('-' for standard output; the console then goes to standard error).
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Print the QEMU command line, quoted for the shell, and exit.
    #[arg(long, help_heading = "Output")]
    print_command: bool,
    /// Do not show the console; print only errors.
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

/// `--disk`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BusArg {
    /// virtio-blk
    Virtio,
    /// Disk on the machine's IDE or AHCI controller
    Ide,
    /// virtio-scsi disk
    Scsi,
    /// NVMe
    Nvme,
    /// USB stick
    Usb,
    /// DVD
    Cd,
}

/// `--vga`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VgaArg {
    /// VGA adapter, mirrored to the serial console by SeaBIOS
    Mirror,
    /// VGA adapter
    Std,
    /// No display
    None,
}

/// Examples, for both `-h` and `--help`.
macro_rules! examples {
    () => {
        "Examples:
  bootling boot disk.qcow2                              UEFI, console on the terminal; Ctrl-a x ends it
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
  0    all --expect patterns matched; without --expect: the guest powered itself off
  1    a --reject pattern matched
  118 QEMU died            119 unexpected reset of the guest        120 kernel panic
  121 success, but the kernel log on the console reports problems (--health fail)
  122 the guest ended before all --expect patterns matched           124 timeout
  125 could not test (bad image, no QEMU, no firmware)

Health findings are kernel reports on the console: multi-line reports, and single lines with a kernel time stamp.
Taints and leftover processes are reported by bootling's pid 1, and thus only in `bootling run`.
"
);

/// Runs the verb.
pub(crate) fn run(args: &BootDiskArgs) -> anyhow::Result<u8> {
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let done = boot(args);
    let (exit_code, written) = match done {
        Ok((exit_code, None)) => return Ok(exit_code),
        Ok((exit_code, Some(report))) => (exit_code, json.map_or(Ok(()), |json| json.write(&report))),
        Err(error) => {
            let exit_code = code::COULD_NOT_TEST;
            let report = NotRun::new("could-not-test", exit_code, output::one_line(&error));
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

/// Returns the exit code, and the report if a guest ran.
fn boot(args: &BootDiskArgs) -> anyhow::Result<(u8, Option<BootReport>)> {
    let display = args.display()?;
    // Report an output that cannot be written before the boot.
    let screenshot = args.screenshot.as_deref().map(Output::create).transpose()?;
    let interactive = args.is_interactive();
    let spec = args.spec();
    let mut reporter = Reporter::new(args.quiet);
    let disk = Disk::open(&args.image, args.disk_options(), &mut reporter).map_err(output::advised)?;
    let drive = disk.drive;
    let machine = disk_machine(&spec, display, &mut reporter).map_err(output::advised)?;
    if !args.quiet && !args.print_command {
        output::note(&introduction(args, &machine, drive, interactive));
    }
    let prepared = prepare_disk(disk, &spec, machine).map_err(output::advised)?;
    if args.print_command {
        let mut line = prepared.shell_command().map_err(output::advised)?.into_encoded_bytes();
        line.push(b'\n');
        let mut out = output::stdout();
        out.write_all(&line).and_then(|()| out.flush()).context("failed to write the command line")?;
        return Ok((0, None));
    }
    let result = prepared.run(args.options(interactive)?, &mut reporter).map_err(output::advised)?;
    output::to_stderr(&format_disk_result(&result, !args.quiet));
    if !args.quiet || matches!(result.outcome, Outcome::Unhealthy { .. } | Outcome::KernelCrashed { .. }) {
        output::to_stderr(&health::format_findings(&result.outcome, &result.transcript.health, false));
    }
    output::to_stderr(&format_evidence(&result));
    let report = BootReport::new(&result, &args.image, drive);
    let exit_code = result.outcome.exit_code();
    match args.show_screen(&result.transcript, screenshot) {
        Ok(()) => Ok((exit_code, Some(report))),
        // The guest's result has precedence, unless it would look like success.
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

    /// Returns true if the report goes to standard output.
    fn json_on_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path.as_os_str() == "-")
    }

    fn display(&self) -> anyhow::Result<Display> {
        ensure!(
            self.firmware != Some(FirmwareRef::Direct),
            "invalid --firmware none: a disk cannot boot without firmware"
        );
        let wants_screen = self.screen_text || self.screenshot.is_some() || !self.expect_screen.is_empty();
        Ok(match self.vga {
            VgaArg::Mirror => Display::Mirrored,
            VgaArg::Std => Display::Vga,
            VgaArg::None if wants_screen => bail!("--vga none cannot be used with options that read the screen"),
            VgaArg::None => Display::None,
        })
    }

    /// Returns true if the guest's console is connected to a terminal.
    fn is_interactive(&self) -> bool {
        self.expect.is_empty()
            && self.expect_screen.is_empty()
            && std::io::stdin().is_terminal()
            && std::io::stdout().is_terminal()
    }

    fn spec(&self) -> RunSpec {
        let console = self.log.clone().map_or(ConsoleTo::Tail, ConsoleTo::File);
        let boot = BootSpec { console, ..self.machine.spec(self.firmware()) };
        RunSpec { boot, health: self.health.spec(), ..RunSpec::default() }
    }

    fn disk_options(&self) -> DiskOptions {
        DiskOptions {
            bus: self.disk.map(BusArg::bus),
            sector: self.sector_size,
            references: if self.allow_backing { References::Allowed } else { References::Refused },
            unpacking: if self.print_command { Unpacking::Refused } else { Unpacking::Allowed },
        }
    }

    fn options(&self, interactive: bool) -> anyhow::Result<RunOptions<'static>> {
        let expectations = Expectations::new(self.expect.clone(), self.expect_screen.clone(), self.reject.clone());
        let has_screen = self.vga != VgaArg::None;
        let picture = self.screenshot.is_some() || (has_screen && self.hangs.saves_evidence());
        let last_screen = ScreenRequest { text: self.screen_text, picture };
        let foreground = match self.quiet {
            true => Foreground::None,
            // Keys typed ahead would interrupt a boot loader.
            false if std::io::stdin().is_terminal() => Foreground::Console,
            false => Foreground::Viewer,
        };
        let total = self.machine.limit(interactive);
        Ok(RunOptions {
            limits: self.hangs.limits(Limits { total, base: total, boot: TimeLimit::None, ..Limits::default() }),
            streams: Streams::Inherited {
                foreground: Some(foreground),
                shown_on: if self.json_on_stdout() { ShownOn::Stderr } else { ShownOn::Stdout },
            },
            watch: Some(Watch { expectations, last_screen, restarts: self.restarts, linger: Duration::ZERO }),
            evidence: self.hangs.evidence()?,
            quiet: self.quiet,
            ..RunOptions::default()
        })
    }

    /// Prints the text on the screen and writes the screenshot.
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
                        out.write_all(text.as_bytes()).context("failed to write the text of the screen")?;
                        out.flush().context("failed to write the text of the screen")?;
                    }
                }
                None => output::note("no screen text: the display is in a graphics mode, or QEMU had exited"),
            }
        }
        let Some(mut output) = output else { return Ok(()) };
        match &transcript.screen.picture {
            Some(Ok(picture)) => {
                picture.write_png(&mut output).context("failed to write the screenshot")?;
                Ok(output.finish()?)
            }
            Some(Err(why)) => bail!("failed to take a screenshot: {why}"),
            None => bail!("failed to take a screenshot: QEMU had exited"),
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

/// Formats the note that describes the boot.
fn introduction(args: &BootDiskArgs, machine: &Machine, drive: Drive, interactive: bool) -> String {
    let by = match machine.firmware.path() {
        Some(path) => format!("{} ({})", machine.firmware.name().to_uppercase(), path.display()),
        None => "BIOS".to_owned(),
    };
    let keys = if interactive { "; Ctrl-a x ends the guest, Ctrl-a h shows the keys" } else { "" };
    let (format, bus) = (drive.format.name(), drive.bus.name());
    format!("booting {} ({format}, as {bus}) through {by}{keys}", args.image.display())
}

/// Parses a regular expression.
pub(crate) fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

fn sector_size(text: &str) -> Result<SectorSize, String> {
    match text {
        "512" => Ok(SectorSize::S512),
        "4096" | "4k" | "4K" => Ok(SectorSize::S4096),
        _ => Err("must be 512 or 4096".to_owned()),
    }
}

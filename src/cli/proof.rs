//! Boot tests: an EFI-only disk shows its message exactly once on each console of a legacy BIOS, and boots through
//! UEFI.
//!
//! Runs four machines, as many in parallel as there are CPUs: SeaBIOS with a VGA adapter, with a VGA adapter mirrored
//! to the serial console (as with `-nographic`) and without VGA; and OVMF, until the command in the image has exited,
//! or the firmware has started the boot loader of another system. A CD that is also a disk boots as both, with its own
//! boot loaders. The image is opened read-only, and its digest is compared.

mod ending;
mod message;
mod stop;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use regex::bytes::Regex;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub(crate) use self::ending::Ending;
use self::message::Expected;
use self::stop::Stop;
use super::output;
use bootling::format::SectorSize;
use bootling::format::bootsector::Found;
use bootling::format::terminal_text;
use bootling::guest::disk::{Disk, DiskOptions, References, Unpacking, disk_machine};
use bootling::guest::expect::Expectations;
use bootling::guest::screen::ScreenRequest;
use bootling::guest::session::{Foreground, Watch};
use bootling::guest::transcript::Transcript;
use bootling::guest::verdict::Outcome;
use bootling::guest::{Limits, RunOptions, RunResult, RunSpec, Silent, Streams, TimeLimit, prepare_disk};
use bootling::process::signals::Signals;
use bootling::qemu::drive::Bus;
use bootling::qemu::machine::{Display, Machine};
use bootling::qemu::spec::{BootSpec, ConsoleTo, FirmwareRef};

/// Limit for SeaBIOS to show a message, on a busy host with TCG.
const BIOS_LIMIT: Duration = Duration::from_secs(60);
/// Limit for the UEFI boot.
const UEFI_LIMIT: Duration = Duration::from_secs(300);
/// Time in which a repeated message would appear again.
const LINGER: Duration = Duration::from_millis(1500);
/// Maximum size of the console text that is kept for counting.
const CONSOLE_BYTES: u64 = 4 << 20;

/// Properties of a disk to test.
#[derive(Debug)]
pub(crate) struct Claims<'a> {
    /// Image path.
    pub image: &'a Path,
    /// Logical sector size.
    pub sector: SectorSize,
    /// Sector size of a second UEFI boot, for an image for both sizes.
    pub other_sector: Option<SectorSize>,
    /// True for a CD that is also a disk, such as an isohybrid: it must boot as both.
    pub is_hybrid: bool,
    /// Boot sector message.
    pub message: Message,
    /// Success condition of the UEFI boot.
    pub ending: Ending,
    /// Machine options; the firmware is replaced.
    pub spec: BootSpec,
    /// Limit for each boot; `None`: one minute for BIOS, five for UEFI.
    pub timeout: Option<TimeLimit>,
}

/// Message of a boot sector for users of a legacy BIOS.
#[derive(Debug)]
pub(crate) enum Message {
    /// Text to expect.
    Said(String),
    /// This BIOS boot loader, which must start.
    Loader(&'static str),
    /// No testable message, although the disk boots through UEFI; instead this was found.
    Missing(Found),
    /// No message required; BIOS boots are not tested.
    NotNeeded,
}

/// Result of one test.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Proof {
    /// Name of the test.
    pub what: &'static str,
    /// True if it passed.
    pub holds: bool,
    /// Details.
    pub says: String,
    /// Duration in milliseconds.
    pub took_ms: u64,
}

/// Result of all tests.
#[derive(Debug)]
pub(crate) enum Proven {
    /// All tests ran.
    All(Vec<Proof>),
    /// A signal to bootling interrupted the tests.
    Interrupted(Outcome),
}

/// A test configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trial {
    Vga,
    Mirrored,
    NoVga,
    Loader,
    UsbLoader,
    Uefi,
    UsbUefi,
    OtherUefi,
}

impl Trial {
    const fn what(self) -> &'static str {
        match self {
            Self::Vga => "BIOS, VGA and serial console",
            Self::Mirrored => "BIOS, serial console mirrors VGA",
            Self::NoVga => "BIOS, serial console alone",
            Self::Loader => "BIOS, boot loader",
            Self::UsbLoader => "BIOS, boot loader, as a USB disk",
            Self::Uefi => "UEFI",
            Self::UsbUefi => "UEFI, as a USB disk",
            Self::OtherUefi => "UEFI, sectors of 4096 bytes",
        }
    }

    /// Returns the limit; `given` overrides the default.
    fn limit(self, given: Option<TimeLimit>) -> TimeLimit {
        let usual = if self.is_uefi() { UEFI_LIMIT } else { BIOS_LIMIT };
        given.unwrap_or(TimeLimit::After(usual))
    }

    const fn is_uefi(self) -> bool {
        matches!(self, Self::Uefi | Self::UsbUefi | Self::OtherUefi)
    }

    const fn is_loader(self) -> bool {
        matches!(self, Self::Loader | Self::UsbLoader)
    }

    const fn display(self) -> Display {
        match self {
            Self::Vga | Self::Uefi | Self::UsbUefi | Self::OtherUefi => Display::Vga,
            Self::Mirrored | Self::Loader | Self::UsbLoader => Display::Mirrored,
            Self::NoVga => Display::None,
        }
    }
}

/// Runs all tests. An error means that a test could not be run.
pub(crate) fn prove(claims: &Claims<'_>) -> anyhow::Result<Proven> {
    let stop = Stop::new().context("failed to catch signals")?;
    let proofs = all(claims, &stop);
    // A signal takes precedence over other results, since the tests are incomplete.
    match (stop.signal(), proofs) {
        (Some(signal), _) => Ok(Proven::Interrupted(Outcome::Interrupted { signal })),
        (None, proofs) => proofs.map(Proven::All),
    }
}

/// Runs all tests until one cannot be run or a signal arrives.
fn all(claims: &Claims<'_>, stop: &Stop) -> anyhow::Result<Vec<Proof>> {
    let before = digest(claims.image, stop)?;
    let trials = trials(claims)?;
    let expected = match &claims.message {
        Message::Said(text) => Some(Expected::new(text)?),
        Message::Loader(_) | Message::Missing(_) | Message::NotNeeded => None,
    };
    // After `digest`, which reports a file that cannot be opened.
    let (references, unpacking) = (References::Never, Unpacking::Allowed);
    let open = |bus, sector| {
        let options = DiskOptions { bus, sector, references, unpacking };
        Disk::open(claims.image, options, &mut Silent).map_err(output::advised)
    };
    let disk = open(None, claims.sector)?;
    let other = claims.other_sector.map(|sector| open(None, sector)).transpose()?;
    let usb = claims.is_hybrid.then(|| open(Some(Bus::Usb), claims.sector)).transpose()?;
    let workers = thread::available_parallelism().map_or(1, usize::from).min(trials.len());
    let (waiting, done) = (Mutex::new(trials.into_iter().rev().collect::<Vec<_>>()), Mutex::new(Vec::new()));
    // The longest test is first in the queue. A poisoned queue ends the loop.
    let next = || if stop.is_set() { None } else { waiting.lock().ok()?.pop() };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((trial, machine)) = next() {
                    let disk = match trial {
                        Trial::OtherUefi => other.as_ref().unwrap_or(&disk),
                        Trial::Loader | Trial::Uefi => &disk,
                        // A BIOS ignores the boot sector of a CD.
                        Trial::UsbLoader | Trial::UsbUefi | Trial::Vga | Trial::Mirrored | Trial::NoVga => {
                            usb.as_ref().unwrap_or(&disk)
                        }
                    };
                    let proof = try_out(trial, &machine, disk, claims, expected.as_ref(), stop);
                    if proof.is_err() {
                        stop.set();
                    }
                    if let Ok(mut done) = done.lock() {
                        done.push((trial, proof));
                    }
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .map_err(|_| anyhow!("failed to boot {}: a worker thread panicked", claims.image.display()))?;
    done.sort_by_key(|(trial, _)| *trial);
    let mut proofs = done.into_iter().map(|(_, proof)| proof).collect::<anyhow::Result<Vec<Proof>>>()?;
    if let Message::Missing(found) = &claims.message {
        let says = format!("no message: found {found}{}", if *found == Found::Bootling { ", damaged" } else { "" });
        proofs.insert(0, Proof { what: "BIOS", holds: false, says, took_ms: 0 });
    }
    let start = Instant::now();
    let holds = digest(claims.image, stop)? == before;
    let says = if holds { "digest unchanged" } else { "digest changed" };
    proofs.push(Proof { what: "image unchanged", holds, says: says.to_owned(), took_ms: millis(start.elapsed()) });
    Ok(proofs)
}

/// Returns the tests with their machines; the longest test is first.
fn trials(claims: &Claims<'_>) -> anyhow::Result<Vec<(Trial, Machine)>> {
    let machine = |boot: BootSpec| {
        let spec = RunSpec { boot, ..RunSpec::default() };
        disk_machine(&spec, Display::Vga, &mut Silent).map_err(output::advised)
    };
    let uefi = machine(BootSpec { firmware: FirmwareRef::Uefi { secure: false }, ..claims.spec.clone() })?;
    let mut trials = vec![(Trial::Uefi, uefi.clone())];
    if claims.is_hybrid {
        trials.push((Trial::UsbUefi, uefi));
    }
    if claims.other_sector.is_some() {
        trials.extend(trials.first().map(|(_, uefi)| (Trial::OtherUefi, uefi.clone())));
    }
    let bios_trials: &[Trial] = match &claims.message {
        Message::Said(_) => &[Trial::Vga, Trial::Mirrored, Trial::NoVga],
        Message::Loader(name) if first_words(name).is_some() && claims.is_hybrid => &[Trial::Loader, Trial::UsbLoader],
        Message::Loader(name) if first_words(name).is_some() => &[Trial::Loader],
        Message::Loader(_) | Message::Missing(_) | Message::NotNeeded => &[],
    };
    if !bios_trials.is_empty() {
        let bios = machine(BootSpec { firmware: FirmwareRef::Bios, firmware_vars: None, ..claims.spec.clone() })?;
        for trial in bios_trials.iter().copied() {
            trials.push((trial, Machine { display: trial.display(), ..bios.clone() }));
        }
    }
    Ok(trials)
}

/// Runs one test.
fn try_out(
    trial: Trial,
    machine: &Machine,
    disk: &Disk,
    claims: &Claims<'_>,
    expected: Option<&Expected>,
    stop: &Stop,
) -> anyhow::Result<Proof> {
    let console = tempfile::NamedTempFile::new().context("failed to create a file for the console")?;
    let expectations = match (trial, expected) {
        (Trial::Loader | Trial::UsbLoader, _) => loader_expectations(&claims.message)?,
        (Trial::Uefi | Trial::UsbUefi | Trial::OtherUefi, _) | (_, None) => claims.ending.expectations()?,
        (Trial::Vga, Some(message)) => {
            Expectations::new(vec![message.last_line()?], vec![message.last_line()?], Vec::new())
        }
        (Trial::Mirrored | Trial::NoVga, Some(message)) => {
            Expectations::new(vec![message.last_line()?], Vec::new(), Vec::new())
        }
    };
    let linger = if trial.is_uefi() || trial.is_loader() { Duration::ZERO } else { LINGER };
    let last_screen = ScreenRequest { text: matches!(trial, Trial::Vga | Trial::Mirrored), picture: false };
    let booting = || format!("failed to boot {} ({})", claims.image.display(), trial.what());
    let mut signals = Signals::catch().context("failed to catch signals")?;
    // Signals that arrived before `Signals::catch` do not end this guest.
    ensure!(!stop.is_set(), "{}: interrupted", booting());
    let boot = BootSpec { console: ConsoleTo::File(console.path().to_owned()), ..claims.spec.clone() };
    let spec = RunSpec { boot, ..RunSpec::default() };
    let options = RunOptions {
        limits: Limits {
            total: trial.limit(claims.timeout),
            boot: TimeLimit::None,
            hang_report: TimeLimit::None,
            ..Limits::default()
        },
        streams: Streams::Memory { stdin: Vec::new(), limit: 0, foreground: Some(Foreground::None) },
        watch: Some(Watch { expectations, last_screen, restarts: 2, linger }),
        signals: Some(&mut signals),
        ..RunOptions::default()
    };
    let disk = disk.try_clone().and_then(|disk| prepare_disk(disk, &spec, machine.clone()));
    let ran = disk.and_then(|prepared| prepared.run(options, &mut Silent));
    let RunResult { outcome, transcript, .. } = ran.map_err(output::advised).with_context(booting)?;
    if let Outcome::Interrupted { .. } | Outcome::CouldNotTest { .. } = outcome {
        return Err(anyhow!(outcome.sentence().unwrap_or_default()).context(booting()));
    }
    let mut text = Vec::new();
    console.as_file().take(CONSOLE_BYTES).read_to_end(&mut text).context("failed to read the console")?;
    let lines = terminal_text::lines(&text);
    let (holds, says) = match (trial, &outcome, expected) {
        (trial, Outcome::Expected { line }, _) if trial.is_uefi() => claims.ending.judge_line(line),
        (trial, Outcome::Expected { line }, _) if trial.is_loader() => {
            (true, format!("the boot loader started: {line}"))
        }
        (Trial::Vga | Trial::Mirrored | Trial::NoVga, Outcome::Expected { .. }, Some(message)) => {
            message.judge(&lines, transcript.screen.text.as_deref().filter(|_| last_screen.text))
        }
        (trial, ..) if trial.is_uefi() => {
            (false, format!("{}; expected {}", not_met(&outcome, &transcript), claims.ending.expected_text()))
        }
        _ => (false, not_met(&outcome, &transcript)),
    };
    Ok(Proof { what: trial.what(), holds, says, took_ms: millis(transcript.duration) })
}

/// Returns the pattern of the first output of a known boot loader; `None` for a loader that prints nothing itself.
pub(crate) fn first_words(name: &str) -> Option<&'static str> {
    let known = [
        ("GRUB", "GRUB loading|Welcome to GRUB|GNU GRUB"),
        ("isolinux", "ISOLINUX [0-9]"),
        ("syslinux", "SYSLINUX [0-9]"),
    ];
    known.iter().find(|(loader, _)| name.split(' ').next() == Some(loader)).map(|(_, says)| *says)
}

/// Returns the expected and the rejected lines of the BIOS boot loader.
fn loader_expectations(message: &Message) -> anyhow::Result<Expectations> {
    let Message::Loader(name) = message else { bail!("no boot loader to test") };
    let regex = |text: &str| Regex::new(text).context("invalid built-in pattern");
    let started = first_words(name).context("unknown boot loader")?;
    // Last output of SeaBIOS, and errors of the first sector of GRUB and syslinux.
    let rejected = "No bootable device|Boot failed|Missing OS|issing operating system|Operating system load error|(?:Read|Geom) Error";
    Ok(Expectations::new(vec![regex(started)?], Vec::new(), vec![regex(rejected)?]))
}

/// Explains why the expected text did not appear, with the last line of the console.
fn not_met(outcome: &Outcome, transcript: &Transcript) -> String {
    let sentence = outcome.sentence().unwrap_or_default();
    let rows = transcript.screen.text.iter().flatten().rev().find(|row| !row.is_empty());
    match transcript.console_tail.last().or(rows) {
        Some(last) => format!("{sentence}; last line of output: {last}"),
        None => format!("{sentence}; no output"),
    }
}

fn digest(path: &Path, stop: &Stop) -> anyhow::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut piece = vec![0; 1 << 20];
    loop {
        ensure!(!stop.is_set(), "failed to read {}: interrupted", path.display());
        match file.read(&mut piece).with_context(|| format!("failed to read {}", path.display()))? {
            0 => return Ok(digest.finalize().into()),
            len => digest.update(&piece[..len]),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{BIOS_LIMIT, TimeLimit, Trial, UEFI_LIMIT};
    use std::time::Duration;

    #[test]
    fn a_limit_of_none_is_unlimited_and_no_limit_is_the_default() {
        assert_eq!(Trial::Uefi.limit(None), TimeLimit::After(UEFI_LIMIT));
        assert_eq!(Trial::Vga.limit(None), TimeLimit::After(BIOS_LIMIT));
        assert_eq!(Trial::Vga.limit(Some(TimeLimit::None)), TimeLimit::None);
        let second = Duration::from_secs(1);
        let second = TimeLimit::After(second);
        assert_eq!(Trial::Uefi.limit(Some(second)), second);
    }
}

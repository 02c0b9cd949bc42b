//! Proof by booting: an EFI-only disk says so to a legacy BIOS, once, whatever consoles there are; and it boots by UEFI.
//!
//! Four machines run side by side, as many as there are processors: SeaBIOS with a VGA adapter, with one that it mirrors
//! on the serial console (as under `-nographic`), with none; and OVMF, up to the verdict of the command inside, or as far
//! as can be told of a system that is not ours. The image is only read, and its digest is the same afterwards.

mod ending;
mod message;
mod stop;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use self::ending::Ending;
use self::message::Expected;
use self::stop::Stop;
use super::boot_disk::{self, Disk, Naming, Seen, Unpacking};
use super::boot_options::LimitArg;
use bootling::format::SectorSize;
use bootling::format::bootsector::Found;
use bootling::guest::expect::Expectations;
use bootling::guest::launch::Guest;
use bootling::guest::plain;
use bootling::guest::screen::Wanted;
use bootling::guest::session::{ConsoleSink, Foreground, Opening, Settings, ShownOn, Watch, converse};
use bootling::guest::transcript::Transcript;
use bootling::guest::verdict::{Outcome, judge};
use bootling::process::signals::Signals;
use bootling::qemu::machine::{Display, Machine};
use bootling::qemu::spec::{BootSpec, FirmwareRef};

/// How long SeaBIOS may take to show a message, on a busy host under TCG.
const BIOS_LIMIT: Duration = Duration::from_secs(60);
/// And UEFI to come to its end.
const UEFI_LIMIT: Duration = Duration::from_secs(300);
/// A message that comes twice comes a second time within this.
const LINGER: Duration = Duration::from_millis(1500);
/// Of a console that is kept for counting.
const CONSOLE_BYTES: u64 = 4 << 20;

/// What is to be proven.
#[derive(Debug)]
pub struct Claims<'a> {
    /// The image.
    pub image: &'a Path,
    /// Its logical sectors.
    pub sector: SectorSize,
    /// What its boot sector says.
    pub message: Message,
    /// How the boot by UEFI ends well.
    pub ending: Ending,
    /// The machine; its firmware is of no account.
    pub spec: BootSpec,
    /// Longest time of each boot; `None`: a minute by BIOS, five by UEFI.
    pub timeout: Option<LimitArg>,
}

/// What a boot sector has for whoever starts the disk by BIOS.
#[derive(Debug)]
pub enum Message {
    /// This text.
    Said(String),
    /// None that could be proven, though the disk is one that UEFI starts.
    Missing(Found),
    /// None, and nobody is to be told anything: boots by BIOS prove nothing.
    NotNeeded,
}

/// One thing that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// What, in a few words.
    pub what: &'static str,
    /// Whether it came out as it should.
    pub holds: bool,
    /// How it came out.
    pub says: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// How proving ended.
#[derive(Debug)]
pub enum Proven {
    /// Everything was tried.
    All(Vec<Proof>),
    /// A signal to us ended it.
    Interrupted(Outcome),
}

/// What a machine is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    Vga,
    Mirrored,
    NoVga,
    Uefi,
}

impl Trial {
    const fn what(self) -> &'static str {
        match self {
            Self::Vga => "BIOS, VGA and serial console",
            Self::Mirrored => "BIOS, serial console mirrors VGA",
            Self::NoVga => "BIOS, serial console alone",
            Self::Uefi => "UEFI",
        }
    }

    /// How long it may take, where `given` says so or not.
    fn limit(self, given: Option<LimitArg>) -> Option<Duration> {
        let usual = match self {
            Self::Uefi => UEFI_LIMIT,
            Self::Vga | Self::Mirrored | Self::NoVga => BIOS_LIMIT,
        };
        given.map_or(Some(usual), |limit| limit.0)
    }

    const fn display(self) -> Display {
        match self {
            Self::Vga | Self::Uefi => Display::Vga,
            Self::Mirrored => Display::Mirrored,
            Self::NoVga => Display::None,
        }
    }
}

/// Boots the image in every way, and tells how each came out. An error is one of ours or of the host.
pub fn prove(claims: &Claims<'_>) -> anyhow::Result<Proven> {
    let stop = Stop::new().context("catching signals")?;
    let proofs = all(claims, &stop);
    // Whatever came of the rest: there is more of it than was seen.
    match (stop.signal(), proofs) {
        (Some(signal), _) => Ok(Proven::Interrupted(Outcome::Interrupted { signal })),
        (None, proofs) => proofs.map(Proven::All),
    }
}

/// The same, as far as it comes before it is stopped.
fn all(claims: &Claims<'_>, stop: &Stop) -> anyhow::Result<Vec<Proof>> {
    let before = digest(claims.image, stop)?;
    let uefi = FirmwareRef::Uefi { secure: false };
    let uefi = boot_disk::machine(&BootSpec { firmware: uefi, ..claims.spec.clone() }, Display::Vga, true)?;
    let expected = match &claims.message {
        Message::Said(text) => Some(Expected::new(text)?),
        Message::Missing(_) | Message::NotNeeded => None,
    };
    let mut trials = vec![(Trial::Uefi, uefi)];
    if expected.is_some() {
        let spec = BootSpec { firmware: FirmwareRef::Bios, firmware_vars: None, ..claims.spec.clone() };
        let bios = boot_disk::machine(&spec, Display::Vga, true)?;
        for trial in [Trial::Vga, Trial::Mirrored, Trial::NoVga] {
            trials.push((trial, Machine { display: trial.display(), ..bios.clone() }));
        }
    }
    // Not before ours is open: a disk that cannot be a drive is told as such.
    let (naming, unpacking) = (Naming::Never, Unpacking::Silent);
    let disk = Disk::open(claims.image, Seen { bus: None, sector: claims.sector, naming, unpacking })?;
    let workers = thread::available_parallelism().map_or(1, usize::from).min(trials.len());
    let (waiting, done) = (Mutex::new(trials.into_iter().rev().collect::<Vec<_>>()), Mutex::new(Vec::new()));
    // The order of trials is the longest first; a queue that a panic has poisoned is not gone on with.
    let next = || if stop.is_set() { None } else { waiting.lock().ok()?.pop() };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((trial, machine)) = next() {
                    let proof = try_out(trial, &machine, &disk, claims, expected.as_ref(), stop);
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
    let mut done =
        done.into_inner().map_err(|_| anyhow!("booting {}: a thread of ours died", claims.image.display()))?;
    done.sort_by_key(|(trial, _)| {
        [Trial::Vga, Trial::Mirrored, Trial::NoVga, Trial::Uefi].iter().position(|at| at == trial)
    });
    let mut proofs = done.into_iter().map(|(_, proof)| proof).collect::<anyhow::Result<Vec<Proof>>>()?;
    if let Message::Missing(found) = &claims.message {
        let says =
            format!("no message: in its place is {found}{}", if *found == Found::Ours { ", damaged" } else { "" });
        proofs.insert(0, Proof { what: "BIOS", holds: false, says, took_ms: 0 });
    }
    let start = Instant::now();
    let holds = digest(claims.image, stop)? == before;
    let says = if holds { "its digest is the same as before" } else { "its digest is another than before" };
    proofs.push(Proof { what: "image unchanged", holds, says: says.to_owned(), took_ms: millis(start.elapsed()) });
    Ok(proofs)
}

/// One boot.
fn try_out(
    trial: Trial,
    machine: &Machine,
    disk: &Disk,
    claims: &Claims<'_>,
    expected: Option<&Expected>,
    stop: &Stop,
) -> anyhow::Result<Proof> {
    let mut console = tempfile::tempfile().context("making a file for the console")?;
    let expectations = match (trial, expected) {
        (Trial::Uefi, _) | (_, None) => claims.ending.expectations()?,
        (Trial::Vga, Some(message)) => {
            Expectations::new(vec![message.last_line()?], vec![message.last_line()?], Vec::new())
        }
        (Trial::Mirrored | Trial::NoVga, Some(message)) => {
            Expectations::new(vec![message.last_line()?], Vec::new(), Vec::new())
        }
    };
    let linger = if trial == Trial::Uefi { Duration::ZERO } else { LINGER };
    let last_look = Wanted { text: matches!(trial, Trial::Vga | Trial::Mirrored), picture: false };
    let settings = Settings {
        timeout: trial.limit(claims.timeout),
        boot_timeout: None,
        foreground: Foreground::Nobody,
        shown_on: ShownOn::Stdout,
        console: ConsoleSink::File(console.try_clone().context("making a file for the console")?),
        show_qemu: false,
        quiet: true,
        flush_disks: false,
        watch: Some(Watch { expectations, last_look, restarts: 2, linger }),
        idle_timeout: None,
        inquest: None,
        keep: None,
        opening: Opening::Boot,
    };
    let booting = || format!("booting {} ({})", claims.image.display(), trial.what());
    let mut signals = Signals::catch().context("catching signals")?;
    // A signal from before is not among those that this guest will be ended by.
    ensure!(!stop.is_set(), "{}: it was stopped", booting());
    let mut guest = Guest::start(machine, &disk.payload()?).context("starting QEMU").with_context(booting)?;
    let transcript = converse(&mut guest, settings, &mut signals).with_context(booting)?;
    let outcome = judge(&transcript);
    if let Outcome::Interrupted { .. } | Outcome::CouldNotTest { .. } = outcome {
        return Err(anyhow!(outcome.sentence().unwrap_or_default()).context(booting()));
    }
    let mut text = Vec::new();
    console.flush().and_then(|()| console.seek(SeekFrom::Start(0))).context("reading the console")?;
    console.take(CONSOLE_BYTES).read_to_end(&mut text).context("reading the console")?;
    let lines = plain::lines(&text);
    let (holds, says) = match (trial, &outcome, expected) {
        (Trial::Uefi, Outcome::Expected { line }, _) => claims.ending.says(line),
        (Trial::Vga | Trial::Mirrored | Trial::NoVga, Outcome::Expected { .. }, Some(message)) => {
            message.judge(&lines, transcript.screen.text.as_deref().filter(|_| last_look.text))
        }
        (Trial::Uefi, ..) => {
            (false, format!("{}; it was to end with {}", not_met(&outcome, &transcript), claims.ending.wants()))
        }
        _ => (false, not_met(&outcome, &transcript)),
    };
    Ok(Proof { what: trial.what(), holds, says, took_ms: millis(transcript.duration) })
}

/// Why what was expected did not come, with the console's last line.
fn not_met(outcome: &Outcome, transcript: &Transcript) -> String {
    let sentence = outcome.sentence().unwrap_or_default();
    let rows = transcript.screen.text.iter().flatten().rev().find(|row| !row.is_empty());
    match transcript.console_tail.last().or(rows) {
        Some(last) => format!("{sentence}; the last that was said: {last}"),
        None => format!("{sentence}; nothing was said"),
    }
}

fn digest(path: &Path, stop: &Stop) -> anyhow::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut piece = vec![0; 1 << 20];
    loop {
        ensure!(!stop.is_set(), "reading {}: it was stopped", path.display());
        match file.read(&mut piece).with_context(|| format!("reading {}", path.display()))? {
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
    use super::{BIOS_LIMIT, LimitArg, Trial, UEFI_LIMIT};
    use std::time::Duration;

    #[test]
    fn none_is_no_limit_and_nothing_is_the_usual_one() {
        assert_eq!(Trial::Uefi.limit(None), Some(UEFI_LIMIT));
        assert_eq!(Trial::Vga.limit(None), Some(BIOS_LIMIT));
        assert_eq!(Trial::Vga.limit(Some(LimitArg(None))), None);
        let second = Duration::from_secs(1);
        assert_eq!(Trial::Uefi.limit(Some(LimitArg(Some(second)))), Some(second));
    }
}

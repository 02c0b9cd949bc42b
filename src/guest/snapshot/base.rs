//! A base: its contents, its boot and snapshot, and the start of a run from it.

use std::cell::RefCell;
use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::migrate::{self, SnapshotError};
use super::store::{self, About, KernelFile, RAM, STATE};
use super::{Age, Snapshot, Snapshots, memory};
use crate::cache::{Cache, CacheError, Key, Sealing};
use crate::format::protocol::frame::Failure;
use crate::format::protocol::window::MAGIC;
use crate::guest::conversation::Conversation;
use crate::guest::error::is_full;
use crate::guest::health::Finding;
use crate::guest::launch::{Artifact, Feed, Guest};
use crate::guest::monitor::MonitorError;
use crate::guest::session::Opening;
use crate::guest::transcript::{Event, Transcript};
use crate::guest::{Listener, VmError};
use crate::initrd::archive;
use crate::initrd::check::CheckedPlan;
use crate::initrd::memfd;
use crate::process::signals::Signals;
use crate::qemu::argv::{Payload, Ram, Warm as Waiting};
use crate::qemu::machine::Machine;

/// Delay before an idle guest is saved: kernels defer work (`deferred_probe_timeout`, the clock watchdog), which each
/// restored guest would repeat.
const SETTLING: Duration = Duration::from_millis(600);
/// Maximum time to wait for another process that makes the snapshot: it may be stopped (Ctrl-Z) or hang.
const WAITING: Duration = Duration::from_secs(120);
/// Reason for not saving a guest if the running QEMU is not the started program.
const WRAPPED: &str = "QEMU runs below a wrapper whose changes cannot be detected; let the wrapper `exec` QEMU";
/// Findings of the boot that are stored with a snapshot.
const FINDINGS: usize = 8;
/// Smallest window, MiB.
const WINDOW_MIB: u64 = 256;

/// Initrd and machine that a snapshot is made from.
#[derive(Debug)]
pub(crate) struct Base {
    /// The machine.
    pub(crate) machine: Machine,
    /// The kernel image.
    pub(crate) image: PathBuf,
    /// Origin of the kernel, in the user's words.
    pub(crate) kernel: String,
    /// The file that the kernel was read from.
    pub(crate) kernel_file: Option<KernelFile>,
    /// Its initrd: pid 1, the channel's drivers, the modules of the base.
    pub(crate) initrd: OwnedFd,
    /// The modules of the base.
    pub(crate) modules: Vec<String>,
    /// Size of its window, MiB.
    pub(crate) window_mib: u64,
}

/// A guest that waits for a command.
#[derive(Debug)]
pub(crate) struct ReadyGuest {
    /// The guest: running, stopped, or being restored.
    pub(crate) guest: Guest,
    /// Bytes of the archive in its window.
    pub(crate) len: u64,
    /// Required QEMU program, if known.
    pub(crate) program: Option<String>,
    /// Age of its snapshot; `None`: there is none.
    pub(crate) age: Option<Age>,
    /// Its window, for later commands.
    pub(crate) window: OwnedFd,
    /// Findings of its boot.
    pub(crate) health: Vec<Finding>,
}

/// Reason why no guest is ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWarm {
    /// This kernel or machine does not support it; a clause.
    #[error("{0}")]
    Unfit(String),
    /// The guest ended while it booted: the outcome is in the transcript.
    #[error("booting the base")]
    Ended(Box<Transcript>, Vec<std::ffi::OsString>),
    /// An error on the host.
    #[error(transparent)]
    Failed(#[from] VmError),
}

/// An unusable cache (full, read-only) costs time, but does not change the verdict.
impl From<CacheError> for NotWarm {
    fn from(error: CacheError) -> Self {
        Self::Unfit(no_snapshots(&error))
    }
}

/// Returns why a cache cannot store snapshots, as a clause.
pub(crate) fn no_snapshots(error: &CacheError) -> String {
    let text = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    if is_full(error) {
        format!("{text}; BOOTLING_CACHE_DIR may name a directory on another file system")
    } else {
        text
    }
}

/// Size of a window for an archive of `bytes` bytes, MiB.
pub(crate) fn window_mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20).next_power_of_two().max(WINDOW_MIB)
}

impl Base {
    /// Starts a guest from the snapshot with this key, with `payload` in its window. Makes the snapshot if it is missing.
    pub(in crate::guest) fn start(
        &self,
        cache: &Cache,
        key: &Key,
        payload: &CheckedPlan,
        conversation: &mut Conversation<'_>,
        listener: &mut dyn Listener,
    ) -> Result<ReadyGuest, NotWarm> {
        if let Some(snapshot) = Snapshots(cache).open(key) {
            return Ok(self.restore(snapshot, payload)?);
        }
        let mut live = None;
        let mut since = None;
        // Used either while waiting for another process or while making the snapshot, never both.
        let ours = RefCell::new((conversation, &mut *listener));
        let mut wait = || {
            let (conversation, listener) = &mut *ours.borrow_mut();
            let since = *since.get_or_insert_with(|| {
                listener.note("waiting for another run that boots the guest for the snapshot");
                Instant::now()
            });
            if since.elapsed() > WAITING {
                let seconds = WAITING.as_secs();
                return Err(NotWarm::Unfit(format!("another run has been making the snapshot for {seconds} s")));
            }
            match conversation.signals().and_then(Signals::ending) {
                None => Ok(()),
                Some(signal) => Err(interrupted(signal)),
            }
        };
        let made = cache.lasting().tree_after::<NotWarm>(key, Sealing::Stamps, &mut wait, |directory| {
            let (conversation, listener) = &mut *ours.borrow_mut();
            listener.note("booting a guest for the snapshot (once)");
            let (ready, kept) = self.boot_and_save(directory, payload, conversation)?;
            live = Some(ready);
            // A snapshot that failed is not stored.
            kept.map_err(NotWarm::Unfit)
        });
        match (live, made) {
            (Some(ready), Ok(_)) => {
                // A snapshot that cannot be removed only occupies space.
                let _ = Snapshots(cache).discard_obsolete();
                Ok(ready)
            }
            // The guest is usable, but only for this run.
            (Some(ready), Err(why)) => {
                listener.note(&format!("snapshot not stored: {why}"));
                Ok(ReadyGuest { age: None, ..ready })
            }
            (None, Err(error)) => Err(error),
            // Another process has made it.
            (None, Ok(_)) => match Snapshots(cache).open(key) {
                Some(snapshot) => Ok(self.restore(snapshot, payload)?),
                None => Err(NotWarm::Unfit("its snapshot disappeared immediately".to_owned())),
            },
        }
    }

    /// Boots until the guest is ready.
    pub(in crate::guest) fn boot(
        &self,
        window: OwnedFd,
        ram: Ram<Artifact>,
        conversation: &mut Conversation<'_>,
    ) -> Result<(Guest, Transcript), NotWarm> {
        let kernel = open(&self.image)?;
        let initrd = self.initrd.try_clone().map_err(VmError::io("open", "the base's initrd"))?;
        let payload = Payload::Linux {
            kernel: Artifact::Open(kernel),
            initrd: Artifact::Open(initrd),
            warm: Some(Waiting { window: Artifact::Open(window), window_mib: self.window_mib, ram }),
        };
        let mut guest = Guest::start(&self.machine, &payload).map_err(VmError::io("start", "QEMU"))?;
        let transcript = conversation.run(&mut guest, &self.machine, Opening::Base)?;
        match transcript.events.last() {
            Some(Event::Ready { .. }) => Ok((guest, transcript)),
            Some(Event::Failed { what: Failure::Window, errno, .. }) => Err(NotWarm::Unfit(format!(
                "this kernel does not allow pid 1 to map device memory ({})",
                io::Error::from_raw_os_error((*errno).cast_signed())
            ))),
            // QEMU may have rejected a device that only a window needs: the boot without a window decides.
            Some(Event::QemuExited(_)) if !transcript.showed_activity() && !transcript.qemu_output.is_empty() => {
                Err(NotWarm::Unfit(format!("QEMU rejects it: {}", transcript.qemu_output.join("; "))))
            }
            Some(_) | None => Err(NotWarm::Ended(Box::new(transcript), guest.command.clone())),
        }
    }

    /// Boots and saves the guest into `directory`. Returns it stopped, with the payload in its window, even if the snapshot could not
    /// be stored, and why it could not.
    fn boot_and_save(
        &self,
        directory: &Path,
        payload: &CheckedPlan,
        conversation: &mut Conversation<'_>,
    ) -> Result<(ReadyGuest, Result<(), String>), NotWarm> {
        let began = Instant::now();
        let bytes = self.machine.memory_mib << 20;
        let making = || VmError::io("create", "the guest's memory");
        let ram = memory::empty("ram", bytes).map_err(making())?;
        let window = self.window()?;
        let handed = |memory: &OwnedFd| memory.try_clone().map_err(making());
        let shared = Ram::Shared(Artifact::Open(handed(&ram)?));
        let (mut guest, transcript) = self.boot(handed(&window)?, shared, conversation)?;
        std::thread::sleep(SETTLING);
        let boot_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let kept = match migrate::save(&mut guest, conversation.signals()) {
            Ok(state) => {
                let about = self.about(&transcript, &guest, boot_ms);
                keep(directory, &ram, bytes, &state, about).map_err(|error| error.to_string())
            }
            Err(SnapshotError::Monitor(MonitorError::Interrupted(signal))) => {
                let mut transcript = transcript;
                transcript.events.push(Event::Interrupted { signal });
                return Err(NotWarm::Ended(Box::new(transcript), guest.command.clone()));
            }
            Err(why) => Err(why.to_string()),
        };
        let kept = if guest.is_wrapped() { Err(WRAPPED.to_owned()) } else { kept };
        let len = self.fill(&window, payload)?;
        let program = guest.program();
        let age = Some(Age::default());
        let health = transcript.health;
        migrate::resume(&mut guest);
        Ok((ReadyGuest { guest, len, program, age, window, health }, kept))
    }

    /// Creates an empty window.
    fn window(&self) -> Result<OwnedFd, VmError> {
        let making = || VmError::io("create", "the guest's window");
        let window = memory::empty("window", self.window_mib << 20).map_err(making())?;
        memory::write(&window, MAGIC).map_err(making())?;
        Ok(window)
    }

    /// Boots until the guest is ready, without a snapshot.
    pub(in crate::guest) fn boot_once(&self, conversation: &mut Conversation<'_>) -> Result<ReadyGuest, NotWarm> {
        let window = self.window()?;
        let theirs = window.try_clone().map_err(VmError::io("create", "the guest's window"))?;
        let (guest, transcript) = self.boot(theirs, Ram::Anonymous, conversation)?;
        let health = transcript.health;
        Ok(ReadyGuest { guest, len: 0, program: None, age: None, window, health })
    }

    /// Writes an archive into the window of a guest.
    pub(crate) fn fill(&self, window: &OwnedFd, payload: &CheckedPlan) -> Result<u64, VmError> {
        let (archive, len) = memfd::window(payload, 0)?;
        self.fits(len)?;
        memory::replace(&archive, len, window).map_err(VmError::io("write", "the guest's window"))?;
        Ok(len)
    }

    /// Fails if the window is too small for an archive of `len` bytes.
    fn fits(&self, len: u64) -> Result<(), VmError> {
        if len <= self.window_mib << 20 { Ok(()) } else { Err(VmError::Window { len, window_mib: self.window_mib }) }
    }

    /// Starts QEMU to restore a snapshot.
    fn restore(&self, snapshot: Snapshot, payload: &CheckedPlan) -> Result<ReadyGuest, VmError> {
        let age = Some(snapshot.age());
        let Snapshot { about, ram, state } = snapshot;
        let len = archive::len(payload, &archive::Options { align: true, mtime: 0 });
        self.fits(len)?;
        // The image is only mapped: of 60 MB QEMU reads the headers that describe the entry point.
        let kernel = open(&self.image)?;
        let start = || -> io::Result<ReadyGuest> {
            let window = memory::empty("window", self.window_mib << 20)?;
            let (feed, state) = Feed::new(state)?;
            let state_fd = state.as_raw_fd();
            let ram = Ram::Restored { ram: Artifact::Open(ram.into()), state: Artifact::Open(state) };
            let theirs = Artifact::Open(window.try_clone()?);
            let warm = Waiting { window: theirs, window_mib: self.window_mib, ram };
            let (kernel, initrd) = (Artifact::Open(kernel), Artifact::Open(memory::empty("initrd", 4)?));
            let mut guest = Guest::start(&self.machine, &Payload::Linux { kernel, initrd, warm: Some(warm) })?;
            guest.state = Some(feed);
            migrate::restore(&mut guest, state_fd);
            let health = about.health;
            Ok(ReadyGuest { guest, len, program: about.program, age, window, health })
        };
        let ready = start().map_err(VmError::io("start", "QEMU"))?;
        // The window is written after QEMU's start, which takes longer: nothing reads the window before the guest
        // resumes.
        memfd::into(payload, 0, &ready.window)?;
        Ok(ready)
    }

    fn about(&self, transcript: &Transcript, guest: &Guest, boot_ms: u64) -> About {
        let release = transcript.events.iter().find_map(|event| match event {
            Event::Hello { release, .. } => Some(release.clone()),
            _ => None,
        });
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let machine = &self.machine;
        let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        About {
            kernel: self.kernel.clone(),
            release: release.unwrap_or_default(),
            qemu: machine.qemu.path.display().to_string(),
            version: machine.qemu.facts.version.clone(),
            program: guest.program(),
            accel: machine.accelerator.name().to_owned(),
            machine: text(&machine.machine),
            cpu: text(&machine.cpu),
            smp: machine.smp.as_deref().map(text),
            memory_mib: machine.memory_mib,
            window_mib: self.window_mib,
            command_line: text(&machine.command_line),
            modules: self.modules.clone(),
            made_ns: u64::try_from(made.as_nanos()).unwrap_or(u64::MAX),
            boot_ms,
            health: transcript.health.iter().take(FINDINGS).cloned().collect(),
            kernel_file: self.kernel_file.clone(),
            ram: String::new(),
            state: String::new(),
        }
    }
}

/// A boot that was interrupted before it started.
fn interrupted(signal: i32) -> NotWarm {
    let transcript = Transcript { events: vec![Event::Interrupted { signal }], ..Transcript::default() };
    NotWarm::Ended(Box::new(transcript), Vec::new())
}

/// Writes the files of a snapshot.
fn keep(directory: &Path, ram: &OwnedFd, bytes: u64, state: &[u8], about: About) -> io::Result<()> {
    let new = |name: &str| File::options().write(true).create_new(true).mode(0o600).open(directory.join(name));
    memory::copy(ram, bytes, &new(RAM)?)?;
    new(STATE)?.write_all(state)?;
    store::describe(directory, about)
}

/// Opens the kernel image, which may be in the cache.
fn open(path: &Path) -> Result<OwnedFd, VmError> {
    File::open(path).map(OwnedFd::from).map_err(VmError::io("open", format!("kernel image {}", path.display())))
}

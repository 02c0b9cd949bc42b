//! Snapshots in the cache: one directory each, with a guest's memory (`ram`), the state of its devices (`state`), and what
//! it is (`snapshot.json`).
//!
//! Nothing is believed that is not as it was left: both files are held to their stamps, which move with every write. A
//! snapshot that is damaged counts as none.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Age;
use crate::cache::{Cache, CacheError, Key, Stamp};
use crate::guest::health::Finding;

/// Guest memory.
pub(super) const RAM: &str = "ram";
/// The state of devices.
pub(super) const STATE: &str = "state";
const ABOUT: &str = "snapshot.json";
/// Largest description that is read.
const ABOUT_BYTES: u64 = 1 << 20;
/// Largest state that is read.
const STATE_BYTES: u64 = 512 << 20;

/// What a snapshot is of, for people and for [`Snapshots::open`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Where the kernel came from, in the words of whoever made it.
    pub kernel: String,
    /// `uname -r`.
    pub release: String,
    /// The QEMU program.
    pub qemu: String,
    /// Its version.
    pub version: String,
    /// The program that really ran, where the one that was named is a wrapper.
    pub program: Option<String>,
    /// `kvm` or `tcg`.
    pub accel: String,
    /// `-machine`
    pub machine: String,
    /// `-cpu`
    pub cpu: String,
    /// `-smp`
    pub smp: Option<String>,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// The guest's window, MiB.
    pub window_mib: u64,
    /// The kernel's command line.
    pub command_line: String,
    /// Modules that were loaded before it was saved.
    pub modules: Vec<String>,
    /// When it was made: nanoseconds since 1970.
    pub made_ns: u64,
    /// How long booting took, milliseconds.
    pub boot_ms: u64,
    /// What the boot said of the kernel's health.
    pub health: Vec<Finding>,
    /// `ram` as it was left.
    pub ram: String,
    /// `state` as it was left.
    pub state: String,
}

/// A snapshot, open: it stays usable whatever happens to its name.
#[derive(Debug)]
pub struct Snapshot {
    /// What it is of.
    pub about: About,
    /// Guest memory.
    pub ram: File,
    /// The state of devices.
    pub state: Vec<u8>,
}

/// One line of `bootling warm ls`.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// What it is of.
    pub about: About,
    /// When it was last used.
    pub used: SystemTime,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// Whether it is as it was left.
    pub intact: bool,
}

/// The snapshots in a cache.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a>(pub &'a Cache);

impl Snapshots<'_> {
    /// The snapshot of this key, if it is there and undamaged. Counts as a use.
    pub fn open(self, key: &Key) -> Result<Option<Snapshot>, CacheError> {
        let Some(directory) = self.0.get(key)? else { return Ok(None) };
        let snapshot = read(&directory);
        if snapshot.is_none() {
            self.0.discard(key)?;
        }
        Ok(snapshot)
    }

    /// All of them, used last first.
    pub fn list(self) -> Result<Vec<Listed>, CacheError> {
        let listed = self.0.keys()?.into_iter().filter_map(|key| {
            let (directory, used) = self.0.peek(&key)?;
            let about = about(&directory)?;
            let files = [RAM, STATE, ABOUT].map(|name| fs::symlink_metadata(directory.join(name)).ok());
            let bytes = files.iter().flatten().map(|file| std::os::unix::fs::MetadataExt::blocks(file) * 512).sum();
            let [ram, state, _] = &files;
            let is =
                |file: &Option<fs::Metadata>, stamp: &str| file.as_ref().is_some_and(|file| stamp_of(file) == stamp);
            let intact = is(ram, &about.ram) && is(state, &about.state);
            Some(Listed { key, about, used, bytes, intact })
        });
        Ok(listed.collect())
    }
}

impl Snapshot {
    /// How old it is, by the host's clock.
    pub fn age(&self) -> Age {
        let made = UNIX_EPOCH + Duration::from_nanos(self.about.made_ns);
        Age(SystemTime::now().duration_since(made).unwrap_or_default())
    }
}

/// Describes what stands in a directory, as the last thing that is written there.
pub(super) fn describe(directory: &Path, about: About) -> io::Result<()> {
    let stamp = |name: &str| fs::symlink_metadata(directory.join(name)).map(|file| stamp_of(&file));
    let about = About { ram: stamp(RAM)?, state: stamp(STATE)?, ..about };
    let text = serde_json::to_vec_pretty(&about).map_err(io::Error::other)?;
    fs::write(directory.join(ABOUT), text)
}

fn stamp_of(metadata: &fs::Metadata) -> String {
    Stamp::of(metadata).to_string()
}

fn about(directory: &Path) -> Option<About> {
    let mut text = Vec::new();
    File::open(directory.join(ABOUT)).ok()?.take(ABOUT_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// `None` if anything of it is missing or not as it was left.
fn read(directory: &Path) -> Option<Snapshot> {
    let about = about(directory)?;
    // QEMU opens memory for reading and writing; what it maps is private.
    let ram = File::options().read(true).write(true).open(directory.join(RAM)).ok()?;
    let file = File::open(directory.join(STATE)).ok()?;
    let is = |file: &File, stamp: &str| file.metadata().is_ok_and(|found| stamp_of(&found) == stamp);
    if !is(&ram, &about.ram) || !is(&file, &about.state) {
        return None;
    }
    let mut state = Vec::new();
    file.take(STATE_BYTES).read_to_end(&mut state).ok()?;
    Some(Snapshot { about, ram, state })
}

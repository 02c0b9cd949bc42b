//! Snapshots in the cache: a directory with the guest's memory (`ram`), the state of its devices (`state`), and a description
//! (`snapshot.json`).
//!
//! Both files must have the identity that was recorded when they were written, which changes with every write. A damaged snapshot
//! counts as missing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Age, memory};
use crate::cache::{Cache, CacheError, Key, Stamp};
use crate::guest::health::Finding;

/// Guest memory.
pub(super) const RAM: &str = "ram";
/// Device state.
pub(super) const STATE: &str = "state";
const ABOUT: &str = "snapshot.json";
/// Maximum size of the description.
const ABOUT_BYTES: u64 = 1 << 20;
/// Maximum size of the device state.
const STATE_BYTES: u64 = 512 << 20;

/// Description of a snapshot, for users and for `Snapshots::open`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Origin of the kernel, in the words of the user who made the snapshot.
    pub kernel: String,
    /// `uname -r`.
    pub release: String,
    /// The QEMU program.
    pub qemu: String,
    /// Its version.
    pub version: String,
    /// The program that actually ran, if the named one is a wrapper.
    pub(crate) program: Option<String>,
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
    /// Modules loaded before the guest was saved.
    pub modules: Vec<String>,
    /// Creation time, nanoseconds since 1970.
    pub made_ns: u64,
    /// Duration of the boot, milliseconds.
    pub boot_ms: u64,
    /// Health findings of the boot.
    pub(crate) health: Vec<Finding>,
    /// The file of its kernel; `None` in snapshots of earlier versions.
    #[serde(default)]
    pub(crate) kernel_file: Option<KernelFile>,
    /// Identity of `ram`.
    pub(crate) ram: String,
    /// Identity of `state`.
    pub(crate) state: String,
}

/// The file that a snapshot's kernel was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KernelFile {
    path: String,
    /// Its identity, which changes with every write.
    stamp: String,
}

impl KernelFile {
    /// Returns the file at a path; `None` if it cannot be recorded.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Some(Self { path: path.to_str()?.to_owned(), stamp: stamp_of(&fs::metadata(path).ok()?) })
    }
}

/// An open snapshot, usable even if it is removed from the cache.
#[derive(Debug)]
pub struct Snapshot {
    /// Its description.
    pub(crate) about: About,
    /// Guest memory.
    pub(crate) ram: File,
    /// Device state.
    pub(crate) state: Vec<u8>,
}

/// A snapshot as `bootling warm ls` lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its description.
    pub about: About,
    /// Last use.
    pub used: SystemTime,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// True if it is undamaged.
    pub intact: bool,
}

/// The snapshots in a cache.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a>(pub &'a Cache);

impl Snapshots<'_> {
    /// Opens the snapshot with this key, if it exists and is undamaged. Counts as a use.
    pub(crate) fn open(self, key: &Key) -> Option<Snapshot> {
        let directory = self.0.get(key)?;
        let snapshot = read(&directory);
        if snapshot.is_none() {
            self.0.discard_holder(&directory);
        }
        snapshot
    }

    /// Removes the snapshots of kernels whose files have been replaced or removed. Otherwise, building a kernel again and
    /// again would fill the cache with snapshots that no run needs.
    pub(crate) fn discard_obsolete(self) -> Result<(), CacheError> {
        for Listed { key, about, .. } in self.list()? {
            if about.kernel_file.is_some_and(|file| KernelFile::of(Path::new(&file.path)).as_ref() != Some(&file)) {
                self.0.discard(&key)?;
            }
        }
        Ok(())
    }

    /// Lists all snapshots, the last used first.
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
    /// Its age, by the host's clock.
    pub(crate) fn age(&self) -> Age {
        let made = UNIX_EPOCH + Duration::from_nanos(self.about.made_ns);
        Age(SystemTime::now().duration_since(made).unwrap_or_default())
    }
}

/// Writes the description, the last file of a snapshot.
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

/// Opens a snapshot. Returns `None` if any part is missing or changed.
fn read(directory: &Path) -> Option<Snapshot> {
    let about = about(directory)?;
    // QEMU opens memory for reading and writing; its mapping is private.
    let path = directory.join(RAM);
    let (ram, is_writable) = match File::options().read(true).write(true).open(&path) {
        Ok(ram) => (ram, true),
        Err(_) => (File::open(&path).ok()?, false),
    };
    let file = File::open(directory.join(STATE)).ok()?;
    let is = |file: &File, stamp: &str| file.metadata().is_ok_and(|found| stamp_of(&found) == stamp);
    if !is(&ram, &about.ram) || !is(&file, &about.state) {
        return None;
    }
    let mut state = Vec::new();
    file.take(STATE_BYTES).read_to_end(&mut state).ok()?;
    let ram = if is_writable { ram } else { in_memory(ram).ok()? };
    Some(Snapshot { about, ram, state })
}

/// Copies the memory of a guest from a file that cannot be written.
fn in_memory(ram: File) -> io::Result<File> {
    let len = ram.metadata()?.len();
    let copy = File::from(memory::empty("ram", len)?);
    memory::copy(&ram.into(), len, &copy)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::{About, KernelFile, RAM, STATE, Snapshots, describe};
    use crate::cache::{Cache, CacheError, Key, Sealing};
    use std::fs;
    use std::path::Path;

    fn about(kernel: &Path) -> About {
        let json = serde_json::json!({
            "kernel": "", "release": "", "qemu": "", "version": "", "program": null, "accel": "", "machine": "",
            "cpu": "", "smp": null, "memory_mib": 0, "window_mib": 0, "command_line": "", "modules": [], "made_ns": 0,
            "boot_ms": 0, "health": [], "ram": "", "state": ""
        });
        let about: About =
            serde_json::from_value(json).expect("a description without a kernel file, of an earlier version");
        About { kernel_file: KernelFile::of(kernel), ..about }
    }

    #[test]
    fn the_snapshot_of_a_kernel_that_was_replaced_or_removed_is_discarded() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::at(dir.path().join("cache"), 1 << 20).expect("a cache");
        let [kept, replaced, removed] = ["kept", "replaced", "removed"].map(|name| {
            let kernel = dir.path().join(name);
            fs::write(&kernel, "kernel").expect("written");
            let key = Key::of("test", &[name.as_bytes()]);
            let made = cache.tree::<CacheError>(&key, Sealing::Stamps, |directory| {
                for file in [RAM, STATE] {
                    fs::write(directory.join(file), "x").expect("written");
                }
                describe(directory, about(&kernel)).expect("written");
                Ok(())
            });
            made.expect("an entry");
            (key, kernel)
        });
        fs::write(&replaced.1, "a newer kernel").expect("written");
        fs::remove_file(&removed.1).expect("removed");
        let snapshots = Snapshots(&cache);
        assert_eq!(snapshots.list().expect("a list").len(), 3);
        snapshots.discard_obsolete().expect("discarded");
        let left: Vec<Key> = snapshots.list().expect("a list").into_iter().map(|snapshot| snapshot.key).collect();
        assert_eq!(left, [kept.0]);
    }
}

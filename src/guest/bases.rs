//! Bases of a template: their initrds and the keys of their snapshots, built once for all commands.
//!
//! The kernel and its module tables are used as they were when the template was made. Everything else that a key
//! depends on (QEMU and its files, the machine, the kernel image) is checked for each command, so that a snapshot is
//! never restored for a different configuration.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use super::VmError;
use super::devices::GuestDevices;
use super::snapshot::key::{Ingredients, key};
use crate::cache::Key;
use crate::root::request::ModuleRequest;

/// Maximum number of cached bases: commands differ in little more than the size of their windows.
const MOST: usize = 8;

/// Cached bases. Threads may share them.
#[derive(Debug, Default)]
pub(super) struct Bases(Mutex<Vec<Made>>);

/// A base.
#[derive(Debug)]
struct Made {
    modules: Vec<ModuleRequest>,
    devices: GuestDevices,
    window_mib: u64,
    initrd: OwnedFd,
    /// The last key, with its ingredients.
    key: Option<(Ingredients, Key)>,
}

impl Bases {
    /// Returns the initrd of a base with these modules, devices and this window size, built with `make` if it is
    /// missing, and the key of its snapshot.
    pub(super) fn get(
        &self,
        modules: &[ModuleRequest],
        devices: &GuestDevices,
        window_mib: u64,
        ingredients: Ingredients,
        make: impl FnOnce() -> Result<OwnedFd, VmError>,
    ) -> Result<(OwnedFd, Key), VmError> {
        let reading = || VmError::io("read", "the base's initrd");
        // Other threads wait for the same base. A thread that panics leaves no incomplete entry.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |base: &Made| base.window_mib == window_mib && base.modules == modules && base.devices == *devices;
        let known = all.iter().position(is_it);
        let at = if let Some(at) = known {
            at
        } else {
            let initrd = make()?;
            if all.len() == MOST {
                all.remove(0);
            }
            all.push(Made { modules: modules.to_vec(), devices: devices.clone(), window_mib, initrd, key: None });
            all.len() - 1
        };
        let base = &mut all[at];
        let initrd = base.initrd.try_clone().map_err(reading())?;
        if let Some((of, key)) = &base.key
            && *of == ingredients
        {
            return Ok((initrd, key.clone()));
        }
        let key = key(&ingredients, &initrd).map_err(reading())?;
        base.key = Some((ingredients, key.clone()));
        Ok((initrd, key))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bases, MOST};
    use crate::cache::Key;
    use crate::guest::VmError;
    use crate::guest::devices::GuestDevices;
    use crate::guest::snapshot::key::{Ingredients, key};
    use crate::root::request::ModuleRequest;
    use std::cell::Cell;
    use std::io::Write;
    use std::os::fd::OwnedFd;

    fn file(text: &str) -> OwnedFd {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        file.into()
    }

    fn of(words: &[&str]) -> Ingredients {
        Ingredients(words.iter().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn each_base_is_built_once_and_its_key_follows_its_ingredients() {
        let bases = Bases::default();
        let count = Cell::new(0);
        let get = |modules: &[ModuleRequest], window, words: &[&str], text: &str| -> Key {
            let make = || {
                count.set(count.get() + 1);
                Ok(file(text))
            };
            bases.get(modules, &GuestDevices::default(), window, of(words), make).expect("a base").1
        };
        let is = |words: &[&str], text: &str| key(&of(words), &file(text)).expect("a key");
        let modules = [ModuleRequest { name: "loop".into(), params: "".into() }];
        assert_eq!(get(&[], 256, &["qemu 1"], "pid 1"), is(&["qemu 1"], "pid 1"));
        // A change of the base's contents is not detected, a change of the machine is.
        assert_eq!(get(&[], 256, &["qemu 1"], "other"), is(&["qemu 1"], "pid 1"));
        assert_eq!(get(&[], 256, &["qemu 2"], "other"), is(&["qemu 2"], "pid 1"));
        assert_eq!(get(&[], 256, &["qemu 1"], "other"), is(&["qemu 1"], "pid 1"));
        assert_eq!(count.get(), 1);
        assert_eq!(get(&modules, 256, &["qemu 1"], "loop"), is(&["qemu 1"], "loop"));
        assert_eq!(get(&modules, 512, &["qemu 1"], "large"), is(&["qemu 1"], "large"));
        assert_eq!(count.get(), 3);
    }

    #[test]
    fn a_failed_build_is_retried_and_the_cache_is_bounded() {
        let (bases, none) = (Bases::default(), &GuestDevices::default());
        let failed = || Err(VmError::io("create", "it")(std::io::Error::other("no")));
        bases.get(&[], none, 256, of(&[]), failed).expect_err("it fails");
        for window in 0..2 * MOST as u64 {
            bases.get(&[], none, window, of(&[]), || Ok(file("x"))).expect("made");
        }
        assert_eq!(bases.0.lock().expect("sound").len(), MOST);
        bases.get(&[], none, 2 * MOST as u64 - 1, of(&[]), failed).expect("it is there");
        bases.get(&[], none, 0, of(&[]), failed).expect_err("it is gone");
    }
}

//! The kernel module `tests/guest/misbehave`.

use std::path::PathBuf;

use super::guest_modules;
pub(crate) use super::guest_modules::KERNEL;

/// Returns the module and the kernel package for the test `name`; prints the reason and returns `None` if the module
/// cannot be built or no guest can be booted.
pub(crate) fn or_skip(name: &str) -> Option<(PathBuf, PathBuf)> {
    let (modules, package) = guest_modules::or_skip(name, "misbehave")?;
    Some((modules.join("misbehave.ko"), package))
}

//! Memory budget for all guests together, so that the host does not start to swap.
//!
//! The budget is three quarters of the available memory (`MemAvailable` in `/proc/meminfo`, proc(5)), or of the rest of
//! a control group's limit if that is less (`Documentation/admin-guide/cgroup-v2.rst`; `memory.limit_in_bytes` in
//! version 1).

use std::fs;
use std::path::{Path, PathBuf};

/// QEMU's own memory, MiB: about 60 for the process, plus translated code.
const QEMU_MIB: u64 = 128;
/// Budget if the available memory is unknown, MiB.
const FALLBACK_MIB: u64 = 2048;

/// Returns the memory use of a booted guest that has touched all of its memory, MiB.
pub(crate) const fn cold_mib(memory_mib: u64) -> u64 {
    memory_mib + QEMU_MIB
}

/// Returns the expected memory use of a restored guest, MiB. It shares unwritten pages with all guests of its snapshot.
/// `true` uses about 60 MiB; half of the memory leaves room for real tests.
pub(crate) const fn warm_mib(memory_mib: u64) -> u64 {
    memory_mib / 2 + QEMU_MIB
}

/// Returns the current memory budget for guests, MiB.
pub(crate) fn memory_mib() -> u64 {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let free = read(Path::new("/proc/meminfo")).and_then(|text| mem_available(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let allowed = cgroup_directories(&groups)
        .iter()
        .filter_map(|directory| cgroup_available(|name| read(&directory.join(name))))
        .min();
    let bytes = match (free, allowed) {
        (Some(free), Some(allowed)) => free.min(allowed),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => return FALLBACK_MIB,
    };
    (bytes / 4 * 3) >> 20
}

/// Parses `MemAvailable`, bytes.
fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Returns the control group directories that may limit this process's memory, from `/proc/self/cgroup`: its own groups
/// and all of their ancestors.
fn cgroup_directories(groups: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let top = match controllers {
            "" => "/sys/fs/cgroup",
            controllers if controllers.split(',').any(|name| name == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        let inside = Path::new(path.trim_start_matches('/'));
        found.extend(inside.ancestors().map(|inside| Path::new(top).join(inside)));
    }
    found
}

/// Returns the unused memory of a control group, bytes; `None` if it has no limit. Reclaimable file pages count as
/// unused.
fn cgroup_available(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |name: &str| read(name).and_then(|text| text.trim().parse::<u64>().ok());
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    // Version 1 reports "no limit" as a number larger than any machine's memory.
    if limit >= 1 << 60 {
        return None;
    }
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes")).unwrap_or(0);
    let files = read("memory.stat").unwrap_or_default();
    let files = files.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if matches!(name, "inactive_file" | "total_inactive_file") { value.parse::<u64>().ok() } else { None }
    });
    Some(limit.saturating_sub(used.saturating_sub(files.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::{cgroup_available, cgroup_directories, mem_available, memory_mib};
    use std::path::Path;

    #[test]
    fn available_memory_is_memavailable_or_the_rest_of_a_group_limit() {
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(mem_available("MemTotal: 9 kB\n"), None);
        let two = |name: &str| match name {
            "memory.max" => Some("1000\n".to_owned()),
            "memory.current" => Some("700\n".to_owned()),
            "memory.stat" => Some("anon 1\ninactive_file 200\n".to_owned()),
            _ => None,
        };
        assert_eq!(cgroup_available(two), Some(500));
        assert_eq!(cgroup_available(|name| (name == "memory.max").then(|| "max\n".to_owned())), None);
        assert_eq!(
            cgroup_available(|name| (name == "memory.limit_in_bytes").then(|| "9223372036854771712".to_owned())),
            None
        );
        assert!(memory_mib() > 0);
    }

    #[test]
    fn groups_of_both_versions_are_found_with_their_ancestors() {
        let text = "5:cpu:/x\n4:memory,foo:/docker/1\n0::/user.slice\nnonsense\n";
        let found = cgroup_directories(text);
        let expected = ["memory/docker/1", "memory/docker", "memory", "user.slice", ""];
        assert_eq!(found, expected.map(|path| Path::new("/sys/fs/cgroup").join(path)));
    }
}

//! Mounts file systems, and creates nodes and links in `/dev`.
//!
//! File systems that the kernel lacks are skipped silently, since test kernels may lack any of them.

use crate::console;
use crate::file::read_start;
use crate::syscall::Errno;
use crate::syscall::file::{
    WRITE_ONLY, make_device, make_directory, make_link, mount, open, remove_directory, set_mode, unmount, write,
};
use crate::syscall::process::{change_directory, change_root};
use core::ffi::CStr;

pub const READ_ONLY_MOUNT: usize = 1;
pub const NOSUID: usize = 2;
pub const NODEV: usize = 4;
const NOEXEC: usize = 8;
const KERNELS: usize = NOSUID | NODEV | NOEXEC;
const BIND: usize = 4096;
pub const MOVE: usize = 8192;

/// A mount: file system type, mount point, flags, options.
type Mount = (&'static CStr, &'static CStr, usize, &'static CStr);

/// Required to find and load the channel's modules.
const FIRST: [Mount; 3] =
    [(c"proc", c"/proc", KERNELS, c""), (c"sysfs", c"/sys", KERNELS, c""), (c"devtmpfs", c"/dev", NOSUID, c"mode=755")];

/// Required by commands; mounted while the host answers.
const COMMON: [Mount; 2] = [
    (c"devpts", c"/dev/pts", NOSUID | NOEXEC, c"ptmxmode=666,mode=620,gid=5"),
    (c"tmpfs", c"/dev/shm", NOSUID | NODEV, c"mode=1777"),
];

/// Mount points that move to another root. Its own directories of these names belong to another kernel and its processes.
pub const KERNELS_OWN: [&CStr; 4] = [c"/proc", c"/sys", c"/dev", c"/run"];

/// Mounted only if the directory is empty or missing in the image, so that files packed into `/tmp` stay visible.
pub const SCRATCH: [(&CStr, &CStr, usize); 2] = [(c"/run", c"mode=755", 0o755), (c"/tmp", c"mode=1777", 0o1777)];

/// The kernel creates these directories only if it has the file system.
const OPTIONAL: [Mount; 6] = [
    (c"cgroup2", c"/sys/fs/cgroup", KERNELS, c"nsdelegate"),
    (c"debugfs", c"/sys/kernel/debug", KERNELS, c""),
    (c"tracefs", c"/sys/kernel/tracing", KERNELS, c""),
    (c"securityfs", c"/sys/kernel/security", KERNELS, c""),
    (c"configfs", c"/sys/kernel/config", KERNELS, c""),
    (c"bpf", c"/sys/fs/bpf", KERNELS, c"mode=700"),
];

/// Directories that exist only with these file systems.
const DEVICES: [Mount; 2] =
    [(c"mqueue", c"/dev/mqueue", KERNELS, c""), (c"hugetlbfs", c"/dev/hugepages", NOSUID | NODEV, c"")];

/// Name of the program that the kernel runs to load a module.
const MODPROBE: &CStr = c"/proc/sys/kernel/modprobe";

const LINKS: [(&CStr, &CStr); 4] = [
    (c"/proc/self/fd", c"/dev/fd"),
    (c"/proc/self/fd/0", c"/dev/stdin"),
    (c"/proc/self/fd/1", c"/dev/stdout"),
    (c"/proc/self/fd/2", c"/dev/stderr"),
];

/// Nodes for kernels without devtmpfs (Documentation/admin-guide/devices.txt): path, mode, major, minor.
const NODES: [(&CStr, usize, usize, usize); 13] = [
    (c"/dev/console", 0o600, 5, 1),
    (c"/dev/null", 0o666, 1, 3),
    (c"/dev/zero", 0o666, 1, 5),
    (c"/dev/full", 0o666, 1, 7),
    (c"/dev/random", 0o666, 1, 8),
    (c"/dev/urandom", 0o666, 1, 9),
    (c"/dev/kmsg", 0o644, 1, 11),
    (c"/dev/tty", 0o666, 5, 0),
    (c"/dev/ptmx", 0o666, 5, 2),
    (c"/dev/ttyS0", 0o600, 4, 64),
    (c"/dev/ttyS1", 0o600, 4, 65),
    (c"/dev/hvc0", 0o600, 229, 0),
    (c"/dev/ttyAMA0", 0o600, 204, 64),
];

/// Makes the root directory a mount below the kernel's rootfs: `pivot_root(2)` refuses the rootfs itself, which containers
/// and sandboxes need (`fs/namespace.c`, `mnt_has_parent`).
pub fn own_root() {
    // Where the job is: in every image.
    const PLACE: &CStr = c"/.bootling";
    if mount(c"/", PLACE, BIND, c"").is_err() {
        return;
    }
    let moved = change_directory(PLACE)
        .and_then(|()| mount(c".", c"/", MOVE, c""))
        .and_then(|()| change_root(c"."));
    if moved.is_err() {
        let _ = change_directory(c"/");
        let _ = unmount(PLACE);
    }
}

/// Mounts the file systems that everything else requires.
pub fn mount_first() {
    for (kind, at, flags, options) in FIRST {
        let Err(errno) = mount_at(kind, at, flags, options) else {
            continue;
        };
        // Already mounted by the kernel (CONFIG_DEVTMPFS_MOUNT).
        if errno == Errno::BUSY {
            continue;
        }
        if at == c"/dev" {
            make_nodes();
        } else {
            console::complain(b"failed to mount", at.to_bytes(), errno);
        }
    }
}

/// Mounts the file systems that commands expect.
pub fn mount_rest() {
    // The kernel's rootfs is world-writable (`fs/ramfs`, tmpfs: 1777), which sshd, sudo and others refuse.
    let _ = set_mode(c"/", 0o755);
    for (target, path) in LINKS {
        // May exist in the image.
        let _ = make_link(target, path);
    }
    for (kind, at, flags, options) in COMMON {
        let _ = make_directory(at, 0o755);
        let _ = mount(kind, at, flags, options);
    }
    for (at, options, mode) in SCRATCH {
        if matches!(remove_directory(at), Ok(()) | Err(Errno::NOENT)) && make_directory(at, mode).is_ok() {
            let _ = mount(c"tmpfs", at, NOSUID | NODEV, options);
        }
    }
    for (kind, at, flags, options) in OPTIONAL {
        let _ = mount(kind, at, flags, options);
    }
    for (kind, at, flags, options) in DEVICES {
        if make_directory(at, 0o755).is_ok() && mount(kind, at, flags, options).is_err() {
            let _ = remove_directory(at);
        }
    }
}

/// Calls `prepare` while the kernel starts no program to load a module. What pid 1 does may request one, even of a file
/// system that the kernel has (`kernel/bpf/inode.c`), and an image may contain any `modprobe`.
pub fn without_modprobe<T>(prepare: impl FnOnce() -> T) -> T {
    let mut modprobe = [0; 256];
    let modprobe = read_start(MODPROBE, &mut modprobe);
    set_modprobe(b"\n");
    let prepared = prepare();
    set_modprobe(modprobe);
    prepared
}

/// Sets the program that the kernel runs to load a module. A kernel without modules has none.
pub fn set_modprobe(program: &[u8]) {
    let _ = open(MODPROBE, WRITE_ONLY).and_then(|file| write(&file, program));
}

fn mount_at(kind: &CStr, at: &CStr, flags: usize, options: &CStr) -> Result<(), Errno> {
    match mount(kind, at, flags, options) {
        Err(Errno::NOENT) => {
            make_directory(at, 0o755)?;
            mount(kind, at, flags, options)
        }
        other => other,
    }
}

fn make_nodes() {
    for (path, mode, major, minor) in NODES {
        // May exist in the image.
        let _ = make_device(path, mode, major, minor);
    }
}

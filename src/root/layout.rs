//! Base layout of every image: mount points, two device nodes, the links of a merged `/usr`, the users root and nobody,
//! the host name localhost.
//!
//! Device nodes require no privileges here: an archive is bytes. Without `/dev/console`, pid 1 starts with closed
//! standard streams (init/main.c, `console_on_rootfs`). Minor numbers: Documentation/admin-guide/devices.txt.

use super::directory::Root;
use super::fact::{Content, Node, Why};
use super::gather::Gathered;
use crate::format::archive_path::ArchivePath;

const DIRS: [(&str, u16); 10] = [
    ("/dev", 0o755),
    ("/proc", 0o755),
    ("/sys", 0o755),
    ("/run", 0o755),
    ("/tmp", 0o1777),
    ("/root", 0o700),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/var/tmp", 0o1777),
];

/// Files that programs expect; files that the user copies to these paths replace them.
const FILES: [(&str, &str); 3] = [
    // For id, whoami, ssh, login and many daemons, which look users up. `tty` is the group of terminals (pid 1 mounts
    // devpts with this group).
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    ("/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    // C libraries read it without an nsswitch.conf, too.
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 bootling\n"),
];

/// Directories that are links on systems with a merged `/usr`.
const MERGED: [&str; 5] = ["/bin", "/sbin", "/lib", "/usr/bin", "/usr/sbin"];

/// Adds the base layout. Other `lib*` links are added with the files reached through them.
pub(crate) fn base(root: &Root, out: &mut Gathered<'_>) {
    for (path, mode) in DIRS {
        out.add(ArchivePath::new(path), Node::Dir { mode }, Why::Base);
    }
    let console = Node::Char { mode: 0o600, major: 5, minor: 1 };
    out.add(ArchivePath::new("/dev/console"), console, Why::Base);
    let null = Node::Char { mode: 0o666, major: 1, minor: 3 };
    out.add(ArchivePath::new("/dev/null"), null, Why::Base);
    for path in MERGED {
        if let Some(found) = root.find(&ArchivePath::new(path)).filter(|found| found.metadata.is_dir()) {
            if !found.hops.is_empty() {
                // The link must not dangle, even if the image has no files in its target.
                out.add(found.real.clone(), Node::Dir { mode: 0o755 }, Why::Base);
            }
            for hop in found.hops {
                let target = std::os::unix::ffi::OsStringExt::into_vec(hop.target.into_os_string());
                out.add(hop.link, Node::Symlink { target }, Why::Base);
            }
        }
    }
    for (path, text) in FILES {
        let content = Content::Static(text.as_bytes());
        out.add(ArchivePath::new(path), Node::File { mode: 0o644, content, hardlink: None }, Why::Default);
    }
}

/// Adds pid 1's `modprobe`, unless the image has another one.
pub(crate) fn modprobe(root: &Root, out: &mut Gathered<'_>) {
    let sbin = ArchivePath::new("/sbin");
    let sbin = root.find(&sbin).map_or(sbin, |found| found.real);
    out.add(sbin.join("modprobe"), Node::Symlink { target: b"/init".to_vec() }, Why::Default);
}

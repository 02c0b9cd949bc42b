//! Directories of the host for one command: mounts them, and starts the relay between the kernel and the host.
//!
//! Process 1 itself never uses a path below such a mount: if the host does not answer, only the command hangs. The command's
//! process mounts them, in a private mount namespace, before it executes its program. So nothing is left of them when
//! the command's processes have ended.

use crate::channel::open_port;
use crate::file_relay::{self, Relay};
use crate::job::Job;
use crate::line::Line;
use crate::mounts::{KERNELS_OWN, MOVE, NODEV, NOSUID, READ_ONLY_MOUNT};
use crate::path::Path;
use crate::protocol::files::{MAX_SHARES, PORT_NAME};
use crate::syscall::file::{Fd, READ_WRITE, exists, make_device, make_directory, mount, open, pipe, write};
use crate::syscall::process::{change_directory, change_root, end_process, fork, unshare_mounts};
use crate::syscall::{Errno, Result};
use core::ffi::CStr;

const DEVICE: &CStr = c"/dev/fuse";
/// Files of the image that cover the host's.
const IMAGE: &CStr = c"/.bootling/image";
/// The host's directory, read-only.
const LOWER: &CStr = c"/.bootling/lower";
/// The temporary file system that receives all changes.
const CHANGES: &CStr = c"/.bootling/changes";
const UPPER: &CStr = c"/.bootling/changes/upper";
const WORK: &CStr = c"/.bootling/changes/work";
/// The command's root, until it is moved.
const ROOT: &CStr = c"/.bootling/root";
/// Options of the overlay. Files of the image cover those of the host's directory.
const OVERLAY: &CStr =
    c"lowerdir=/.bootling/image:/.bootling/lower,upperdir=/.bootling/changes/upper,workdir=/.bootling/changes/work";

/// The relay, and the files that mounting requires.
pub struct Files {
    devices: [Option<Fd>; MAX_SHARES],
    /// Pipe to the relay: the number of each mounted share, one byte each.
    mounted: Fd,
    relay: usize,
}

/// A step that failed, and its object.
pub struct Failed {
    pub errno: Errno,
    pub subject: Line,
}

fn failed(subject: &[u8]) -> impl FnOnce(Errno) -> Failed {
    let subject = Line::new(subject);
    move |errno| Failed { errno, subject }
}

impl Files {
    /// Starts the relay, if the job has shares.
    pub fn start(job: &Job, stack: &mut [u8]) -> core::result::Result<Option<Self>, Failed> {
        let count = job.shares().count() + usize::from(job.has_root);
        if count == 0 {
            return Ok(None);
        }
        if !exists(DEVICE) {
            // Without devtmpfs (Documentation/admin-guide/devices.txt).
            let _ = make_device(DEVICE, 0o666, 10, 229);
        }
        let mut devices = [const { None }; MAX_SHARES];
        for slot in devices.get_mut(..count).ok_or(Errno::INVAL).map_err(failed(b"too many shares"))? {
            *slot = Some(open(DEVICE, READ_WRITE).map_err(failed(DEVICE.to_bytes()))?);
        }
        let port = open_port(PORT_NAME.as_bytes()).map_err(failed(b"the port for files"))?;
        let (mounts, mounted) = pipe().map_err(failed(b"a pipe"))?;
        let relay = Relay { devices: &devices, port: &port, mounts: &mounts };
        let relay = fork(0, stack, file_relay::run, &relay).map_err(failed(b"a process for files"))?;
        Ok(Some(Self { devices, mounted, relay }))
    }

    /// Mounts everything, and changes the root directory. Runs in the command's process.
    pub fn enter(&self, job: &Job) -> core::result::Result<(), Failed> {
        unshare_mounts().map_err(failed(b"a mount namespace"))?;
        let mut number = 0;
        if job.has_root {
            self.enter_root()?;
            number = 1;
        }
        for (writable, path) in job.shares() {
            let path = Path::join(&[path]).ok_or(Errno::INVAL).map_err(failed(path))?;
            make_parents(path.as_c().to_bytes());
            let flags = NOSUID | NODEV | if writable { 0 } else { READ_ONLY_MOUNT };
            self.mount(number, path.as_c(), flags).map_err(failed(path.as_c().to_bytes()))?;
            number += 1;
        }
        Ok(())
    }

    /// Mounts a share, and notifies the relay.
    fn mount(&self, number: usize, at: &CStr, flags: usize) -> Result<()> {
        let device = self.devices.get(number).and_then(Option::as_ref).ok_or(Errno::INVAL)?;
        let options = Line::new(b"fd=").number(device.number() as u64).text(
            b",rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=1048576",
        );
        let options = Path::join(&[options.bytes()]).ok_or(Errno::INVAL)?;
        mount(c"fuse", at, flags, options.as_c())?;
        write(&self.mounted, &[number as u8]).map(|_| ())
    }

    /// Makes the host's directory the root, below a temporary file system.
    fn enter_root(&self) -> core::result::Result<(), Failed> {
        for directory in [IMAGE, LOWER, CHANGES, ROOT] {
            let _ = make_directory(directory, 0o700);
        }
        self.mount(0, LOWER, READ_ONLY_MOUNT).map_err(failed(b"the root directory"))?;
        mount(c"tmpfs", CHANGES, 0, c"mode=755").map_err(failed(b"tmpfs, for the root directory"))?;
        for directory in [UPPER, WORK] {
            make_directory(directory, 0o755).map_err(failed(directory.to_bytes()))?;
        }
        mount(c"overlay", ROOT, 0, OVERLAY).map_err(failed(b"overlay, for the root directory"))?;
        for from in KERNELS_OWN {
            let to = Path::join(&[ROOT.to_bytes(), from.to_bytes()]).ok_or(Errno::INVAL);
            let to = to.map_err(failed(from.to_bytes()))?;
            // Exists in most roots.
            let _ = make_directory(to.as_c(), 0o755);
            mount(from, to.as_c(), MOVE, c"").map_err(failed(from.to_bytes()))?;
        }
        // As for pid 1's own root: `pivot_root` and user namespaces must work.
        change_directory(ROOT)
            .and_then(|()| mount(c".", c"/", MOVE, c""))
            .and_then(|()| change_root(c"."))
            .map_err(failed(b"the root directory"))
    }

    /// Closes what only the command's process needed. From now on the end of the relay aborts all requests.
    pub fn close(&mut self) {
        self.devices = [const { None }; MAX_SHARES];
    }

    /// Ends the relay. What still waits for the host fails.
    pub fn stop(mut self) {
        self.close();
        end_process(self.relay);
    }
}

/// Creates a directory and its parents.
fn make_parents(path: &[u8]) {
    for end in (1..=path.len()).filter(|&end| path.get(end).is_none_or(|&byte| byte == b'/')) {
        if let Some(parent) = path.get(..end).and_then(|parent| Path::join(&[parent])) {
            let _ = make_directory(parent.as_c(), 0o755);
        }
    }
}

//! Prepares the machine for the command.

use crate::channel::{Channel, Gone};
use crate::console;
use crate::disks;
use crate::file;
use crate::helper_socket::Helpers;
use crate::job::Job;
use crate::modules::Modules;
use crate::mounts;
use crate::network;
use crate::syscall::Errno;
use crate::syscall::network::Interface;
use crate::syscall::process::{limit_files, set_host_name, sleep, take_ctrl_alt_del, uptime};

/// Time limit for block devices to appear, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;
/// Polling interval, in nanoseconds.
const NAP: u64 = 1_000_000;
/// Limits of open files (soft, hard): enough for servers, but not so many that programs which close all descriptors
/// take long.
const FILES: (u64, u64) = (65_536, 524_288);

/// Does everything that does not need the host's `Go`. Returns the helpers' socket; a guest without a channel has none.
pub fn prepare(job: &mut Job, modules: &mut Modules, channel: Option<&mut Channel>) -> Result<Helpers, Gone> {
    let has_host = channel.is_some();
    modules.load_rest(job, channel)?;
    if job.verbose {
        console::say(b"mounting file systems");
    }
    let helpers = mounts::without_modprobe(|| {
        mounts::mount_rest();
        // A kernel without networking has no loopback interface. One whose IPv4 is a module requests that, and no process
        // would answer.
        let _ = Interface::open(b"lo").and_then(|interface| interface.up());
        if has_host { Helpers::open() } else { Helpers::default() }
    });
    if let Some(name) = job.host_name
        && let Err(errno) = set_host_name(name)
    {
        console::complain(b"failed to set the host name", name, errno);
    }
    let (soft, hard) = FILES;
    let _ = limit_files(soft, hard);
    let _ = take_ctrl_alt_del();
    Ok(helpers)
}

/// Waits for the disks of the job, and brings up its network interface.
pub fn prepare_devices(job: &Job) -> Result<(), Missing> {
    wait_for_block_devices(job).map_err(|(found, errno)| Missing::Disks(found, job.block_devices, errno))?;
    disks::wait(job).map_err(|(found, errno)| Missing::Disks(found, job.disk_count, errno))?;
    mounts::without_modprobe(|| network::up(job)).map_err(Missing::Network)
}

/// A device that is missing.
pub enum Missing {
    /// Disks: the number found, and the number in the job.
    Disks(u64, u64, Errno),
    /// The network interface.
    Network(Errno),
}

/// Waits for the number of block devices in the job. On a timeout, returns the number found.
fn wait_for_block_devices(job: &Job) -> Result<(), (u64, Errno)> {
    if job.block_devices == 0 {
        return Ok(());
    }
    if job.verbose {
        console::say(b"waiting for block devices");
    }
    let begun = uptime();
    loop {
        let mut found = 0;
        file::any_name(c"/sys/block", |name| {
            let made_up = name.starts_with(b"loop") || name.starts_with(b"ram");
            found += u64::from(!made_up);
            found >= job.block_devices
        });
        if found >= job.block_devices {
            return Ok(());
        }
        if uptime().saturating_sub(begun) > PATIENCE {
            return Err((found, Errno::TIMEDOUT));
        }
        sleep(NAP);
    }
}

/// Reads `/proc/sys/kernel/tainted`.
pub fn taint() -> u64 {
    let mut buffer = [0; 24];
    file::number(file::read_start(c"/proc/sys/kernel/tainted", &mut buffer)).unwrap_or(0)
}

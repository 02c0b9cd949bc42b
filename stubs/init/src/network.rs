//! Configures the network interface: its address, netmask and default route.

use crate::file::{number, read_start};
use crate::job::Job;
use crate::protocol::job::NETWORK;
use crate::path::Path;
use crate::syscall::network::Interface;
use crate::syscall::process::{sleep, uptime};
use crate::syscall::{Errno, Result};

/// Time limit for the interface to appear and to have a carrier, in nanoseconds.
const PATIENCE: u64 = 10_000_000_000;
/// Polling interval, in nanoseconds.
const NAP: u64 = 1_000_000;
const NET: &[u8] = b"/sys/class/net/";

/// Brings up the interface of the job, if it has one.
pub fn up(job: &Job) -> Result<()> {
    let Some(wanted) = job.network else { return Ok(()) };
    let begun = uptime();
    let wait_for = |attribute: &[u8], value: Option<u64>| loop {
        let mut buffer = [0; 24];
        let path = Path::join(&[NET, NETWORK.as_bytes(), attribute]).ok_or(Errno::INVAL)?;
        let found = number(read_start(path.as_c(), &mut buffer));
        if found.is_some() && (value.is_none() || value == found) {
            return Ok(());
        }
        if uptime().saturating_sub(begun) > PATIENCE {
            return Err(Errno::NODEV);
        }
        sleep(NAP);
    };
    wait_for(b"/ifindex", None)?;
    let interface = Interface::open(NETWORK.as_bytes())?;
    let &[a, b, c, d, e, f, g, h, i, j, k, l] = wanted else { return interface.up() };
    interface.set_address([a, b, c, d])?;
    interface.set_netmask([e, f, g, h])?;
    interface.up()?;
    // Packets that are sent before would be lost, and sent again after a second.
    let _: Result<()> = wait_for(b"/carrier", Some(1));
    match interface.add_default_route([i, j, k, l]) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

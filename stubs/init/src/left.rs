//! What a command leaves behind: its processes are counted, named, killed; and those that cannot be killed are told of.

use crate::channel::{Channel, Gone};
use crate::file;
use crate::line::Line;
use crate::path::Path;
use crate::protocol::frame::ToHost;
use crate::syscall::process::{kill_all, reap_all, sleep, uptime};

/// How long those that are about to end anyway may take: whoever started them does not always wait for them.
const GRACE: u64 = 20_000_000;
/// How long a process may take to die once it is killed. One that waits for the kernel (state D) does not, until it has that. Long, as
/// processors of a busy host may be: it passes only where one is stuck.
const PATIENCE: u64 = 3_000_000_000;
/// Between two looks.
const NAP: u64 = 1_000_000;
/// Processes that are named.
const NAMED: u32 = 32;

/// Ends what the command with this number has left behind. Costs one system call where that is nothing.
pub fn end(channel: &mut Channel, command: usize) -> Result<(), Gone> {
    if !reap_all() || !any_after(GRACE) {
        return Ok(());
    }
    tell(channel, command, false)?;
    kill_all();
    if any_after(PATIENCE) {
        tell(channel, command, true)?;
    }
    Ok(())
}

/// Whether there is still any child after so long.
fn any_after(patience: u64) -> bool {
    let begun = uptime();
    while reap_all() {
        if uptime().saturating_sub(begun) > patience {
            return true;
        }
        sleep(NAP);
    }
    false
}

/// Names the processes that are there, but for the kernel's own and those that were there before the command.
fn tell(channel: &mut Channel, command: usize, lives: bool) -> Result<(), Gone> {
    let mut named = 0;
    let mut sent = Ok(());
    file::any_name(c"/proc", |name| {
        let Some(pid) = file::number(name).filter(|&pid| pid > command as u64) else {
            return false;
        };
        let mut buffer = [0; 512];
        let stat = Path::join(&[b"/proc/", name, b"/stat"]);
        let stat = stat.map(|path| file::read_start(path.as_c(), &mut buffer)).unwrap_or_default();
        let Some(comm) = of_user(stat) else {
            return false;
        };
        named += 1;
        sent = if lives {
            let mut stack = [0; 512];
            let path = Path::join(&[b"/proc/", name, b"/stack"]);
            let stack = path.map(|path| file::read_start(path.as_c(), &mut stack)).unwrap_or_default();
            let text = Line::new(comm).text(b"\n").text(stack);
            channel.send(&ToHost::Left { pid: pid as u32, lives, name: text.bytes() })
        } else {
            channel.send(&ToHost::Left { pid: pid as u32, lives, name: comm })
        };
        named >= NAMED || sent.is_err()
    });
    sent
}

/// The name in a line of `/proc/PID/stat`, unless the process is a thread of the kernel's or has ended: `PID (NAME) STATE
/// PARENT`, and the name may hold anything.
fn of_user(stat: &[u8]) -> Option<&[u8]> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat.get(close + 1..)?.trim_ascii().split(|&byte| byte == b' ');
    let state = fields.next()?;
    let parent = file::number(fields.next()?)?;
    // kthreadd is 2, and a child of none.
    let is_kernels = parent == 2 || parent == 0;
    if is_kernels || state == b"Z" || state == b"X" {
        return None;
    }
    stat.get(open + 1..close)
}

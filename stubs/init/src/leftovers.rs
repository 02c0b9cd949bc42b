//! Processes that a command left behind: counts, reports and kills them, and reports those that survive.

use crate::channel::{Channel, Gone};
use crate::file;
use crate::line::Line;
use crate::path::Path;
use crate::protocol::frame::ToHost;
use crate::syscall::process::{kill_all, reap_all, sleep, uptime};

/// Grace period for processes that are about to end anyway, in nanoseconds: not every parent waits for its children.
const GRACE: u64 = 20_000_000;
/// Time limit for a process to die after SIGKILL, in nanoseconds. A process in uninterruptible sleep (state D) dies
/// only when that sleep ends. Long, since CPUs of a busy host may be slow; it expires only if a process is stuck.
const PATIENCE: u64 = 3_000_000_000;
/// Polling interval, in nanoseconds.
const NAP: u64 = 1_000_000;
/// Maximum number of processes reported.
const NAMED: u32 = 32;

/// Ends the processes that the command left behind. Takes one system call if there are none.
pub fn end(channel: &mut Channel, command: usize) -> Result<(), Gone> {
    if !reap_all() || !any_after(GRACE) {
        return Ok(());
    }
    report_process(channel, command, false)?;
    kill_all();
    if any_after(PATIENCE) {
        report_process(channel, command, true)?;
    }
    Ok(())
}

/// Returns true if children remain after a time limit in nanoseconds.
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

/// Reports the remaining processes, except kernel threads and processes older than the command.
fn report_process(channel: &mut Channel, command: usize, lives: bool) -> Result<(), Gone> {
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

/// Returns the name in a line of `/proc/PID/stat` (`PID (NAME) STATE PARENT`), unless the process is a kernel thread or
/// has ended. The name may contain any character.
fn of_user(stat: &[u8]) -> Option<&[u8]> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat.get(close + 1..)?.trim_ascii().split(|&byte| byte == b' ');
    let state = fields.next()?;
    let parent = file::number(fields.next()?)?;
    // kthreadd has pid 2 and parent 0.
    let is_kernels = parent == 2 || parent == 0;
    if is_kernels || state == b"Z" || state == b"X" {
        return None;
    }
    stat.get(open + 1..close)
}

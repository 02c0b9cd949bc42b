//! With a host: greet it, do what it asked for, report how that went.

use crate::channel::{Channel, Gone};
use crate::command::{Command, NotStarted};
use crate::console;
use crate::job::Job;
use crate::line::Line;
use crate::modules::Modules;
use crate::prepare::{prepare, taint, wait_for_block_devices};
use crate::proto::VERSION;
use crate::proto::frame::{Ended, Failure, ToGuest, ToHost, Usage};
use crate::relay::{Outcome, Relay};
use crate::signals::Signals;
use crate::syscall::Errno;
use crate::syscall::file::sync;
use crate::syscall::process::{Stop, SystemName, set_clock, uptime};

type Result<T> = core::result::Result<T, Gone>;

/// Terminal rows and columns.
type Size = (u16, u16);

/// A command that runs and whether its directory was missing, or why it does not run.
type Started = core::result::Result<(Command, bool), NotStarted>;

/// Serves the host until it has its verdict. Says how the machine is to stop.
pub fn serve(channel: &mut Channel, job: &mut Job, modules: &mut Modules) -> Result<Stop> {
    let name = SystemName::read();
    channel.put(&ToHost::Hello {
        version: VERSION,
        uptime_ns: uptime(),
        taint: taint(),
        window: channel.window(),
        release: name.release(),
    });
    channel.push()?;
    // While the host answers:
    prepare(job, modules);
    let size = wait_for_go(channel)?;
    for refused in modules.missed.iter().chain(&modules.refused) {
        let note = Line::new(b"loading ").text(refused.path.to_bytes()).error(refused.errno);
        let note = if refused.why.bytes().is_empty() { note } else { note.text(b": ").text(refused.why.bytes()) };
        channel.send(&ToHost::Note(note.bytes()))?;
    }
    let stop = match run(channel, job, modules, size)? {
        Some((ended, usage)) => {
            // The host may end the machine as soon as it knows: what is written must be on its disks by then.
            sync();
            channel.send(&ToHost::Exit { ended, usage, taint: taint() })?;
            stop_for(ended)
        }
        None => Stop::PowerOff,
    };
    channel.flush()?;
    channel.settle();
    // The last bytes may still be on their way through the host's side of the port.
    channel.wait(|message| message == ToGuest::Done)?;
    Ok(stop)
}

fn wait_for_go(channel: &mut Channel) -> Result<Size> {
    let mut size = (0, 0);
    channel.wait(|message| {
        let ToGuest::Go { rows, columns, realtime_ns } = message else {
            return false;
        };
        size = (rows, columns);
        if realtime_ns > 0
            && let Err(errno) = set_clock(realtime_ns)
        {
            console::complain(b"setting", b"the clock", errno);
        }
        true
    })?;
    Ok(size)
}

/// The command, from its start to its end; `None` if it could not come to that, which has been reported.
fn run(channel: &mut Channel, job: &Job, modules: &Modules, size: Size) -> Result<Option<(Ended, Usage)>> {
    let mut fail = |what, errno: Errno, subject: &[u8]| {
        console::complain(b"giving up:", subject, errno);
        channel.send(&ToHost::Failed { what, errno: errno.code(), subject }).map(|()| None)
    };
    if let Some(broken) = job.broken {
        return fail(Failure::Job, Errno(0), broken);
    }
    if let Some(refused) = &modules.refused {
        return fail(Failure::Module, refused.errno, refused.path.to_bytes());
    }
    if let Err((found, errno)) = wait_for_block_devices(job) {
        let subject = Line::new(b"").number(found).text(b" of ").number(job.block_devices);
        return fail(Failure::BlockDevices, errno, subject.bytes());
    }
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(errno) => return fail(Failure::Exec, errno, b"signalfd"),
    };
    let (mut relay, started) = match begin(job, size) {
        Ok(begun) => begun,
        Err((what, errno, subject)) => return fail(what, errno, subject),
    };
    let (command, elsewhere) = match started {
        Ok(started) => started,
        Err(why) => return refuse(channel, job, &why).map(Some),
    };
    if elsewhere {
        let directory = job.directory.unwrap_or_default().to_bytes();
        let note = Line::new(b"there is no directory ").text(directory).text(b" in the guest: starting in /");
        channel.send(&ToHost::Note(note.bytes()))?;
    }
    channel.send(&ToHost::Started(command.started))?;
    let outcome = relay.run(channel, &signals, &command)?;
    relay.finish(channel)?;
    Ok(Some(match outcome {
        Outcome::Ended(ended, usage) => (ended, usage),
        Outcome::Stopped(stop) => (ended_by(stop), Usage { wall_ns: command.running(), ..Usage::default() }),
    }))
}

/// Starts the command on a terminal or on pipes, whose other ends the relay has. The command's own ends are closed when
/// this returns: that is how its end shows on ours.
fn begin(job: &Job, size: Size) -> core::result::Result<(Relay, Started), (Failure, Errno, &'static [u8])> {
    if !job.terminal {
        let (relay, ends) = Relay::over_pipes().map_err(|errno| (Failure::Exec, errno, &b"pipe"[..]))?;
        return Ok((relay, Command::start(job, &ends.stdio())));
    }
    let no_terminal = |errno| (Failure::Tty, errno, &b"/dev/ptmx"[..]);
    let (rows, columns) = size;
    let relay = Relay::over_terminal(rows, columns).map_err(no_terminal)?;
    let stdio = relay.terminal_stdio().ok_or(no_terminal(Errno::NODEV))?;
    let started = Command::start(job, &stdio);
    Ok((relay, started))
}

fn ended_by(stop: Stop) -> Ended {
    match stop {
        Stop::PowerOff => Ended::PowerOff,
        Stop::Restart => Ended::Restart,
        Stop::Halt => Ended::Halt,
    }
}

/// Reports a command that could not be executed, with the status that shells give it.
fn refuse(channel: &mut Channel, job: &Job, why: &NotStarted) -> Result<(Ended, Usage)> {
    let name = job.arguments.first().unwrap_or_default().to_bytes();
    if why.interpreter {
        let note = Line::new(name).text(b" is there, but not the interpreter its first line or its ELF header names");
        channel.send(&ToHost::Note(note.bytes()))?;
    }
    channel.send(&ToHost::Failed { what: Failure::Exec, errno: why.errno.code(), subject: name })?;
    Ok((Ended::Exited(why.status()), Usage::default()))
}

fn stop_for(ended: Ended) -> Stop {
    match ended {
        Ended::Exited(_) | Ended::Signaled(..) | Ended::PowerOff => Stop::PowerOff,
        Ended::Restart => Stop::Restart,
        Ended::Halt => Stop::Halt,
    }
}

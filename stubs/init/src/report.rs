//! With a host: greet it, do what it asked for, report how that went.

use crate::buffers::Buffers;
use crate::channel::{Channel, Gone};
use crate::command::{Command, NotStarted};
use crate::console;
use crate::entropy;
use crate::input::Input;
use crate::job::Job;
use crate::kmsg::Log;
use crate::left;
use crate::line::Line;
use crate::modules::Modules;
use crate::path::Path;
use crate::prepare::{prepare, taint, wait_for_block_devices};
use crate::protocol::VERSION;
use crate::protocol::frame::{Ended, Failure, SEED, ToGuest, ToHost, Usage};
use crate::protocol::job::PATH;
use crate::relay::{Outcome, Relay};
use crate::signals::Signals;
use crate::syscall::Errno;
use crate::syscall::file::{remove, sync};
use crate::syscall::process::{Stop, SystemName, kill_all, reap_all, set_clock, uptime};
use crate::unpack::unpack;
use crate::window::Window;

type Result<T> = core::result::Result<T, Gone>;

/// Terminal rows and columns.
type Size = (u16, u16);

/// A command that runs and whether its directory was missing, or why it does not run.
type Started = core::result::Result<(Command, bool), NotStarted>;

/// Serves the host until it has its verdict. Says how the machine is to stop.
pub fn serve(channel: &mut Channel, job: &mut Job, modules: &mut Modules) -> Result<Stop> {
    greet(channel)?;
    // While the host answers:
    prepare(job, modules);
    let mut log = Log::open();
    let mut stop = Stop::PowerOff;
    match job.window {
        None => stop = obey(channel, job, modules, &mut log, &mut Buffers::new())?,
        Some(len) => {
            if let Some(window) = ready(channel, job, modules, len, &mut log)? {
                return serve_window(channel, &window, modules, &mut log);
            }
        }
    }
    // The last bytes may still be on their way through the host's side of the port.
    channel.wait(|message| message == ToGuest::Done)?;
    Ok(stop)
}

fn greet(channel: &mut Channel) -> Result<()> {
    let name = SystemName::read();
    channel.put(&ToHost::Hello {
        version: VERSION,
        uptime_ns: uptime(),
        taint: taint(),
        window: channel.window(),
        release: name.release(),
    });
    channel.push()
}

/// Says that pid 1 is ready, if that is so, or why not.
fn ready(
    channel: &mut Channel,
    job: &Job,
    modules: &Modules,
    len: u64,
    log: &mut Log,
) -> Result<Option<Window>> {
    if let Some(what) = unfit(job, modules) {
        return fail(channel, &what).map(|()| None);
    }
    // The next job takes its place; in a restored guest each system call is translated anew.
    let _ = Path::join(&[PATH.as_bytes()]).map(|path| remove(path.as_c()));
    // What is known of the boot is not each command's.
    log.send(channel)?;
    match Window::open(len) {
        Ok(window) => channel.send(&ToHost::Ready).map(|()| Some(window)),
        Err(errno) => fail(channel, &Unfit { what: Failure::Window, errno, subject: b"mapping it" }).map(|()| None),
    }
}

/// One command after another, as the host puts them into the window.
fn serve_window(channel: &mut Channel, window: &Window, modules: &mut Modules, log: &mut Log) -> Result<Stop> {
    let mut buffers = Buffers::new();
    let mut stop = Stop::PowerOff;
    let mut is_first = true;
    while let Some((len, seed)) = next_command(channel)? {
        if !is_first {
            kill_all();
            // What the last command asked of the machine is not the next one's, nor are those that it left behind.
            let _ = Signals::open().map(|signals| signals.take());
            reap_all();
            *modules = Modules { verbose: modules.verbose, ..Modules::default() };
        }
        if let Err(errno) = entropy::renew(&seed) {
            // Two guests with the same random numbers are worse than none.
            fail(channel, &Unfit { what: Failure::Window, errno, subject: b"a seed for its random numbers" })?;
            continue;
        }
        let unpacked = unpacked(window, len, is_first);
        is_first = false;
        let mut job = match unpacked {
            Ok(job) => job,
            Err(what) => {
                fail(channel, &what)?;
                continue;
            }
        };
        greet(channel)?;
        modules.load_rest(&mut job);
        stop = obey(channel, &job, modules, log, &mut buffers)?;
    }
    Ok(stop)
}

/// What is in the window, and the seed that came with it; `None` when the host is done.
fn next_command(channel: &mut Channel) -> Result<Option<(u64, [u8; SEED])>> {
    let mut next = None;
    channel.wait(|message| match message {
        ToGuest::Renew { len, seed } => {
            next = Some((len, seed));
            true
        }
        ToGuest::Done => true,
        ToGuest::Go { .. }
        | ToGuest::Stdin(_)
        | ToGuest::StdinEof
        | ToGuest::Resize { .. }
        | ToGuest::Signal(_) => false,
    })?;
    Ok(next)
}

/// Makes files of what is in the window, and reads the job among them.
fn unpacked(window: &Window, len: u64, is_first: bool) -> core::result::Result<Job, Unfit<'_>> {
    let unfit = |errno, subject| Unfit { what: Failure::Window, errno, subject };
    let archive = window.start(len).ok_or(unfit(Errno::INVAL, b"its length"))?;
    unpack(archive, is_first).map_err(|refused| unfit(refused.errno, refused.name.to_bytes()))?;
    Job::read().map_err(|errno| unfit(errno, PATH.as_bytes()))
}

/// Waits for the host's word, does the job, and reports how that went. Says how the machine would stop now.
fn obey(
    channel: &mut Channel,
    job: &Job,
    modules: &Modules,
    log: &mut Log,
    buffers: &mut Buffers,
) -> Result<Stop> {
    let size = wait_for_go(channel)?;
    for refused in modules.missed.iter().chain(&modules.refused) {
        let note = Line::new(b"loading ").text(refused.path.to_bytes()).error(refused.errno);
        let note = if refused.why.bytes().is_empty() { note } else { note.text(b": ").text(refused.why.bytes()) };
        channel.send(&ToHost::Note(note.bytes()))?;
    }
    let stop = match run(channel, job, modules, size, buffers)? {
        Some((ended, usage)) => {
            // The host may end the machine as soon as it knows: what is written must be on its disks by then.
            sync();
            // Last of all: the command's end, and writing to disks, may be what goes wrong.
            log.send(channel)?;
            channel.send(&ToHost::Exit { ended, usage, taint: taint() })?;
            stop_for(ended)
        }
        None => Stop::PowerOff,
    };
    channel.flush()?;
    channel.settle();
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
fn run(
    channel: &mut Channel,
    job: &Job,
    modules: &Modules,
    size: Size,
    buffers: &mut Buffers,
) -> Result<Option<(Ended, Usage)>> {
    if let Some(what) = unfit(job, modules) {
        return fail(channel, &what).map(|()| None);
    }
    if let Err((found, errno)) = wait_for_block_devices(job) {
        let subject = Line::new(b"").number(found).text(b" of ").number(job.block_devices);
        let what = Unfit { what: Failure::BlockDevices, errno, subject: subject.bytes() };
        return fail(channel, &what).map(|()| None);
    }
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(errno) => {
            return fail(channel, &Unfit { what: Failure::Exec, errno, subject: b"signalfd" }).map(|()| None);
        }
    };
    let (mut relay, started) = match begin(job, size, buffers) {
        Ok(begun) => begun,
        Err(what) => return fail(channel, &what).map(|()| None),
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
        Outcome::Ended(ended, usage) => {
            left::end(channel, command.pid)?;
            (ended, usage)
        }
        Outcome::Stopped(stop) => (ended_by(stop), Usage { wall_ns: command.running(), ..Usage::default() }),
    }))
}

/// What keeps a command from being started.
struct Unfit<'a> {
    what: Failure,
    errno: Errno,
    subject: &'a [u8],
}

/// What is wrong before anything was tried.
fn unfit<'a>(job: &Job, modules: &'a Modules) -> Option<Unfit<'a>> {
    if let Some(broken) = job.broken {
        return Some(Unfit { what: Failure::Job, errno: Errno(0), subject: broken });
    }
    let refused = modules.refused.as_ref()?;
    Some(Unfit { what: Failure::Module, errno: refused.errno, subject: refused.path.to_bytes() })
}

fn fail(channel: &mut Channel, unfit: &Unfit<'_>) -> Result<()> {
    let &Unfit { what, errno, subject } = unfit;
    console::complain(b"giving up:", subject, errno);
    channel.send(&ToHost::Failed { what, errno: errno.code(), subject })
}

/// Starts the command on a terminal or on pipes, whose other ends the relay has. The command's own ends are closed when
/// this returns: that is how its end shows on ours.
fn begin<'b>(
    job: &Job,
    size: Size,
    buffers: &'b mut Buffers,
) -> core::result::Result<(Relay<'b>, Started), Unfit<'static>> {
    let Buffers { stack, input } = buffers;
    let input = Input::new(input);
    if !job.terminal {
        let no_pipe = |errno| Unfit { what: Failure::Exec, errno, subject: b"pipe" };
        let (relay, ends) = Relay::over_pipes(input).map_err(no_pipe)?;
        return Ok((relay, Command::start(job, &ends.stdio(), stack)));
    }
    let no_terminal = |errno| Unfit { what: Failure::Tty, errno, subject: b"/dev/ptmx" };
    let (rows, columns) = size;
    let relay = Relay::over_terminal(input, rows, columns).map_err(no_terminal)?;
    let stdio = relay.terminal_stdio().ok_or(no_terminal(Errno::NODEV))?;
    let started = Command::start(job, &stdio, stack);
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

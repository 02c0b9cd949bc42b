//! Session with a host: sends the greeting, runs commands, reports results.

use crate::buffers::Buffers;
use crate::channel::{Channel, Gone};
use crate::collect;
use crate::command::{Command, NotStarted, status};
use crate::console;
use crate::entropy;
use crate::file;
use crate::files::{Failed, Files};
use crate::helper_socket::Helpers;
use crate::input::Input;
use crate::job::Job;
use crate::kmsg::Log;
use crate::leftovers;
use crate::line::Line;
use crate::modules::Modules;
use crate::path::Path;
use crate::prepare::{Missing, prepare, prepare_devices, taint};
use crate::protocol::VERSION;
use crate::protocol::frame::{Ended, Failure, SEED, ToGuest, ToHost, Usage};
use crate::protocol::job::PATH;
use crate::relay::{Outcome, Relay, report_start};
use crate::signals::Signals;
use crate::syscall::Errno;
use crate::syscall::file::{remove, sync};
use crate::syscall::process::{Stop, SystemName, kill_all, reap_all, set_clock, set_host_name, uptime};
use crate::unpack::unpack;
use crate::window::Window;

type Result<T> = core::result::Result<T, Gone>;

/// Terminal rows and columns.
type Size = (u16, u16);

/// A running command, or the reason why it did not start.
type Started = core::result::Result<Command, NotStarted>;

/// Serves the host until it has received the result. Returns how to stop the machine.
pub fn serve(channel: &mut Channel, job: &mut Job, modules: &mut Modules) -> Result<Stop> {
    greet(channel)?;
    let mut buffer = [0; 4096];
    channel.send(&ToHost::CommandLine(file::read_start(c"/proc/cmdline", &mut buffer)))?;
    // Work while the host answers.
    let mut helpers = prepare(job, modules, Some(channel))?;
    let mut log = Log::open();
    let mut stop = Stop::PowerOff;
    match job.window {
        None => stop = obey(channel, job, modules, &mut log, &mut Buffers::new(), &mut helpers)?,
        Some(len) => {
            if let Some(window) = ready(channel, job, modules, len, &mut log)? {
                return serve_window(channel, &window, modules, &mut log, &mut helpers);
            }
        }
    }
    // The last bytes may still be in the host's side of the port.
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

/// Reports that pid 1 is ready, or the failure that prevents it.
fn ready(channel: &mut Channel, job: &Job, modules: &Modules, len: u64, log: &mut Log) -> Result<Option<Window>> {
    if let Some(what) = unfit(job, modules) {
        log.send(channel)?;
        return fail(channel, &what).map(|()| None);
    }
    if let Err(missing) = prepare_devices(job) {
        log.send(channel)?;
        return fail_devices(channel, &missing).map(|()| None);
    }
    // The payload brings its own job file. Remove this one before the snapshot is taken: under TCG, a restored guest has
    // to translate each system call again.
    let _ = Path::join(&[PATH.as_bytes()]).map(|path| remove(path.as_c()));
    // Log records of the boot do not belong to any command.
    log.send(channel)?;
    match Window::open(len) {
        Ok(window) => channel.send(&ToHost::Ready).map(|()| Some(window)),
        Err(errno) => {
            fail(channel, &Unfit { what: Failure::Window, errno, subject: b"mapping the window" }).map(|()| None)
        }
    }
}

/// Runs the commands that the host puts into the window, one after another.
fn serve_window(
    channel: &mut Channel,
    window: &Window,
    modules: &mut Modules,
    log: &mut Log,
    helpers: &mut Helpers,
) -> Result<Stop> {
    let mut buffers = Buffers::new();
    let mut stop = Stop::PowerOff;
    let mut is_first = true;
    while let Some((len, seed)) = next_command(channel)? {
        if !is_first {
            kill_all();
            // Discard the last command's requests to stop the machine, and its processes.
            let _ = Signals::open().map(|signals| signals.take());
            reap_all();
            *modules = Modules { verbose: modules.verbose, ..Modules::default() };
        }
        if let Err(errno) = entropy::renew(&seed) {
            // Two guests must not use the same random numbers.
            fail(channel, &Unfit { what: Failure::Seed, errno, subject: b"/dev/urandom" })?;
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
        job.restored = true;
        greet(channel)?;
        let _ = job.host_name.map(set_host_name);
        modules.load_rest(&mut job, Some(channel))?;
        stop = obey(channel, &job, modules, log, &mut buffers, helpers)?;
    }
    Ok(stop)
}

/// Waits for the next payload; returns its length and seed, or `None` when the host is done.
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
        | ToGuest::Signal(_)
        | ToGuest::Helper { .. }
        | ToGuest::Collect => false,
    })?;
    Ok(next)
}

/// Unpacks the payload and reads its job.
fn unpacked(window: &Window, len: u64, is_first: bool) -> core::result::Result<Job, Unfit<'_>> {
    let unfit = |errno, subject| Unfit { what: Failure::Window, errno, subject };
    let archive = window.start(len).ok_or(unfit(Errno::INVAL, b"payload length"))?;
    unpack(archive, is_first).map_err(|refused| unfit(refused.errno, refused.name.to_bytes()))?;
    Job::read().map_err(|errno| unfit(errno, PATH.as_bytes()))
}

/// Waits for `Go`, runs the job and reports the result. Returns how to stop the machine.
fn obey(
    channel: &mut Channel,
    job: &Job,
    modules: &Modules,
    log: &mut Log,
    buffers: &mut Buffers,
    helpers: &mut Helpers,
) -> Result<Stop> {
    let size = wait_for_go(channel)?;
    let refused = modules.refused.iter().filter(|refused| refused.what == Failure::Module);
    for refused in modules.missed.iter().chain(refused) {
        let note = Line::new(b"failed to load module ").text(refused.path.to_bytes()).error(refused.errno);
        let note = if refused.why.bytes().is_empty() { note } else { note.text(b": ").text(refused.why.bytes()) };
        channel.send(&ToHost::Note(note.bytes()))?;
    }
    if let Some(what) = unfit(job, modules) {
        // The kernel's report about the module, if there is one.
        log.send(channel)?;
        fail(channel, &what)?;
        channel.settle();
        return Ok(Stop::PowerOff);
    }
    let stop = match run(channel, job, size, buffers, helpers)? {
        Some((ended, usage)) => {
            // The host may kill the machine after `Exit`: flush data to the disks first.
            sync();
            // Send the log last: ending the command and syncing may cause findings, too.
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
            console::complain(b"failed to set", b"the clock", errno);
        }
        true
    })?;
    Ok(size)
}

/// Runs the command to its end; `None` if it could not be started, which has been reported.
fn run(
    channel: &mut Channel,
    job: &Job,
    size: Size,
    buffers: &mut Buffers,
    helpers: &mut Helpers,
) -> Result<Option<(Ended, Usage)>> {
    if let Err(missing) = prepare_devices(job) {
        return fail_devices(channel, &missing).map(|()| None);
    }
    let signals = match Signals::open() {
        Ok(signals) => signals,
        Err(errno) => {
            return fail(channel, &Unfit { what: Failure::Setup, errno, subject: b"signals" }).map(|()| None);
        }
    };
    let mut files = match Files::start(job, buffers.stack) {
        Ok(files) => files,
        Err(failed) => return fail_files(channel, &failed).map(|()| None),
    };
    let Buffers { stack, input, collect_stack } = buffers;
    let (mut relay, started) = match begin(job, size, stack, input, helpers, files.as_ref()) {
        Ok(begun) => begun,
        Err(what) => return fail(channel, &what).map(|()| None),
    };
    let mut command = match started {
        Ok(command) => command,
        Err(reason) => return refuse(channel, job, reason),
    };
    if let Some(files) = &mut files {
        files.close();
    } else {
        note_directory(channel, job, &command)?;
        report_start(channel, &command)?;
    }
    let outcome = relay.run(channel, &signals, &mut command, helpers)?;
    helpers.end_all();
    relay.finish(channel)?;
    if files.is_some() {
        note_directory(channel, job, &command)?;
    }
    let was_started = !matches!(outcome, Outcome::NotStarted(_));
    let done = match outcome {
        Outcome::Ended(ended, usage) => {
            leftovers::end(channel, command.pid)?;
            Ok(Some((ended, usage)))
        }
        Outcome::Stopped(stop) => {
            Ok(Some((ended_by(stop), Usage { wall_ns: command.running(), ..Usage::default() })))
        }
        Outcome::NotStarted(reason) => {
            leftovers::end(channel, command.pid)?;
            refuse(channel, job, reason)
        }
    };
    if was_started {
        collect::run(channel, job, collect_stack)?;
    }
    // What still waits for the host now fails, so that flushing the file systems cannot hang.
    if let Some(files) = files {
        files.stop();
    }
    done
}

/// Reports a missing working directory.
fn note_directory(channel: &mut Channel, job: &Job, command: &Command) -> Result<()> {
    if !command.elsewhere {
        return Ok(());
    }
    let directory = job.directory.unwrap_or_default().to_bytes();
    let note = Line::new(b"no directory ").text(directory).text(b" in the guest: starting in /");
    channel.send(&ToHost::Note(note.bytes()))
}

/// Reason why a command cannot be started.
struct Unfit<'a> {
    what: Failure,
    errno: Errno,
    subject: &'a [u8],
}

/// Returns the first problem of the job or its modules.
fn unfit<'a>(job: &Job, modules: &'a Modules) -> Option<Unfit<'a>> {
    if let Some(broken) = job.broken {
        return Some(Unfit { what: Failure::Job, errno: Errno(0), subject: broken });
    }
    let refused = modules.refused.as_ref()?;
    Some(Unfit { what: refused.what, errno: refused.errno, subject: refused.path.to_bytes() })
}

fn fail(channel: &mut Channel, unfit: &Unfit<'_>) -> Result<()> {
    let &Unfit { what, errno, subject } = unfit;
    console::complain(b"cannot run the command:", subject, errno);
    channel.send(&ToHost::Failed { what, errno: errno.code(), subject })
}

fn fail_devices(channel: &mut Channel, missing: &Missing) -> Result<()> {
    match *missing {
        Missing::Disks(found, wanted, errno) => {
            let subject = Line::new(b"").number(found).text(b" of ").number(wanted);
            fail(channel, &Unfit { what: Failure::BlockDevices, errno, subject: subject.bytes() })
        }
        Missing::Network(errno) => {
            fail(channel, &Unfit { what: Failure::Setup, errno, subject: b"network interface eth0" })
        }
    }
}

/// Starts the command on a terminal or on pipes. The command's ends are closed on return, so that the relay sees the
/// end of its output.
fn begin<'b>(
    job: &Job,
    size: Size,
    stack: &mut [u8],
    input: &'b mut [u8],
    helpers: &mut Helpers,
    files: Option<&Files>,
) -> core::result::Result<(Relay<'b>, Started), Unfit<'static>> {
    let input = Input::new(input);
    if !job.terminal {
        let no_pipe = |errno| Unfit { what: Failure::Setup, errno, subject: b"pipes" };
        let (relay, ends) = Relay::over_pipes(input).map_err(no_pipe)?;
        helpers.load_modules(job.autoload);
        return Ok((relay, Command::start(job, &ends.stdio(), stack, files)));
    }
    let no_terminal = |errno| Unfit { what: Failure::Tty, errno, subject: b"/dev/ptmx" };
    let (rows, columns) = size;
    let relay = Relay::over_terminal(input, rows, columns).map_err(no_terminal)?;
    let stdio = relay.terminal_stdio().ok_or(no_terminal(Errno::NODEV))?;
    helpers.load_modules(job.autoload);
    let started = Command::start(job, &stdio, stack, files);
    Ok((relay, started))
}

fn ended_by(stop: Stop) -> Ended {
    match stop {
        Stop::PowerOff => Ended::PowerOff,
        Stop::Restart => Ended::Restart,
        Stop::Halt => Ended::Halt,
    }
}

/// Reports why directories of the host are missing.
fn fail_files(channel: &mut Channel, failed: &Failed) -> Result<()> {
    let subject = Line::new(b"host directories: ").text(failed.subject.bytes());
    fail(channel, &Unfit { what: Failure::Setup, errno: failed.errno, subject: subject.bytes() })
}

/// Reports a command that was not started: one that could not be executed, with the exit status that shells use.
fn refuse(channel: &mut Channel, job: &Job, reason: NotStarted) -> Result<Option<(Ended, Usage)>> {
    let (errno, interpreter) = match reason {
        NotStarted::NotExecuted { errno, interpreter } => (errno, interpreter),
        NotStarted::NoProcess(errno) => {
            return fail(channel, &Unfit { what: Failure::Setup, errno, subject: b"a process" }).map(|()| None);
        }
        NotStarted::NoFiles(failed) => return fail_files(channel, &failed).map(|()| None),
    };
    let name = job.arguments.first().unwrap_or_default().to_bytes();
    if interpreter {
        let note = Line::new(name).text(b" exists, but the interpreter in its first line or ELF header does not");
        channel.send(&ToHost::Note(note.bytes()))?;
    }
    channel.send(&ToHost::Failed { what: Failure::Exec, errno: errno.code(), subject: name })?;
    Ok(Some((Ended::Exited(status(errno)), Usage::default())))
}

fn stop_for(ended: Ended) -> Stop {
    match ended {
        Ended::Exited(_) | Ended::Signaled(..) | Ended::PowerOff => Stop::PowerOff,
        Ended::Restart => Stop::Restart,
        Ended::Halt => Stop::Halt,
    }
}

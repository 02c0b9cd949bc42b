//! Runs the command on the console, without a host, for an initrd that is booted by hand.

use crate::buffers::Buffers;
use crate::command::{Command, NotStarted, Stdio, status};
use crate::console;
use crate::files::Failed;
use crate::job::Job;
use crate::line::Line;
use crate::modules::Modules;
use crate::prepare::{Missing, prepare, prepare_devices};
use crate::protocol::frame::Ended;
use crate::signals::Signals;
use crate::syscall::Errno;
use crate::syscall::file::{Fd, Watch, sync};
use crate::syscall::process::Stop;
use crate::syscall::terminal;

/// Runs the job. Returns how to stop the machine.
pub fn run(job: &mut Job, modules: &mut Modules) -> Stop {
    // Only a channel can be lost.
    let _ = prepare(job, modules, None);
    if let Some(broken) = job.broken {
        console::give_up(b"invalid job:", broken, Errno::INVAL);
        return Stop::PowerOff;
    }
    if let Some(refused) = &modules.refused {
        console::say(refused.why.bytes());
        return Stop::PowerOff;
    }
    // Continue: only the command can decide whether it needs the missing devices.
    match prepare_devices(job) {
        Ok(()) => {}
        Err(Missing::Disks(found, _, errno)) => {
            let found = Line::new(b"").number(found);
            console::complain(b"timed out waiting for block devices, found", found.bytes(), errno);
        }
        Err(Missing::Network(errno)) => console::complain(b"failed to configure", b"the network", errno),
    }
    // Without a terminal, use the console itself: everything except job control works.
    let terminal = console::terminal();
    let (file, controls) = match &terminal {
        Ok(file) => (file, true),
        Err(_) => (console::file(), false),
    };
    let stop = match Signals::open() {
        Ok(signals) => supervise(job, &signals, &Stdio { files: [file, file, file], controls }),
        Err(errno) => {
            console::complain(b"failed to block", b"signals", errno);
            Stop::PowerOff
        }
    };
    sync();
    finish(file);
    stop
}

fn supervise(job: &Job, signals: &Signals, stdio: &Stdio<'_>) -> Stop {
    let command = match Command::start(job, stdio, Buffers::new().stack, None) {
        Ok(command) => command,
        Err(
            NotStarted::NoProcess(errno)
            | NotStarted::NotExecuted { errno, .. }
            | NotStarted::NoFiles(Failed { errno, .. }),
        ) => {
            let name = job.arguments.first().unwrap_or_default();
            console::complain(b"failed to execute", name.to_bytes(), errno);
            print_end(Ended::Exited(status(errno)));
            return Stop::PowerOff;
        }
    };
    loop {
        signals.poll(&mut [Watch::NOTHING]);
        let arrived = signals.take();
        if let Some(stop) = arrived.stop {
            return stop;
        }
        if arrived.child
            && let Some((ended, _)) = command.ended()
        {
            print_end(ended);
            return Stop::PowerOff;
        }
    }
}

/// Prints the last line on the console.
fn print_end(ended: Ended) {
    let line = match ended {
        Ended::Exited(status) => Line::new(b"exited with status ").number(u64::from(status)),
        Ended::Signaled(signal, _) => Line::new(b"killed by signal ").number(u64::from(signal)),
        Ended::PowerOff | Ended::Restart | Ended::Halt => return,
    };
    console::say(line.bytes());
}

/// Waits until the console has sent all output.
fn finish(file: &Fd) {
    // Fails for files that are not terminals, which have nothing to wait for.
    let _: Result<(), Errno> = terminal::drain(file);
}

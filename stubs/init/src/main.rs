//! Process 1 of a bootling guest: prepares the machine, runs one command, reports how it went, switches off.
//!
//! `README.md` beside this crate says why it is built the way it is. No allocation, no libc, no formatting machinery, and no
//! way to panic: whatever can be wrong is a value. System calls are in `syscall`, the only place with `unsafe`.

#![no_std]
#![no_main]
#![no_builtins]
#![deny(unsafe_code)]

mod alone;
mod buffers;
mod channel;
mod command;
mod console;
mod entropy;
mod file;
mod input;
mod job;
mod kmsg;
mod left;
mod line;
mod modules;
mod mounts;
mod path;
mod power;
mod prepare;
mod relay;
mod report;
mod signals;
mod syscall;
mod unpack;
mod window;

// The host's half of it is not used here.
#[allow(dead_code)]
#[path = "../../../src/format/protocol/mod.rs"]
mod protocol;

use channel::Channel;
use job::Job;
use modules::Modules;
use syscall::process::Stop;

/// Where the first instructions lead. The kernel's arguments and environment are not looked at: the job says it all.
extern "C" fn main() -> ! {
    mounts::mount_first();
    console::ensure();
    let mut job = match Job::read() {
        Ok(job) => job,
        Err(errno) => {
            console::complain(b"reading", protocol::job::PATH.as_bytes(), errno);
            power::stop(Stop::PowerOff)
        }
    };
    let mut modules = Modules { verbose: job.verbose, ..Modules::default() };
    modules.load_for_channel(&mut job);
    let Some(name) = job.channel else { power::stop(alone::run(&mut job, &mut modules)) };
    match Channel::open(name) {
        // A host that has gone wants nothing but the end.
        Ok(mut channel) => power::stop(report::serve(&mut channel, &mut job, &mut modules).unwrap_or(Stop::PowerOff)),
        Err(errno) => {
            console::complain(b"opening the channel", name, errno);
            if let Some(missed) = &modules.missed {
                console::say(missed.why.bytes());
            }
            power::stop(Stop::PowerOff)
        }
    }
}

/// Nothing in here panics: a test looks for this text in the program, and the compiler leaves it out.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    console::say(b"pid 1 panicked");
    power::stop(Stop::PowerOff)
}

//! pid 1 of a bootling guest: prepares the machine, runs one command, reports its result, powers off.
//!
//! The crate's `README.md` explains the design. No allocator, no libc, no formatting code and no panics: every error is
//! a value. All `unsafe` code is in `syscall`.

#![no_std]
#![no_main]
#![no_builtins]
#![deny(unsafe_code)]

mod standalone;
mod buffers;
mod channel;
mod collect;
mod command;
mod console;
mod disks;
mod entropy;
mod file;
mod file_relay;
mod files;
mod glob;
mod helper_socket;
mod input;
mod job;
mod kmsg;
mod leftovers;
mod line;
mod modprobe;
mod modules;
mod mounts;
mod network;
mod path;
mod power;
mod prepare;
mod relay;
mod report;
mod signals;
mod syscall;
mod unpack;
mod window;

// Encoding for the host is unused here.
#[allow(dead_code)]
#[path = "../../../src/format/protocol/mod.rs"]
mod protocol;

use channel::Channel;
use job::Job;
use modules::Modules;
use syscall::process::Stop;
use syscall::start::Arguments;

/// Entry point. pid 1 ignores its arguments and environment: everything comes from the job.
fn main(arguments: &Arguments) -> ! {
    if modprobe::is_name(arguments.get(0)) {
        modprobe::run(arguments);
    }
    mounts::own_root();
    mounts::mount_first();
    console::ensure();
    let mut job = match Job::read() {
        Ok(job) => job,
        Err(errno) => {
            console::give_up(b"failed to read", protocol::job::PATH.as_bytes(), errno);
            power::stop(Stop::PowerOff)
        }
    };
    let mut modules = Modules { verbose: job.verbose, ..Modules::default() };
    modules.load_for_channel(&mut job);
    let Some(name) = job.channel else { power::stop(standalone::run(&mut job, &mut modules)) };
    match Channel::open(name) {
        // If the host is gone, only the power-off remains.
        Ok(mut channel) => power::stop(report::serve(&mut channel, &mut job, &mut modules).unwrap_or(Stop::PowerOff)),
        Err(errno) => {
            for failed in modules.refused.iter().chain(&modules.missed) {
                console::say(failed.why.bytes());
            }
            console::give_up(b"failed to open the channel", name, errno);
            power::stop(Stop::PowerOff)
        }
    }
}

/// Never called: a test checks that the linker has removed this text from the program.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    console::say(b"pid 1 panicked");
    power::stop(Stop::PowerOff)
}

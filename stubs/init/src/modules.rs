//! Loads kernel modules in the job's order. The host has decompressed and sorted them.
//!
//! A child process loads each module: a module whose initialization oopses takes its process with it.

use crate::channel::{Channel, Gone};
use crate::console;
use crate::job::{Job, Module};
use crate::kmsg;
use crate::line::Line;
use crate::protocol::frame::{Failure, ToHost};
use crate::protocol::job::Tag;
use crate::syscall::file::{Fd, READ_ONLY, load_module, open};
use crate::syscall::process::{exit, in_child, set_name};
use crate::syscall::{Errno, Result};
use core::cell::Cell;
use core::ffi::CStr;

/// Stack of the child, which only makes two system calls.
const STACK: usize = 4096;

/// A module that failed to load.
pub struct Refused {
    pub path: &'static CStr,
    /// [`Failure::Crash`]: the kernel killed the process that loaded it; the error number is the signal.
    pub what: Failure,
    pub errno: Errno,
    /// The kernel's message about it.
    pub why: Line,
}

/// State of module loading.
#[derive(Default)]
pub struct Modules {
    /// A failure that ends the loading: of a required module, or a crash.
    pub refused: Option<Refused>,
    /// The first driver of the channel that failed to load; reported as a note.
    pub missed: Option<Refused>,
    /// True if one of the current alternatives was loaded.
    pub has_alternative: bool,
    /// True to report every action.
    pub verbose: bool,
}

/// Input and result of the child.
struct Load<'a> {
    name: &'a [u8],
    file: Fd,
    parameters: &'a CStr,
    result: Cell<Option<Result<()>>>,
}

impl Modules {
    /// Loads the modules up to the last driver of the channel.
    pub fn load_for_channel(&mut self, job: &mut Job) {
        while job.channel_modules > 0
            && let Some(module) = job.next_module()
        {
            // Without a channel there is no host to lose.
            let _ = self.load(module, None);
        }
    }

    /// Loads the remaining modules.
    pub fn load_rest(&mut self, job: &mut Job, mut channel: Option<&mut Channel>) -> core::result::Result<(), Gone> {
        let mut any = false;
        while self.refused.is_none()
            && let Some(module) = job.next_module()
        {
            any = true;
            self.load(module, channel.as_deref_mut())?;
        }
        match channel {
            Some(channel) if any => channel.send(&ToHost::Loading(b"")),
            Some(_) | None => Ok(()),
        }
    }

    fn load(&mut self, module: Module, channel: Option<&mut Channel>) -> core::result::Result<(), Gone> {
        let is_crashed = matches!(&self.refused, Some(refused) if refused.what == Failure::Crash);
        // After a failure, only drivers of the channel are loaded; after a crash, nothing is.
        if is_crashed || self.refused.is_some() && module.tag != Tag::ChannelModule {
            return Ok(());
        }
        let name = name(module.path.to_bytes());
        // A module can stop the machine, so its name must be on the console first. Drivers of the channel are well
        // known, and each line on a serial console takes a millisecond.
        if module.tag != Tag::ChannelModule || self.verbose {
            console::say(Line::new(b"loading ").text(name).bytes());
        }
        let mut channel = channel;
        if let Some(channel) = &mut channel {
            channel.send(&ToHost::Loading(module.path.to_bytes()))?;
        }
        let failed = match loaded(module, name) {
            Ok(()) => {
                self.has_alternative |= module.tag == Tag::Alternative;
                None
            }
            Err((what, errno)) => {
                console::complain(b"failed to load module", module.path.to_bytes(), errno);
                Some(Refused { path: module.path, what, errno, why: kmsg::about(name) })
            }
        };
        let is_last = module.tag == Tag::LastAlternative;
        let has_alternative = self.has_alternative;
        self.has_alternative &= !is_last;
        let Some(failed) = failed else { return Ok(()) };
        let is_soft = match module.tag {
            Tag::SoftModule | Tag::Alternative => true,
            Tag::LastAlternative => has_alternative,
            _ => false,
        };
        if failed.what == Failure::Crash || !is_soft && module.tag != Tag::ChannelModule {
            self.refused = Some(failed);
        } else if is_soft && let Some(channel) = channel {
            let (subject, errno) = (module.path.to_bytes(), failed.errno.code());
            channel.send(&ToHost::Failed { what: Failure::SoftModule, errno, subject })?;
        } else {
            self.missed.get_or_insert(failed);
        }
        Ok(())
    }
}

/// Loads a module in a child. A module that is already loaded is no failure.
fn loaded(module: Module, name: &[u8]) -> core::result::Result<(), (Failure, Errno)> {
    let refused = |errno| (Failure::Module, errno);
    let file = open(module.path, READ_ONLY).map_err(refused)?;
    let load = Load { name, file, parameters: module.parameters, result: Cell::new(None) };
    let signal = in_child(&mut [0; STACK], Load::run, &load).map_err(refused)?;
    match load.result.get() {
        Some(Ok(()) | Err(Errno::EXIST)) => Ok(()),
        Some(Err(errno)) => Err(refused(errno)),
        None => Err((Failure::Crash, Errno(signal))),
    }
}

impl Load<'_> {
    /// Runs in the child. The name of the process identifies the module in hang reports.
    fn run(&self) -> ! {
        set_name(b"load ", self.name);
        self.result.set(Some(load_module(&self.file, self.parameters)));
        exit(0)
    }
}

/// Returns the file name up to its first dot.
fn name(path: &[u8]) -> &[u8] {
    let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    file.split(|&byte| byte == b'.').next().unwrap_or_default()
}

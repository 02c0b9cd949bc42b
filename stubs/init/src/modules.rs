//! Loads kernel modules in the job's order. The host has decompressed and sorted them.

use crate::console;
use crate::job::{Job, Module};
use crate::kmsg;
use crate::line::Line;
use crate::syscall::Errno;
use crate::syscall::file::{READ_ONLY, load_module, open};
use core::ffi::CStr;

/// A required module that failed to load, and the kernel's message about it.
pub struct Refused {
    pub path: &'static CStr,
    pub errno: Errno,
    pub why: Line,
}

/// State of module loading.
#[derive(Default)]
pub struct Modules {
    pub refused: Option<Refused>,
    /// A channel module that failed to load; reported as a note.
    pub missed: Option<Refused>,
    /// True to report every action.
    pub verbose: bool,
}

impl Modules {
    /// Loads the modules up to the last channel module.
    pub fn load_for_channel(&mut self, job: &mut Job) {
        while job.channel_modules > 0
            && let Some(module) = job.next_module()
        {
            self.load(module);
        }
    }

    /// Loads the remaining modules.
    pub fn load_rest(&mut self, job: &mut Job) {
        while self.refused.is_none()
            && let Some(module) = job.next_module()
        {
            self.load(module);
        }
    }

    fn load(&mut self, module: Module) {
        // After a failure, only channel modules are loaded.
        if self.refused.is_some() && !module.for_channel {
            return;
        }
        let name = name(module.path.to_bytes());
        // A module can stop the machine, so its name must be on the console first. Channel modules are well known, and
        // each line on a serial console takes a millisecond.
        if !module.for_channel || self.verbose {
            console::say(Line::new(b"loading ").text(name).bytes());
        }
        let file = match open(module.path, READ_ONLY) {
            Ok(file) => file,
            Err(errno) => return self.refuse(module, errno, Line::new(b"")),
        };
        match load_module(&file, module.parameters) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => self.refuse(module, errno, kmsg::about(name)),
        }
    }

    fn refuse(&mut self, module: Module, errno: Errno, why: Line) {
        console::complain(b"failed to load module", module.path.to_bytes(), errno);
        let refused = Refused { path: module.path, errno, why };
        let place = if module.for_channel { &mut self.missed } else { &mut self.refused };
        place.get_or_insert(refused);
    }
}

/// Returns the file name up to its first dot.
fn name(path: &[u8]) -> &[u8] {
    let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    file.split(|&byte| byte == b'.').next().unwrap_or_default()
}

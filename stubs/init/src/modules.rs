//! Kernel modules, loaded in the order of the job. The host has decompressed and ordered them.

use crate::console;
use crate::job::{Job, Module};
use crate::kmsg;
use crate::line::Line;
use crate::syscall::Errno;
use crate::syscall::file::{READ_ONLY, load_module, open};
use core::ffi::CStr;

/// A module that was needed and could not be loaded, and what the kernel said about it.
pub struct Refused {
    pub path: &'static CStr,
    pub errno: Errno,
    pub why: Line,
}

/// What has happened to the modules so far.
#[derive(Default)]
pub struct Modules {
    pub refused: Option<Refused>,
    /// A module of the channel that could not be loaded: worth a note.
    pub missed: Option<Refused>,
    /// Say everything that is done.
    pub verbose: bool,
}

impl Modules {
    /// Loads the modules up to the last that the channel needs.
    pub fn load_for_channel(&mut self, job: &mut Job) {
        while job.channel_modules > 0
            && let Some(module) = job.next_module()
        {
            self.load(module);
        }
    }

    /// Loads the rest.
    pub fn load_rest(&mut self, job: &mut Job) {
        while self.refused.is_none()
            && let Some(module) = job.next_module()
        {
            self.load(module);
        }
    }

    fn load(&mut self, module: Module) {
        // After a failure only the channel still counts.
        if self.refused.is_some() && !module.for_channel {
            return;
        }
        let name = name(module.path.to_bytes());
        // A module can stop the machine: its name must be on the console by then. The channel's are well known, and every
        // line on a serial console costs a millisecond.
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
        console::complain(b"loading", module.path.to_bytes(), errno);
        let refused = Refused { path: module.path, errno, why };
        let place = if module.for_channel { &mut self.missed } else { &mut self.refused };
        place.get_or_insert(refused);
    }
}

/// The file's name up to its first dot.
fn name(path: &[u8]) -> &[u8] {
    let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    file.split(|&byte| byte == b'.').next().unwrap_or_default()
}

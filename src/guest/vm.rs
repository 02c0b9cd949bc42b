//! A running guest in the hands of a Rust program.
//!
//! The kernel ends QEMU with the *thread* that started it (`prctl(2)`, `PR_SET_PDEATHSIG`), so that no death of ours leaves
//! one behind. A guest therefore has a thread of its own here, which lives as long as the [`Vm`]: whoever holds that may
//! hand it from thread to thread.

use std::ffi::OsString;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::persistent::PersistentGuest;
use super::{Builder, Command, Output, VmError};

/// What the guest's thread is to do next.
type Task = Box<dyn FnOnce(&mut PersistentGuest) + Send>;

/// A guest that runs command after command, each with an [`Output`].
///
/// - Files and loaded modules of a command are there for the next one; its processes are not: they are killed before. What
///   all commands share ([`Builder::with`], [`Builder::copy`], [`Builder::kmod`]) comes with the first one. busybox, and a
///   command's own program with its libraries, are written anew with each.
/// - A guest that does not live to the end of a command (a panic, a power-off, a time that is up) gives an [`Output`] that says
///   so; commands after that are a [`VmError::Gone`], until [`Vm::restart`].
/// - A guest that is restored wakes up with its first command. Its snapshot is kept in the cache, 0.1 GB or so.
///
/// Nothing is written to this process's streams, and no signal is caught (but SIGUSR1 from when a KVM that is there has hung
/// with the probe's guest). Of the environment this is read: `PATH`, to find
/// programs and QEMU; and where no [`Builder::cache`] is named `BOOTLING_CACHE_DIR`, `XDG_CACHE_HOME`, `HOME` and
/// `BOOTLING_CACHE_LIMIT`. Relative paths start at the current directory.
///
/// A `Vm` may be sent to other threads. Its QEMU is killed when it is dropped, and by the kernel when this process ends,
/// however it ends.
pub struct Vm {
    tasks: Option<Sender<Task>>,
    keeper: Option<JoinHandle<()>>,
}

impl Vm {
    /// A guest of one's choice.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn start(builder: Builder) -> Result<Self, VmError> {
        let console = builder.console_file()?;
        let (tell, started) = channel();
        let (tasks, asked) = channel::<Task>();
        let keep = move || match PersistentGuest::start(builder, console) {
            Err(error) => drop(tell.send(Err(error))),
            Ok(mut guest) => {
                drop(tell.send(Ok(())));
                for task in asked {
                    task(&mut guest);
                }
            }
        };
        let keeper = thread::Builder::new().name("bootling-vm".to_owned()).spawn(keep);
        let keeper = keeper.map_err(VmError::io("start", "the guest's thread"))?;
        let mut vm = Self { tasks: Some(tasks), keeper: Some(keeper) };
        match started.recv() {
            Ok(result) => result.map(|()| vm),
            Err(_) => Err(vm.lost()),
        }
    }

    /// Runs a program of this machine with these arguments in the guest.
    pub fn run<W: Into<OsString>>(&mut self, words: impl IntoIterator<Item = W>) -> Result<Output, VmError> {
        self.run_with(&Command::new(words))
    }

    /// Runs a line of the guest's shell.
    pub fn shell(&mut self, line: impl Into<OsString>) -> Result<Output, VmError> {
        self.run_with(&Command::shell(line))
    }

    /// Runs a command with all it can have.
    pub fn run_with(&mut self, command: &Command) -> Result<Output, VmError> {
        let command = command.clone();
        self.ask(move |guest| guest.run(&command))
    }

    /// Ends the guest, if it is there, and starts it as at first, from what kernel and files are now.
    pub fn restart(&mut self) -> Result<(), VmError> {
        self.ask(PersistentGuest::restart)
    }

    /// The number of QEMU's process, for tools that look into it; `None`: the guest is gone.
    pub fn qemu_pid(&mut self) -> Option<u32> {
        self.ask(|guest| Ok(guest.pid())).ok().flatten()
    }

    /// Has the guest's thread do something.
    fn ask<T: Send + 'static>(
        &mut self,
        what: impl FnOnce(&mut PersistentGuest) -> Result<T, VmError> + Send + 'static,
    ) -> Result<T, VmError> {
        let (tell, answer) = channel();
        // Whoever asked waits for the answer.
        let task: Task = Box::new(move |guest| drop(tell.send(what(guest))));
        let sent = self.tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok());
        match answer.recv() {
            Ok(result) if sent => result,
            Ok(_) | Err(_) => Err(self.lost()),
        }
    }

    /// The thread has ended by itself: a panic of its is the caller's, once.
    fn lost(&mut self) -> VmError {
        self.tasks = None;
        if let Some(Err(panic)) = self.keeper.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        VmError::Gone("its thread has ended".to_owned())
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").finish_non_exhaustive()
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // The thread ends with its tasks, and the guest with the thread.
        self.tasks = None;
        if let Some(keeper) = self.keeper.take() {
            // A panic was told to whoever asked for what ended in it.
            drop(keeper.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Vm;

    #[test]
    fn a_vm_may_be_handed_to_another_thread() {
        fn may<T: Send>() {}
        may::<Vm>();
    }
}

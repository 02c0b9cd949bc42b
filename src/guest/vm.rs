//! A guest for several commands, as Rust programs use it.
//!
//! The kernel ends QEMU with the *thread* that started it (`prctl(2)`, `PR_SET_PDEATHSIG`), so that QEMU never outlives this
//! process. A guest therefore has its own thread, which lives as long as the [`Vm`]; the `Vm` may move between threads.

use std::ffi::OsString;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::persistent::PersistentGuest;
use super::{Builder, Command, Output, VmError};

/// A task for the guest's thread.
type Task = Box<dyn FnOnce(&mut PersistentGuest) + Send>;

/// A guest that runs several commands, one after another, each with an [`Output`].
///
/// - Files and loaded modules of a command stay for the next one; its processes are killed. What all commands share
///   ([`Builder::with`], [`Builder::copy`], [`Builder::kmod`]) comes with the first command. busybox, and a command's program
///   with its libraries, are written again for each command.
/// - If the guest ends during a command (panic, power-off, timeout), the [`Output`] reports it; later commands fail with
///   [`VmError::Gone`], until [`Vm::restart`].
/// - A restored guest resumes with its first command. Its snapshot is kept in the cache and takes about 0.1 GB.
///
/// Nothing is written to this process's streams, and no signal is caught (except SIGUSR1, after the KVM probe found a KVM that
/// hangs). Environment variables read: `PATH`, to find programs and QEMU; without [`Builder::cache`] also
/// `BOOTLING_CACHE_DIR`, `XDG_CACHE_HOME`, `HOME` and `BOOTLING_CACHE_LIMIT`. Relative paths start at the current directory.
///
/// A `Vm` may be sent to other threads. Its QEMU is killed when it is dropped, and by the kernel when this process ends.
pub struct Vm {
    tasks: Option<Sender<Task>>,
    keeper: Option<JoinHandle<()>>,
}

impl Vm {
    /// Returns a builder.
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

    /// Runs a program of the host with these arguments in the guest.
    pub fn run<W: Into<OsString>>(&mut self, words: impl IntoIterator<Item = W>) -> Result<Output, VmError> {
        self.run_with(&Command::new(words))
    }

    /// Runs a command line in the guest's shell.
    pub fn shell(&mut self, line: impl Into<OsString>) -> Result<Output, VmError> {
        self.run_with(&Command::shell(line))
    }

    /// Runs a command with all its settings.
    pub fn run_with(&mut self, command: &Command) -> Result<Output, VmError> {
        let command = command.clone();
        self.ask(move |guest| guest.run(&command))
    }

    /// Ends the guest, if it is running, and starts it again from the current kernel and files.
    pub fn restart(&mut self) -> Result<(), VmError> {
        self.ask(PersistentGuest::restart)
    }

    /// QEMU's process ID, for tools that inspect it; `None`: the guest has ended.
    pub fn qemu_pid(&mut self) -> Option<u32> {
        self.ask(|guest| Ok(guest.pid())).ok().flatten()
    }

    /// Runs a task on the guest's thread.
    fn ask<T: Send + 'static>(
        &mut self,
        what: impl FnOnce(&mut PersistentGuest) -> Result<T, VmError> + Send + 'static,
    ) -> Result<T, VmError> {
        let (tell, answer) = channel();
        // The caller waits for the answer.
        let task: Task = Box::new(move |guest| drop(tell.send(what(guest))));
        let sent = self.tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok());
        match answer.recv() {
            Ok(result) if sent => result,
            Ok(_) | Err(_) => Err(self.lost()),
        }
    }

    /// The thread has ended: a panic continues in the caller, once.
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
            // A panic was already passed to the caller of the task.
            drop(keeper.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Vm;

    #[test]
    fn a_vm_may_be_sent_to_another_thread() {
        fn may<T: Send>() {}
        may::<Vm>();
    }
}

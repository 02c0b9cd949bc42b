//! Builds small Linux initrds, boots them in QEMU, and reports exactly what happened.
//!
//! # Guests for Rust programs
//!
//! A [`Vm`] is a guest that is restored from a snapshot, or boots, and runs one command after another, each with an
//! [`Output`]. `kernel` is an image file, a build tree or a package, `cache` a directory of the caller:
//!
//! ```no_run
//! # fn in_a_guest(kernel: &std::path::Path, cache: &std::path::Path) -> Result<(), bootling::VmError> {
//! let mut vm = bootling::Vm::builder().kernel(kernel).cache(cache).start()?;
//! let output = vm.run(["uname", "-s"])?;
//! assert!(output.success(), "{output:?}");
//! assert_eq!(output.text(), "Linux\n");
//! assert_eq!(vm.shell("exit 3")?.status(), Some(3));
//! # Ok(())
//! # }
//! ```
//!
//! # What the program does
//!
//! Every verb of the program `bootling` parses its arguments, calls the library and prints the result:
//!
//! - [`guest::run`] takes a [`guest::RunSpec`] and returns a [`guest::RunResult`]: the [`Outcome`], the output, and a
//!   transcript of everything that happened. [`guest::report`] contains the types of the JSON results.
//! - `initrd` builds initrds, `disk` builds, stamps and checks disk images.
//! - `suite` runs tests x kernels x machines, and writes and merges reports.
//! - `regress` compares two runs, finds the first bad kernel, and packs a run for a bug report.
//!
//! The crate's default feature `cli` adds the program and its dependencies. Without it, only the library is built.
//!
//! # Modules
//!
//! Inside each module, data flows in one direction: specification, resolved facts, plan, bytes or a process, result.
//! A module imports only from modules above it in this table (`tests/layering.rs`):
//!
//! | module | task | side effects |
//! |---|---|---|
//! | `sys` | wrappers around system interfaces; the only file with `unsafe` code | system calls |
//! | `arch` | architectures and their properties | none |
//! | `process` | child processes that never outlive the caller, signals | starts processes |
//! | `cache` | private cache directory for results that are slow to compute | reads and writes the cache |
//! | `format` | archives, executables, kernels, partition tables, file systems, disk containers, guest protocol | none |
//! | `output` | outputs that appear complete or not at all | writes files |
//! | `root` | programs, libraries, kernels and modules below a root directory | reads files |
//! | `initrd` | initrds: specification, plan, archive | writes the archive |
//! | `disk` | disk images: specification, layout, image; stamping and checking | reads and writes images |
//! | `qemu` | QEMU's command line, accelerators, firmware, QMP | probes KVM and QEMU |
//! | `guest` | a guest from its specification to its result | runs QEMU |
//! | `suite` | test matrix: manifest, schedule, verdicts, reports | runs guests |
//! | `regress` | comparison, bisection, bundles | runs guests, git and builds |
//! | `watch` | changes of a run's inputs | watches files, runs builds |
//!
//! `docs/architecture.md` in the repository follows one run through these modules.

#[doc(hidden)]
pub mod arch;
#[doc(hidden)]
pub mod cache;
#[doc(hidden)]
pub mod disk;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod guest;
#[doc(hidden)]
pub mod initrd;
#[doc(hidden)]
pub mod output;
#[doc(hidden)]
pub mod process;
#[doc(hidden)]
pub mod qemu;
#[doc(hidden)]
pub mod regress;
#[doc(hidden)]
pub mod root;
#[doc(hidden)]
pub mod suite;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod watch;

pub use guest::verdict::Outcome;
pub use guest::{Builder, Command, Output, Vm, VmError};
pub use qemu::spec::Accel;

//! bootling: tiny Linux images, built in milliseconds, booted at once, judged honestly.
//!
//! Data flows one way, and no stage calls back into one above it:
//!
//! ```text
//! Args -> Spec -> resolve -> Plan -> write -> boot -> Transcript -> Verdict
//! ```
//!
//! | module | takes | gives | touches |
//! |---|---|---|---|
//! | [`spec`] | what was typed | what is meant | nothing |
//! | [`resolve`] | a spec | facts about a root directory | reads |
//! | [`plan`] | facts | a checked map from archive path to entry | nothing |
//! | [`write`] | a checked plan | bytes | writes |
//! | [`image`] | a path | a disk's bytes, in whatever container | reads, writes in place |
//! | [`check`] | a disk, an EFI program, an initrd | findings, by rule | nothing |
//! | [`boot`] | artefacts and a boot spec | a transcript of typed events | spawns |
//! | [`verdict`] | a transcript | an outcome and an exit code | nothing |
//! | [`vm`] | all that is wanted of one run | a kernel, a machine and an initrd, ready to boot | by the stages |
//! | [`regress`] | the same command, twice or on many kernels | what is different, and since when | by the stages, git |
//! | [`matrix`] | a manifest's plan | a report: each cell, judged | by the stages, many at a time |
//! | [`watch`] | what a round was made from | what of it has changed, once it is at rest | looks |
//! | [`cli`] | the command line | an exit code | the terminal |
//!
//! Above all stages stand [`arch`] (facts about architectures), [`proto`] (what host and guest agree on), [`sys`] (the
//! one file that may say `unsafe`), [`cache`] (what is slow to make, kept between runs), [`pid1`] (the guest's pid 1,
//! built from `stubs/init` and embedded) and [`disk`] (what stands on a PC's disks, as plain values: tables, FAT, PE, the
//! boot sector).
//! `tests/layering.rs` holds the order.
//!
//! For Rust programs, tests above all, there is [`Vm`]: a guest that boots once, or is restored, and runs command after
//! command, each with an [`Output`]. `kernel` is an image file, a build tree or a package, `cache` a directory of the user's:
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

pub mod arch;
pub mod cache;
pub mod disk;
pub mod format;
pub mod guest;
pub mod initrd;
pub mod output;
pub mod process;
pub mod qemu;
pub mod regress;
pub mod root;
pub mod suite;
pub mod sys;
pub mod watch;

pub use guest::verdict::Outcome;
pub use guest::{Builder, Command, Output, Vm, VmError};
pub use qemu::spec::Accel;

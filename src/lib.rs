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
//! [`run`] takes a [`RunSpec`] and returns a [`RunResult`]: the [`Outcome`], the output, and a transcript of everything
//! that happened. [`RunReport`] is the same as JSON.
//!
//! # Initrds
//!
//! An [`InitrdSpec`] is resolved to a [`Plan`], which is checked and written:
//!
//! ```
//! use bootling::{Compression, InitrdSpec, OutputFile, Purpose, Root, RunWhat, plan_initrd, write_initrd};
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("initrd.img");
//!
//! let run = RunWhat::Command(vec!["/bin/true".into()]);
//! let spec = InitrdSpec { busybox: false, run, ..InitrdSpec::default() };
//! let (plan, _notes) = plan_initrd(&Root::new("/")?, None, &spec, None)?;
//! let size = write_initrd(&plan.check(Purpose::Image)?, OutputFile::create(&path)?, Compression::Gzip, 0)?;
//! # assert_eq!(path.metadata()?.len(), size);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Disk images
//!
//! A [`Disk`] has an EFI system partition with an [`EfiProgram`], and a boot sector that tells users of a legacy BIOS
//! that the disk requires UEFI:
//!
//! ```
//! use bootling::{Disk, DiskSpec, EfiProgram, Format};
//! # let dir = tempfile::tempdir()?;
//! # let (program, path) = ("/usr/lib/systemd/boot/efi/linuxx64.efi.stub".as_ref(), dir.path().join("disk.qcow2"));
//!
//! let program = EfiProgram::open(program)?;
//! let disk = Disk::new(&program, &DiskSpec::default(), dir.path())?;
//! disk.write(Format::Qcow2, &path)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`stamp_image`] changes the boot sector of any image, and [`check_file`] checks a file against the table of rules:
//!
//! ```
//! # use bootling::{Disk, DiskSpec, EfiProgram, Format};
//! use bootling::{Severity, StampAction, StampRequest, StampSpec, check_file, stamp_image};
//! # let dir = tempfile::tempdir()?;
//! # let path = &dir.path().join("disk.img");
//! # let program = EfiProgram::open("/usr/lib/systemd/boot/efi/linuxx64.efi.stub".as_ref())?;
//! # Disk::new(&program, &DiskSpec::default(), dir.path())?.write(Format::Raw, path)?;
//!
//! let request = StampRequest::new(StampAction::Write(DiskSpec::default().boot_code));
//! let spec = StampSpec { save: Some(path.with_extension("saved")), ..StampSpec::new(request) };
//! println!("{}", stamp_image(path, &spec)?.summary());
//! let report = check_file(path, false, &mut |note| println!("{note}"))?;
//! assert_eq!(report.count(Severity::Error), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Tests
//!
//! A manifest's tests run with each kernel on each machine. The [`SuiteReport`] has a verdict for each cell:
//!
//! ```no_run
//! use bootling::{EventChannel, Origin, SuiteOptions, TestPlan, TestSpec, run_tests};
//!
//! let manifest = std::fs::read_to_string("bootling.toml")?;
//! let spec = TestSpec::parse(&manifest, Origin { file: "bootling.toml", folder: "".as_ref(), kernels: &[] })?;
//! let plan = TestPlan::new(spec, &Default::default(), None)?;
//! let report = run_tests(plan, SuiteOptions::default(), &EventChannel::default(), &mut |event| println!("{event:?}"));
//! assert!(report.is_good());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The program
//!
//! Every verb of the program `bootling` parses its arguments, calls the library and prints the result. The crate's
//! default feature `cli` adds the program and its dependencies. Without it, only the library is built. The modules are
//! public for the program and for tests; only the items on this page are the API.
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

// Guests.
pub use guest::autoload::record::{LoadedModule, Requester as ModuleRequester};
pub use guest::collect::record::Collected;
pub use guest::disk_report::BootReport;
pub use guest::files::report::ShareReport;
pub use guest::report::{NotRun, QemuReport, Recorded, RecordedResult, RunReport, Times as RunTimes};
pub use guest::verdict::Outcome;
pub use guest::{
    Builder, Command, Cwd, Limits, Listener, Output, Prepared, RunOptions, RunResult, RunSpec, Silent, Streams,
    TimeLimit, Vm, VmError, Warm, prepare, run,
};
pub use qemu::device::files::{FilesRequest, RootRequest, ShareRequest, Support as FilesSupport};
pub use qemu::spec::{Accel, BootSpec, FirmwareRef};

// Initrds.
pub use format::compression::Compression;
pub use guest::image::plan as plan_initrd;
pub use initrd::archive::image as write_initrd;
pub use initrd::{CheckedPlan, Plan, Purpose};
pub use output::file::Output as OutputFile;
pub use root::directory::Root;
pub use root::request::{Copy, KernelRef, ModuleRequest};
pub use root::spec::{InitrdSpec, RunWhat};

// Disk images.
pub use disk::build::{Disk, DiskError, EfiProgram};
pub use disk::check::disk::disk as check_disk;
pub use disk::check::efi::program as check_program;
pub use disk::check::initrd::initrd as check_initrd;
pub use disk::check::{CheckError, Finding, Place, Report as CheckReport, Rule, Severity, check_file};
pub use disk::container::{Access, Content as ImageContent, Image as OpenImage, open as open_image};
pub use disk::spec::{DiskSpec, Format, RootFileSystem, RootSpec};
pub use disk::stamp::{
    Action as StampAction, Facts as StampFacts, Objection, Request as StampRequest, Stamp, StampError, StampReport,
    StampSpec, apply as apply_stamp, plan as plan_stamp, stamp_image,
};

// Tests.
pub use suite::baseline::{Comparison, compare as compare_reports};
pub use suite::manifest::{Origin, TestSpec};
pub use suite::plan::{Filter, Plan as TestPlan, PlanError};
pub use suite::report::{Attempt, CellReport, Header, Part, PartResult, Report as SuiteReport, Status, Times};
pub use suite::run::{Event, EventChannel, Options as SuiteOptions, StopHandle, run as run_tests};

// Regressions.
pub use regress::bisect::{BisectResult, Candidate, Step};
pub use regress::compare::Report as ComparisonReport;

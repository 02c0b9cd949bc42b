//! The command line: each verb's module parses its arguments, calls the library and prints the result.
//!
//! Exit codes: the verb's own; 125 if bootling fails or its output is lost; 2 for usage errors. Usage errors of `run` exit
//! with 125, so that `git bisect run` skips the commit, or with 128 if `--bisect` is given, so that it aborts.

mod bisect;
mod boot;
mod boot_options;
pub(crate) mod build;
mod bundle;
pub(crate) mod byebyebios;
mod check;
mod compare;
mod completions;
mod digest;
mod disk;
mod doctor;
mod fetch;
mod hang_options;
mod health;
mod json;
mod listing;
pub(crate) mod ls;
pub(crate) mod make_tiny_image;
mod man;
pub(crate) mod options;
pub(crate) mod output;
mod progress;
mod proof;
mod report_file;
mod reporter;
mod result;
mod run;
mod run_options;
pub(crate) mod sign_options;
mod stamp;
mod test;
mod typed;
mod warm;
mod watch;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Command, CommandFactory, Parser, Subcommand};

use bootling::VmError;
use bootling::guest::verdict::code;
use bootling::root::fetch::FetchError;
use bootling::root::kernel::KernelError;
use bootling::suite::import::ImportError;
use bootling::suite::lock::LockError;

/// Exit code for failures of bootling itself.
const FAILED: u8 = 125;

/// Exit code for usage errors with `--bisect`, which makes `git bisect run` abort.
const WRONG_FOR_GIT: u8 = 128;

/// Build small Linux initrds and disk images, boot them in QEMU, and report the result
#[derive(Debug, Parser)]
#[command(name = "bootling", version, max_term_width = 120, disable_help_subcommand = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Verbs.
#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::RunArgs),
    /// Run COMMAND in a guest, and again whenever one of its inputs changes (run --watch)
    Watch(run::RunArgs),
    Build(build::BuildArgs),
    Disk(disk::DiskArgs),
    Stamp(stamp::StampArgs),
    Boot(boot::BootDiskArgs),
    Check(check::CheckArgs),
    Compare(Box<compare::CompareArgs>),
    Bisect(bisect::BisectArgs),
    Bundle(bundle::BundleArgs),
    Digest(digest::DigestArgs),
    Ls(ls::LsArgs),
    Cat(ls::CatArgs),
    Doctor(doctor::DoctorArgs),
    Fetch(fetch::FetchArgs),
    Warm(warm::WarmArgs),
    Test(Box<test::TestArgs>),
    /// Build an initrd with the options and defaults of make-tiny-image
    #[command(name = ANCESTOR)]
    MakeTinyImage(make_tiny_image::MakeTinyImage),
    /// Install a boot sector with the options of byebyebios
    #[command(name = OTHER_ANCESTOR)]
    ByeByeBios(byebyebios::ByeByeBios),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

const EXAMPLES: &str = "Examples:
  bootling run --kernel bzImage -- ./mytest   Exit with the status of a command
  bootling run --warm -- ./mytest             The same from a snapshot, faster
  bootling run                                Open a shell in a guest
  bootling test --init && bootling test       Run a matrix of tests
  bootling disk --run ./mytest -o disk.img    Build a disk image for UEFI
  bootling doctor                             Check what works on this host

`bootling VERB --help` describes each verb, with examples.";

/// Program name that selects the command line of make-tiny-image.
const ANCESTOR: &str = "make-tiny-image";
/// Program name that selects the command line of byebyebios.
const OTHER_ANCESTOR: &str = "byebyebios";

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let start = Instant::now();
    if let Err(error) = bootling::process::signals::survive_size_limit() {
        output::fail(&anyhow::Error::from(error).context("failed to catch SIGXFSZ"));
        return ExitCode::from(FAILED);
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().and_then(|word| Path::new(word).file_stem());
    let is = |ancestor: &str| called.is_some_and(|name| name == ancestor);
    let verb = if is(ANCESTOR) {
        make_tiny_image::MakeTinyImage::try_parse_from(&words).map(Verb::MakeTinyImage)
    } else if is(OTHER_ANCESTOR) {
        byebyebios::ByeByeBios::try_parse_from(&words).map(Verb::ByeByeBios)
    } else {
        Cli::try_parse_from(&words).map(|cli| cli.verb)
    };
    let done = match verb {
        Ok(verb) => run_verb(verb, start),
        Err(error) => return usage(&error, &words),
    };
    let code = done.unwrap_or_else(|error| {
        output::fail(&error);
        exit_code(&error)
    });
    ExitCode::from(output_code(code))
}

/// Returns the exit code of a verb, which is not 0 if its output was lost.
fn output_code(code: u8) -> u8 {
    if output::report_lost() && code == 0 { FAILED } else { code }
}

/// Returns the exit code of an error: of a signal, if one ended the programs that were running, such as apt or make.
fn exit_code(error: &anyhow::Error) -> u8 {
    let imports = || match error.downcast_ref() {
        Some(ImportError::Interrupted(signal)) => Some(*signal),
        _ => None,
    };
    signal_code(error).or_else(|| imports().map(code_of_signal)).unwrap_or(FAILED)
}

/// Returns the exit code of an error if a signal ended apt.
fn signal_code(error: &anyhow::Error) -> Option<u8> {
    let fetch = error.downcast_ref::<FetchError>().and_then(FetchError::signal);
    let kernel = || error.downcast_ref::<KernelError>().and_then(KernelError::signal);
    let guest = || error.downcast_ref::<VmError>().and_then(VmError::signal);
    let lock = || error.downcast_ref::<LockError>().and_then(LockError::signal);
    fetch.or_else(kernel).or_else(guest).or_else(lock).map(code_of_signal)
}

fn code_of_signal(signal: i32) -> u8 {
    code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0))
}

fn run_verb(verb: Verb, start: Instant) -> anyhow::Result<u8> {
    match verb {
        Verb::Run(args) => run::run(&args, start),
        Verb::Watch(mut args) => {
            args.watching.enable();
            run::run(&args, start)
        }
        Verb::Build(args) => build::run(&args, start),
        Verb::Disk(args) => disk::run(&args, start),
        Verb::Stamp(args) => stamp::run(&args),
        Verb::Boot(args) => boot::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Bisect(args) => bisect::run(&args),
        Verb::Bundle(args) => bundle::run(&args),
        Verb::Compare(args) => compare::run(&args),
        Verb::Digest(args) => digest::run(&args),
        Verb::Ls(args) => ls::run(&args),
        Verb::Cat(args) => ls::run_cat(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Fetch(args) => fetch::run(&args),
        Verb::Warm(args) => warm::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::MakeTinyImage(args) => make_tiny_image::run(args, start),
        Verb::ByeByeBios(args) => byebyebios::run(&args),
        Verb::Completions(args) => completions::run(&args, Cli::command()),
        Verb::Man(args) => man::run(&args, programs()),
    }
}

/// Returns the definitions of the command lines, one for each program name.
fn programs() -> [Command; 3] {
    [Cli::command(), make_tiny_image::MakeTinyImage::command(), byebyebios::ByeByeBios::command()]
}

/// Prints help, version or a usage error, and returns the exit code.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if error.exit_code() == 0 {
        // Help and version. The last writer reports a failure, below.
        let _ = write!(output::stdout(), "{}", error.render().ansi());
        return ExitCode::from(output_code(0));
    }
    // A closed standard error leaves no way to report this.
    let _ = error.print();
    let to_run = words.get(1).is_some_and(|word| word == "run" || word == "watch");
    let bisects = words.iter().take_while(|word| *word != "--").any(|word| word == "--bisect");
    match error.exit_code() {
        // The arguments are wrong for every commit: 128 makes git abort.
        _ if to_run && bisects => ExitCode::from(WRONG_FOR_GIT),
        _ if to_run => ExitCode::from(FAILED),
        code => ExitCode::from(u8::try_from(code).unwrap_or(FAILED)),
    }
}

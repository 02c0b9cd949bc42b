//! The command line: arguments as typed become specs as meant; one `run` a verb.
//!
//! Exit codes: a verb's own; 125 where bootling itself failed; 2 for wrong usage, but 125 for that of `run`, so that
//! `git bisect run` skips what could not be tested, and 128 with `--bisect`, so that it stops.

mod bisect;
mod boot;
mod boot_disk;
mod boot_options;
mod boot_report;
pub mod build;
mod bundle;
pub mod byebyebios;
mod check;
mod compare;
mod digest;
mod disk;
mod doctor;
mod hang_options;
mod health;
mod json;
mod listing;
pub mod ls;
pub mod make_tiny_image;
mod opened;
pub mod options;
pub mod output;
mod progress;
mod proof;
mod report;
mod report_file;
mod run;
mod run_options;
pub mod sign_options;
mod stamp;
mod talker;
mod teller;
mod test;
mod typed;
mod warm;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

/// What bootling exits with where it could not do its work.
const FAILED: u8 = 125;

/// What it exits with where `git bisect run` gave it arguments that are wrong.
const WRONG_FOR_GIT: u8 = 128;

/// Tiny Linux images, built in milliseconds, booted at once, judged honestly
#[derive(Debug, Parser)]
#[command(name = "bootling", version, max_term_width = 120, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::RunArgs),
    /// Run COMMAND in a guest again whenever something it was made from changes: run --watch
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
    Warm(warm::WarmArgs),
    Test(Box<test::TestArgs>),
    /// Build an image as make-tiny-image does: the same options, the same defaults
    #[command(name = ANCESTOR)]
    MakeTinyImage(make_tiny_image::MakeTinyImage),
    /// Install a boot sector as byebyebios does: the same options
    #[command(name = OTHER_ANCESTOR)]
    ByeByeBios(byebyebios::ByeByeBios),
}

/// The ancestor's name: by that name bootling takes its command line.
const ANCESTOR: &str = "make-tiny-image";
/// That of the other one, who makes boot sectors.
const OTHER_ANCESTOR: &str = "byebyebios";

/// Runs the program.
pub fn main() -> ExitCode {
    let start = Instant::now();
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
    done.map_or_else(
        |error| {
            output::fail(&error);
            ExitCode::from(FAILED)
        },
        ExitCode::from,
    )
}

fn run_verb(verb: Verb, start: Instant) -> anyhow::Result<u8> {
    match verb {
        Verb::Run(args) => run::run(&args, start),
        Verb::Watch(mut args) => {
            args.watching.want();
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
        Verb::Warm(args) => warm::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::MakeTinyImage(args) => make_tiny_image::run(args, start),
        Verb::ByeByeBios(args) => byebyebios::run(&args),
    }
}

/// Help, version, or what is wrong with the arguments.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    // Where nobody can read it there is nobody left to tell.
    let _ = error.print();
    let to_run = words.get(1).is_some_and(|word| word == "run" || word == "watch");
    let bisects = words.iter().take_while(|word| *word != "--").any(|word| word == "--bisect");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        // No commit can be tested like this: git stops at 128.
        _ if to_run && bisects => ExitCode::from(WRONG_FOR_GIT),
        _ if to_run => ExitCode::from(FAILED),
        code => ExitCode::from(u8::try_from(code).unwrap_or(FAILED)),
    }
}

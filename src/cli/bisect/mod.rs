//! `bootling bisect`: finds the first bad commit or kernel package by building, booting and testing.

mod report;
mod tester;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use super::boot_options::limit;
use super::json::Json;
use super::output;
use super::progress::Progress;
use super::run_options::{RunOptions, Typed};
use bootling::guest::TimeLimit;
use bootling::guest::verdict::code;
use bootling::process::shell::Build;
use bootling::process::signals::Signals;
use bootling::qemu::argv::shell_line;
use bootling::regress::bisect::git::{Git, WorkTree};
use bootling::regress::bisect::list::Kernels;
use bootling::regress::bisect::{BisectAnswer, BisectError, Bisection, History, Log, SkipPolicy, Tester};
use bootling::root::spec::RunWhat;

/// Exit code if several suspects remain.
const SUSPECTS: u8 = 1;

/// Find the commit or kernel package that broke COMMAND, by building, booting and testing each step of a git bisect
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub(crate) struct BisectArgs {
    /// A commit for which COMMAND passes; with --kernels, a file name or version (default: the oldest).
    #[arg(long, value_name = "REV", help_heading = "Bisection", required_unless_present_any = ["kernels", "resume"])]
    good: Option<String>,
    /// A commit for which COMMAND fails; with --kernels, a file name or version (default: the newest).
    #[arg(long, value_name = "REV", help_heading = "Bisection", required_unless_present_any = ["kernels", "resume"])]
    bad: Option<String>,
    /// Git repository. Default: the one that contains the current directory.
    #[arg(long, value_name = "DIR", help_heading = "Bisection", conflicts_with = "kernels")]
    kernel_repo: Option<PathBuf>,
    /// Build each commit with this shell line, run in the working tree.
    #[arg(long, value_name = "LINE", help_heading = "Bisection", conflicts_with = "kernels")]
    build: Option<OsString>,
    /// Bisect these kernel packages or images, sorted by version, instead of a repository.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Bisection")]
    kernels: Vec<PathBuf>,
    /// Run COMMAND N times per commit, each time in a new guest. A commit that both passes and fails is flaky.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Bisection")]
    tries: u32,
    /// Treat flaky commits as bad or skip them.
    #[arg(long, value_enum, default_value_t = AnswerArg::Bad, help_heading = "Bisection")]
    flaky: AnswerArg,
    /// Treat commits that do not boot as bad or skip them. Default: bad if the --bad commit does not boot either, else
    /// skip.
    #[arg(long, value_enum, help_heading = "Bisection")]
    no_boot: Option<AnswerArg>,
    /// Skip verifying --good and --bad.
    #[arg(long, help_heading = "Bisection")]
    no_check: bool,
    /// Time limit for each build.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Bisection")]
    build_timeout: Option<TimeLimit>,
    /// Check out commits in DIR and keep it, so that the next bisection can reuse its build products.
    #[arg(long, value_name = "DIR", help_heading = "Bisection", conflicts_with_all = ["kernels", "in_place"])]
    worktree: Option<PathBuf>,
    /// Check out commits in the repository's own working tree, to reuse its build products. The tree must be clean. Do
    /// not edit in it meanwhile: each step starts with a clean tree, changes to tracked files are reported and stashed,
    /// and other files are preserved.
    #[arg(long, help_heading = "Bisection", conflicts_with = "kernels")]
    in_place: bool,
    /// Log file, readable by `git bisect replay`.
    #[arg(long, value_name = "FILE", default_value = "bisect.log", help_heading = "Bisection")]
    log: PathBuf,
    /// Continue the interrupted bisection in the log, with its good and bad commits.
    #[arg(long, help_heading = "Bisection", conflicts_with_all = ["good", "bad"])]
    resume: bool,
    /// Show the output of builds. By default, only the first errors and the last lines of failed builds are shown.
    #[arg(long, short, help_heading = "Output")]
    verbose: bool,
    /// Write the result and all steps as JSON to FILE ('-' for standard output).
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    #[command(flatten)]
    options: RunOptions,
}

/// `--flaky`, `--no-boot`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AnswerArg {
    /// Bad
    Bad,
    /// Skip
    Skip,
}

impl AnswerArg {
    const fn answer(self) -> BisectAnswer {
        match self {
            Self::Bad => BisectAnswer::Bad,
            Self::Skip => BisectAnswer::Skip,
        }
    }
}

macro_rules! examples {
    () => {
        "Examples:
  bootling bisect --good v6.11 --bad v6.12 --kernel-repo ~/linux \\
      --build 'cp ~/my.config .config && make -s olddefconfig && make -sj$(nproc)' -- ./mytest
  bootling bisect --good v6.11 --bad HEAD --in-place --build 'make -sj8' --run 'modprobe foo && ./x'
  bootling bisect --kernels *.deb -- ./mytest       find the package that broke it
  bootling bisect --kernels *.deb --tries 5 -- ./sometimes-fails
  bootling bisect --resume --build 'make -sj8' -- ./mytest
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
Result of each step:
  not built    the build failed, or produced no kernel                     skip
  not booting  panic, reset or hang before pid 1 started                   --no-boot
  good         COMMAND exited with 0                                       good
  bad          any other result after pid 1 started                        bad
  flaky        both good and bad within --tries                            --flaky
  untestable   COMMAND exited with 125, or QEMU did not start              skip

  --good and --bad are tested first, since wrong assumptions about them are the most common cause of a wrong result.
  Commits are checked out in a temporary git worktree; your working tree is not modified. --worktree keeps the worktree,
  --in-place uses your working tree. The build runs in that tree. --kernel names the kernel relative to it; the default
  is the tree as a kernel build tree. All other paths are relative to the current directory. {tree} in an option or in
  COMMAND is replaced by the path of the tree: --copy '{tree}/tools/testing/selftests/x=/x'.

  Ctrl-C ends the build or the guest and restores the repository. The log contains each answer with its reason; continue
  with --resume, or load it into git with `git bisect replay LOG`.

Exit status:
  0  the first bad commit was found    1  several suspects remain, because commits between them were skipped
  125  the bisection failed            128+n  ended by signal n    2  usage error
"
);

/// Runs the verb.
pub(crate) fn run(args: &BisectArgs) -> anyhow::Result<u8> {
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let run = args.options.read()?;
    ensure!(run.wanted() != RunWhat::Shell, "cannot bisect with a shell: give COMMAND or --run LINE");
    let log = Log::open(&args.log, args.resume, log_header(args)).map_err(advised)?;
    let [good, bad] = log.ends.clone().map_or([args.good.clone(), args.bad.clone()], |ends| ends.map(Some));
    // From here on a signal ends the current step, and the repository is restored.
    let signals = Signals::catch().context("failed to catch signals")?;
    let history = if args.kernels.is_empty() {
        let (Some(good), Some(bad)) = (good, bad) else { bail!("a repository requires --good and --bad") };
        let repository = args.kernel_repo.as_deref().unwrap_or(Path::new("."));
        let work_tree = match (&args.worktree, args.in_place) {
            (Some(path), _) => WorkTree::At(path.clone()),
            (None, true) => WorkTree::InPlace,
            (None, false) => WorkTree::Temporary,
        };
        History::Git(Git::open(repository, &good, &bad, &work_tree, output::note)?)
    } else {
        History::List(Kernels::new(&args.kernels, good.as_deref(), bad.as_deref())?)
    };
    let tree = history.tree().map(Path::to_owned);
    if let Some(tree) = &tree {
        output::note(&format!("checking commits out in {}", tree.display()));
    }
    let limit = args.build_timeout.and_then(TimeLimit::duration);
    let build = args.build.as_deref().zip(tree.as_deref());
    let mut tester = Tester {
        build: build.map(|(line, directory)| Build { line, directory, limit, kept: None }),
        verbose: args.verbose,
        tries: args.tries,
        signals,
        run_guest: &mut |candidate, signals| tester::test(&args.options, tree.as_deref(), candidate, signals),
    };
    let mut line = Progress::new(false);
    let bisection = Bisection {
        history,
        policy: SkipPolicy { no_boot: args.no_boot.map(AnswerArg::answer), flaky: args.flaky.answer() },
        tests_ends: !args.no_check,
        log,
        test: &mut |candidate, progress| tester.test(candidate, progress),
        progress: &mut |progress| report::progress(&mut line, &progress),
    };
    let result = match bisection.run() {
        Ok(result) => result,
        Err(BisectError::Interrupted { signal, is_logged }) => {
            output::note(&if is_logged {
                format!("interrupted; --resume continues with {}", args.log.display())
            } else {
                "interrupted before both ends were tested; there is no log to resume".to_owned()
            });
            return Ok(code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)));
        }
        Err(error) => return Err(advised(error)),
    };
    report::result(&result, &args.log)?;
    if let Some(json) = json {
        json.write(&result)?;
    }
    Ok(if result.first_bad.is_some() { 0 } else { SUSPECTS })
}

/// Attaches advice to an error.
fn advised(error: BisectError) -> anyhow::Error {
    if let BisectError::WrongEnd { .. } = error {
        output::advise(error, "check the test with this kernel, or use --no-check to bisect regardless")
    } else if let BisectError::Unfinished(_) = error {
        output::advise(error, "continue it with --resume, or use --log for another file")
    } else {
        error.into()
    }
}

/// Returns the header lines of the log.
fn log_header(args: &BisectArgs) -> Vec<String> {
    let mut words: Vec<OsString> = args.options.typed.iter().map(Typed::word).collect();
    words.push("--".into());
    words.extend_from_slice(&args.options.command);
    let test = format!("test: {}", shell_line(&words).to_string_lossy());
    let build = args.build.as_ref().map(|line| format!("build: {}", line.to_string_lossy()));
    build.into_iter().chain([test, format!("tries: {}", args.tries)]).collect()
}

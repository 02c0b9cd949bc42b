//! `bootling bisect`: finds the first bad commit or kernel package by building, booting and testing.

mod report;
mod tester;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use self::report::{Report, Told};
use self::tester::{Kernel, Tests};
use super::boot_options::limit;
use super::json::Json;
use super::output;
use super::run_options::RunOptions;
use bootling::guest::TimeLimit;
use bootling::guest::verdict::code;
use bootling::initrd::spec::RunWhat;
use bootling::process::signals::Signals;
use bootling::qemu::argv::shell_line;
use bootling::regress::bisect::git::{Git, Place};
use bootling::regress::bisect::list::Kernels;
use bootling::regress::bisect::log::{Log, Writer};
use bootling::regress::bisect::{Answer, BisectError, Bisection, Found, History, Policy};

/// Exit code if several suspects remain.
const SUSPECTS: u8 = 1;

/// Find the commit or kernel package that broke COMMAND, by building, booting and testing each step of a git bisect
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent option")]
pub struct BisectArgs {
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
    /// Show the output of builds. By default, only the last lines of failed builds are shown.
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
    const fn meant(self) -> Answer {
        match self {
            Self::Bad => Answer::Bad,
            Self::Skip => Answer::Skip,
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
pub fn run(args: &BisectArgs) -> anyhow::Result<u8> {
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let run = args.options.read()?;
    ensure!(run.wanted() != RunWhat::Shell, "cannot bisect with a shell: give COMMAND or --run LINE");
    let before = earlier(args)?;
    let ends = before.ends.clone().map_or([args.good.clone(), args.bad.clone()], |ends| ends.map(Some));
    // From here on a signal ends the current step, and the repository is restored.
    let signals = Signals::catch().context("failed to catch signals")?;
    let mut told = Told::new(&args.log, args.resume);
    let found = if args.kernels.is_empty() {
        let [Some(good), Some(bad)] = ends else { bail!("a repository requires --good and --bad") };
        let repository = args.kernel_repo.clone().unwrap_or_else(|| PathBuf::from("."));
        let place = match (&args.worktree, args.in_place) {
            (Some(path), _) => Place::At(path.clone()),
            (None, true) => Place::InPlace,
            (None, false) => Place::Temporary,
        };
        let mut git = Git::open(&repository, &good, &bad, place, output::note)?;
        let tree = git.tree().to_owned();
        output::note(&format!("checking commits out in {}", tree.display()));
        let build = args.build.as_deref();
        let limit = args.build_timeout.and_then(TimeLimit::duration);
        let kernel = Kernel::Built { tree: &tree, line: build, limit, verbose: args.verbose };
        bisect(args, &mut git, kernel, signals, &before, &mut told)
    } else {
        let mut kernels = Kernels::new(&args.kernels, ends[0].as_deref(), ends[1].as_deref())?;
        bisect(args, &mut kernels, Kernel::Listed, signals, &before, &mut told)
    };
    let found = match found {
        Ok(found) => found,
        Err(BisectError::Interrupted(signal)) => {
            output::note(&if told.is_logged {
                format!("interrupted; --resume continues with {}", args.log.display())
            } else {
                "interrupted before both ends were tested; there is no log to resume".to_owned()
            });
            return Ok(code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)));
        }
        Err(error @ BisectError::End { .. }) => {
            let advice = "check the test with this kernel, or use --no-check to bisect regardless";
            return Err(output::advise(error, advice));
        }
        Err(error) => return Err(error.into()),
    };
    report::found(&found, &told)?;
    if let Some(json) = json {
        json.write(&Report::new(&found, &told.steps))?;
    }
    Ok(if found.suspects.len() == 1 { 0 } else { SUSPECTS })
}

/// Runs the bisection.
fn bisect(
    args: &BisectArgs,
    history: &mut dyn History,
    kernel: Kernel<'_>,
    signals: Signals,
    before: &Log,
    told: &mut Told,
) -> Result<Found, BisectError> {
    let program = match kernel {
        Kernel::Built { .. } => "git",
        Kernel::Listed => "bootling",
    };
    let log = Writer::new(program, &history.ends(), &about(args));
    let policy = Policy { no_boot: args.no_boot.map(AnswerArg::meant), flaky: args.flaky.meant() };
    let mut tester = Tests { options: &args.options, kernel, tries: args.tries, signals };
    let bisection = Bisection { history, tester: &mut tester, teller: told, policy, checks: !args.no_check, log };
    bisection.run(before)
}

/// Returns the header lines of the log.
fn about(args: &BisectArgs) -> Vec<String> {
    let mut words: Vec<OsString> = args.options.typed.iter().map(super::run_options::Typed::word).collect();
    words.push("--".into());
    words.extend_from_slice(&args.options.command);
    let test = format!("test: {}", shell_line(&words).to_string_lossy());
    let build = args.build.as_ref().map(|line| format!("build: {}", line.to_string_lossy()));
    build.into_iter().chain([test, format!("tries: {}", args.tries)]).collect()
}

/// Reads the log of an earlier bisection, if any. Refuses to overwrite the log of an unfinished one.
fn earlier(args: &BisectArgs) -> anyhow::Result<Log> {
    let path = &args.log;
    let text = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    let log = text.as_deref().map(Log::read);
    match (log, args.resume) {
        (None, false) => Ok(Log::default()),
        (None, true) => bail!("failed to resume from {}: no such file", path.display()),
        (Some(None), _) => bail!("invalid --log {}: the file exists and is not a bootling log", path.display()),
        (Some(Some(log)), true) => {
            ensure!(
                log.ends.is_some(),
                "failed to resume from {}: the log does not contain the good and bad ends",
                path.display()
            );
            Ok(Log { done: false, ..log })
        }
        (Some(Some(log)), false) if log.done => Ok(Log::default()),
        (Some(Some(_)), false) => {
            let error = anyhow::anyhow!("invalid --log {}: it belongs to an unfinished bisection", path.display());
            Err(output::advise(error, "continue it with --resume, or use --log for another file"))
        }
    }
}

/// Formats a duration in seconds.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Replaces `{tree}` in an argument by the path of the tree, byte for byte.
fn with_tree(word: &std::ffi::OsStr, tree: Option<&Path>) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    const TREE: &[u8] = b"{tree}";
    let (Some(tree), mut rest) = (tree, word.as_bytes()) else { return word.to_owned() };
    let mut bytes = Vec::new();
    while let Some(at) = rest.windows(TREE.len()).position(|window| window == TREE) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(tree.as_os_str().as_bytes());
        rest = &rest[at + TREE.len()..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::with_tree;
    use std::ffi::OsStr;
    use std::path::Path;

    #[test]
    fn the_tree_is_put_in_wherever_it_is_named() {
        let put = |word: &str| with_tree(OsStr::new(word), Some(Path::new("/t")));
        assert_eq!(put("{tree}/a={tree}"), "/t/a=/t");
        assert_eq!(put("{tre}{tree"), "{tre}{tree");
        assert_eq!(with_tree(OsStr::new("{tree}"), None), "{tree}");
    }
}

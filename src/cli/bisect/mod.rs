//! `bootling bisect`: since when something is broken, by build, boot and verdict.

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
use super::boot_options::{LimitArg, limit};
use super::json::Json;
use super::output;
use super::run_options::RunOptions;
use bootling::guest::verdict::code;
use bootling::initrd::spec::RunWhat;
use bootling::process::signals::Signals;
use bootling::qemu::argv::shell_line;
use bootling::regress::bisect::git::{Git, Place};
use bootling::regress::bisect::list::Kernels;
use bootling::regress::bisect::log::{Log, Writer};
use bootling::regress::bisect::{Answer, BisectError, Bisection, Found, History, Policy};

/// More than one suspect is left.
const SUSPECTS: u8 = 1;

/// Find the commit, or the kernel package, that broke COMMAND: git bisect, with a build, a boot and a verdict at each step
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct BisectArgs {
    /// A commit where COMMAND still passes; of --kernels, a file's name or version. Default there: the oldest one.
    #[arg(long, value_name = "REV", help_heading = "Bisection", required_unless_present_any = ["kernels", "resume"])]
    good: Option<String>,
    /// A commit where it fails. Default with --kernels: the newest one.
    #[arg(long, value_name = "REV", help_heading = "Bisection", required_unless_present_any = ["kernels", "resume"])]
    bad: Option<String>,
    /// The repository. Default: the one that the current directory belongs to.
    #[arg(long, value_name = "DIR", help_heading = "Bisection", conflicts_with = "kernels")]
    kernel_repo: Option<PathBuf>,
    /// Build each commit with this line for the shell, in the working tree.
    #[arg(long, value_name = "LINE", help_heading = "Bisection", conflicts_with = "kernels")]
    build: Option<OsString>,
    /// Bisect these kernels instead of a repository: packages or images, sorted by their versions.
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Bisection")]
    kernels: Vec<PathBuf>,
    /// Run COMMAND so many times, each in a guest of its own: what passes at times is flaky.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), help_heading = "Bisection")]
    tries: u32,
    /// What a flaky commit is.
    #[arg(long, value_enum, default_value_t = AnswerArg::Bad, help_heading = "Bisection")]
    flaky: AnswerArg,
    /// What a commit is that does not boot. Default: bad where the bad end does not boot either, else to be skipped.
    #[arg(long, value_enum, help_heading = "Bisection")]
    no_boot: Option<AnswerArg>,
    /// Believe that the ends are good and bad, rather than test them first.
    #[arg(long, help_heading = "Bisection")]
    no_check: bool,
    /// The longest that a build may take.
    #[arg(long, value_name = "TIME", value_parser = limit, help_heading = "Bisection")]
    build_timeout: Option<LimitArg>,
    /// Check commits out here, and leave the tree: what is built in it serves the next bisection.
    #[arg(long, value_name = "DIR", help_heading = "Bisection", conflicts_with_all = ["kernels", "in_place"])]
    worktree: Option<PathBuf>,
    /// Check commits out in the repository's own working tree, where much may be built already; it must have no changes.
    /// Better do not edit in it meanwhile: each commit begins with a clean tree; what you changed of files that git knows is
    /// told and put onto the stash, and all else stays.
    #[arg(long, help_heading = "Bisection", conflicts_with = "kernels")]
    in_place: bool,
    /// The log, which `git bisect replay` reads.
    #[arg(long, value_name = "FILE", default_value = "bisect.log", help_heading = "Bisection")]
    log: PathBuf,
    /// Go on where the bisection of the log was interrupted, between the ends that are in it.
    #[arg(long, help_heading = "Bisection", conflicts_with_all = ["good", "bad"])]
    resume: bool,
    /// Show what builds say. Otherwise only the last lines of those that fail are shown.
    #[arg(long, short, help_heading = "Output")]
    verbose: bool,
    /// Write what was found, and each step, as JSON to FILE, or to standard output with `-`.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    #[command(flatten)]
    options: RunOptions,
}

/// `--flaky`, `--no-boot`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AnswerArg {
    /// Broken
    Bad,
    /// Nobody can tell
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
  bootling bisect --kernels *.deb -- ./mytest       which package broke it?
  bootling bisect --kernels *.deb --tries 5 -- ./sometimes-fails
  bootling bisect --resume --build 'make -sj8' -- ./mytest
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
At each step:
  not built    the build failed, or left no kernel                         skipped
  not booting  pid 1 never spoke: a panic, a reset, a hang before it       --no-boot
  good, bad    COMMAND exited with 0; anything else, once pid 1 was there
  flaky        good and bad in --tries                                     --flaky
  untestable   COMMAND exited with 125, QEMU failed to start               skipped

  The ends are tested first: most bisections that find nonsense began between ends that are not what they were thought
  to be. Commits are checked out in a working tree of their own beside git's files, gone at the end; yours is not
  touched. --worktree keeps one, --in-place uses yours. The build runs there; the kernel is what --kernel names in it, or
  the tree itself as a kernel build tree. All other paths are as seen from here, and {tree} in an option or in COMMAND is
  the tree's path: --copy '{tree}/tools/testing/selftests/x=/x'.

  Ctrl-C ends the build or the guest, and puts the repository in order. The log tells every answer and why; --resume
  goes on with it, `git bisect replay LOG` makes git itself know it.

Exit status:
  0  the first bad one was found    1  only suspects: what could tell them apart was skipped
  125  could not be bisected        128+n  signal n ended it    2  wrong usage
"
);

/// Runs the verb.
pub fn run(args: &BisectArgs) -> anyhow::Result<u8> {
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let run = args.options.read()?;
    ensure!(run.wanted() != RunWhat::Shell, "bisecting with a shell: give a COMMAND or --run LINE");
    let before = earlier(args)?;
    let ends = before.ends.clone().map_or([args.good.clone(), args.bad.clone()], |ends| ends.map(Some));
    // From here on a signal ends what is going on, and what was begun is put in order.
    let signals = Signals::catch().context("catching signals")?;
    let mut told = Told::new(&args.log, args.resume);
    let found = if args.kernels.is_empty() {
        let [Some(good), Some(bad)] = ends else { bail!("bisecting a repository: give --good and --bad") };
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
        let limit = args.build_timeout.and_then(|limit| limit.0);
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
                format!("interrupted; --resume goes on with {}", args.log.display())
            } else {
                "interrupted before both ends were tested: there is no log to go on with".to_owned()
            });
            return Ok(code::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)));
        }
        Err(error @ BisectError::End { .. }) => {
            let advice = "look at what the test does there; --no-check bisects all the same";
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

/// The bisection itself.
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

/// What a log says of how it was made.
fn about(args: &BisectArgs) -> Vec<String> {
    let mut words: Vec<OsString> = args.options.typed.iter().map(super::run_options::Typed::word).collect();
    words.push("--".into());
    words.extend_from_slice(&args.options.command);
    let test = format!("test: {}", shell_line(&words).to_string_lossy());
    let build = args.build.as_ref().map(|line| format!("build: {}", line.to_string_lossy()));
    build.into_iter().chain([test, format!("tries: {}", args.tries)]).collect()
}

/// The log of an earlier bisection, where there is one to go on with. One that has not ended is not lost by mistake.
fn earlier(args: &BisectArgs) -> anyhow::Result<Log> {
    let path = &args.log;
    let text = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let log = text.as_deref().map(Log::read);
    match (log, args.resume) {
        (None, false) => Ok(Log::default()),
        (None, true) => bail!("resuming with {}: there is no such file", path.display()),
        (Some(None), _) => bail!("using {} for the log: it is there, and not a log of bootling's", path.display()),
        (Some(Some(log)), true) => {
            ensure!(log.ends.is_some(), "resuming with {}: it has no beginning", path.display());
            Ok(Log { done: false, ..log })
        }
        (Some(Some(log)), false) if log.done => Ok(Log::default()),
        (Some(Some(_)), false) => {
            let error = anyhow::anyhow!("using {} for the log: that bisection has not ended", path.display());
            Err(output::advise(error, "--resume goes on with it, --log names another file"))
        }
    }
}

/// Seconds, for people.
fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A path with `{tree}` replaced, byte for byte.
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

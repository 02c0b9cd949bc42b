//! `bootling compare`: runs the same command in two guests and prints the differences.

mod sides;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use regex::bytes::Regex;

use self::sides::Sides;
use super::json::Json;
use super::output;
use super::reporter::Reporter;
use super::run::RunArgs;
use bootling::guest::terminal;
use bootling::guest::verdict::Outcome;
use bootling::guest::{self, Listener, Warm};
use bootling::regress::compare::{
    Aspect, CompareOptions, Difference, Report, Row, RowKind, Side, columns, describe_end, differences, unified, words,
};
use bootling::root::spec::RunWhat;

/// Maximum size kept of each output, in bytes.
const ROOM: usize = 64 << 20;
/// Line width without a terminal.
const WIDTH: usize = 130;

/// Run COMMAND in two guests in parallel and show the differences: two kernels, QEMUs, CPU models or any other option
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
pub(crate) struct CompareArgs {
    /// Show the outputs in two columns, as wide as the terminal.
    #[arg(long, short = 'y', help_heading = "Comparison", conflicts_with = "words")]
    side_by_side: bool,
    /// Compare standard outputs as sets of words, such as CPU flags, and show the words present on only one side.
    #[arg(long, visible_alias = "flags", help_heading = "Comparison")]
    words: bool,
    /// Parts of the results to compare.
    #[arg(
        long,
        value_enum,
        value_name = "PART",
        value_delimiter = ',',
        help_heading = "Comparison",
        default_values_t = [PartArg::Verdict, PartArg::Stdout, PartArg::Stderr]
    )]
    parts: Vec<PartArg>,
    /// Ignore text that matches this regular expression, such as times: '(?m)^\[ *[0-9.]+\]'. May be repeated.
    #[arg(long, value_name = "RE", help_heading = "Comparison")]
    mask: Vec<String>,
    /// Number of context lines around differences.
    #[arg(long, short = 'U', value_name = "N", default_value_t = 3, help_heading = "Comparison")]
    unified: usize,
    /// Standard input of the command on both sides ('-' for that of bootling). Default: empty.
    #[arg(long, value_name = "FILE", help_heading = "Comparison")]
    stdin: Option<PathBuf>,
    /// Write both results and the differences as JSON to FILE ('-' for standard output).
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Print only the differences.
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    sides: Sides,
}

/// `--parts`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PartArg {
    /// Result of the command or its guest
    Verdict,
    /// Standard output
    Stdout,
    /// Standard error
    Stderr,
    /// Kernel health findings
    Health,
}

impl PartArg {
    const fn aspect(self) -> Aspect {
        match self {
            Self::Verdict => Aspect::Verdict,
            Self::Stdout => Aspect::Stdout,
            Self::Stderr => Aspect::Stderr,
            Self::Health => Aspect::Health,
        }
    }
}

macro_rules! examples {
    () => {
        "Examples:
  bootling compare --cpu max --cpu qemu64 --words -- grep -m1 flags /proc/cpuinfo
  bootling compare --accel kvm --accel tcg -y -- cat /proc/cpuinfo     features missing in TCG
  bootling compare --kernel old.deb --kernel new.deb -- ./mytest
  bootling compare --qemu qemu-system-x86_64 --qemu ~/qemu/build/qemu-system-x86_64 -- dmesg
  bootling compare --kernel . --vs --append mitigations=off -- ./bench
"
    };
}

const EXAMPLES: &str = examples!();

const LONG: &str = concat!(
    examples!(),
    "
Sides:
  If an option is given twice, the first value applies to the first side and the second value to the second side.
  Options after --vs apply only to the second side: they replace earlier values, and add to options that may be
  repeated (--append, --kmod, --with, --copy, --env, --qemu-arg). All other options apply to both sides.

  Both guests run at the same time and are restored from snapshots if possible (--warm=no boots them). They get the same
  standard input, which is empty without --stdin. Times are shown but not compared.

Exit status, as for diff:
  0  no differences    1  differences found    125  a side could not be tested    2  usage error
"
);

/// A guest's result, or an error.
type Answer = anyhow::Result<Side>;

/// Runs the verb.
pub(crate) fn run(args: &CompareArgs) -> anyhow::Result<u8> {
    let json = args.json.as_deref().map(Json::create).transpose()?;
    let masks = args.mask.iter().map(|mask| Regex::new(mask).with_context(|| format!("invalid --mask {mask}")));
    let options = CompareOptions {
        aspects: args.parts.iter().map(|part| part.aspect()).collect(),
        masks: masks.collect::<Result<_, _>>()?,
        as_words: args.words,
    };
    ensure!(args.sides.runs[0].wanted() != RunWhat::Shell, "cannot compare shells: give COMMAND or --run LINE");
    let labels = args.sides.labels.each_ref().map(String::as_str);
    let [left, right] = run_both(args, &input(args)?)?;
    for (side, label) in [&left, &right].into_iter().zip(labels) {
        if !args.quiet {
            output::note(&format!("{label}: {}", describe(side)));
        }
        if let Outcome::CouldNotTest { why } = &side.output.outcome {
            bail!("failed to test {label}: {why}");
        }
        ensure!(!side.output.cut, "failed to test {label}: output exceeds {} MiB", ROOM >> 20);
    }
    let found = differences(&left.output, &right.output, &options);
    if args.json.as_deref().is_none_or(|path| path.as_os_str() != "-") {
        show(args, labels, &found).context("failed to write to standard output")?;
    }
    if let Some(json) = json {
        json.write(&Report::new(labels, [&left, &right], &found, args.words))?;
    }
    Ok(u8::from(!found.is_empty()))
}

/// Returns the standard input of both commands.
fn input(args: &CompareArgs) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(path) = &args.stdin else { return Ok(bytes) };
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.with_context(|| format!("failed to read --stdin {}", path.display()))?;
    Ok(bytes)
}

/// Runs both guests in parallel. Each QEMU is started by its own thread and ends with it.
fn run_both(args: &CompareArgs, input: &[u8]) -> anyhow::Result<[Side; 2]> {
    let reporter = Mutex::new(Reporter::new(args.quiet));
    let [left, right] = &args.sides.runs;
    let (left, right) = thread::scope(|scope| {
        let run_side = |run| run_one(run, input, Notes(&reporter));
        let other = scope.spawn(move || run_side(right));
        let left = run_side(left);
        (left, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let of =
        |answer: Answer, side: usize| answer.with_context(|| format!("failed to test {}", args.sides.labels[side]));
    Ok([of(left, 0)?, of(right, 1)?])
}

/// Runs one guest.
fn run_one(run: &RunArgs, input: &[u8], mut notes: Notes<'_>) -> Answer {
    let mut spec = run.spec(false)?;
    if run.warm_as_typed().is_none() {
        spec.warm = Warm::Yes;
    }
    let result = guest::run(&spec, run.recorded(input.to_vec(), ROOM), &mut notes).map_err(output::advised)?;
    let (machine, command, kernel) = (result.machine.clone(), result.command.clone(), result.kernel.clone());
    Ok(Side { output: result.into(), machine, command, kernel })
}

/// Prints each note once for both sides.
struct Notes<'a>(&'a Mutex<Reporter>);

impl Listener for Notes<'_> {
    fn note(&mut self, text: &str) {
        // Notes remain valid if another thread panicked while it held the lock.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).note(text);
    }
}

/// Describes the result of a side in one line.
fn describe(side: &Side) -> String {
    let output = &side.output;
    let release = output.release.as_deref().unwrap_or("kernel did not boot");
    let machine = &side.machine;
    let what = format!("{release}, {} {}", machine.accelerator.name(), machine.cpu.display());
    let boot = match (output.age, output.hello) {
        (None, Some(hello)) => format!(", booted in {:.2} s", hello.as_secs_f64()),
        (Some(_), _) | (None, None) => String::new(),
    };
    let wall = output.usage.map(|usage| Duration::from_nanos(usage.wall_ns));
    let ran = wall.map(|wall| format!(", ran for {:.3} s", wall.as_secs_f64())).unwrap_or_default();
    format!("{} ({what}, QEMU {}{boot}{ran})", describe_end(&output.outcome), machine.qemu.facts.version)
}

/// Prints the differences.
fn show(args: &CompareArgs, labels: [&str; 2], found: &[Difference]) -> io::Result<()> {
    let mut out = output::stdout();
    for difference in found {
        let rows = if args.words && difference.aspect == Aspect::Stdout {
            words(difference).rows(labels, width())
        } else if args.side_by_side {
            columns(difference, labels, width(), args.unified)
        } else {
            unified(difference, labels, args.unified)
        };
        for Row { kind, text } in rows {
            let style = style(kind);
            writeln!(out, "{style}{text}{style:#}")?;
        }
    }
    out.flush()
}

const fn style(kind: RowKind) -> Style {
    match kind {
        RowKind::Head => Style::new().bold(),
        RowKind::Position => AnsiColor::Cyan.on_default(),
        RowKind::Both => Style::new(),
        RowKind::Left => AnsiColor::Red.on_default(),
        RowKind::Right => AnsiColor::Green.on_default(),
        RowKind::Changed => AnsiColor::Yellow.on_default(),
    }
}

/// Returns the line width.
fn width() -> usize {
    let typed = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let (_, columns) = terminal::size(io::stdout());
    typed.or(Some(columns.into())).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

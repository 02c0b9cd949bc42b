//! `bootling warm`: lists, inspects and removes the snapshots for warm runs.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::output;
use bootling::cache::Cache;
use bootling::guest::snapshot::store::{About, Listed};
use bootling::guest::snapshot::{Age, Snapshots};
use bootling::initrd::explain::Printable;

/// Number of key digits shown, and the minimum number to identify a snapshot.
const SHORT: usize = 12;
const FEWEST: usize = 4;

/// List, inspect and remove the snapshots that `run --warm` restores
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct WarmArgs {
    #[command(subcommand)]
    what: Option<What>,
}

const HELP: &str = "Examples:
  bootling run --warm -- true        the first run creates a snapshot, later runs restore it
  bootling warm ls                   list snapshots, most recently used first
  bootling warm info 3f2a            show one snapshot
  bootling warm rm 3f2a 77b0         remove two snapshots; --all removes all

A snapshot is the memory and device state of a guest that has booted and waits for a command.
Its name is a digest of everything that it depends on: kernel, command line, machine, CPU
model, memory, CPUs, accelerator, QEMU (program, version, ROMs), firmware, pid 1 and drivers. A
change of any of these creates a new snapshot; an outdated one is never restored.

Snapshots are stored in the cache together with packages and kernels, up to
BOOTLING_CACHE_LIMIT (4 GiB) in total; the least recently used entries are removed first.
Running guests are not affected.
";

/// Actions on snapshots.
#[derive(Debug, Subcommand)]
enum What {
    /// List the snapshots, most recently used first
    Ls {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Show one snapshot
    Info {
        /// First digits of its name, as shown by `ls`.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove snapshots
    Rm {
        /// First digits of their names, as shown by `ls`.
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// Remove all snapshots.
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

/// A snapshot as JSON. New versions only add fields.
#[derive(Debug, Serialize)]
struct SnapshotInfo<'a> {
    name: &'a str,
    bytes: u64,
    used_s: u64,
    intact: bool,
    #[serde(flatten)]
    about: &'a About,
}

impl<'a> SnapshotInfo<'a> {
    fn new(listed: &'a Listed) -> Self {
        let used = listed.used.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            name: listed.key.as_str(),
            bytes: listed.bytes,
            used_s: used.as_secs(),
            intact: listed.intact,
            about: &listed.about,
        }
    }
}

/// Runs the verb.
pub(crate) fn run(args: &WarmArgs) -> anyhow::Result<u8> {
    let cache =
        Cache::open().map_err(|error| output::advise(error, "set BOOTLING_CACHE_DIR to a directory that you own"))?;
    let all = Snapshots(&cache).list()?;
    let mut out = output::stdout();
    match args.what.as_ref().unwrap_or(&What::Ls { json: false }) {
        What::Ls { json: true } => json(&mut out, &all.iter().map(SnapshotInfo::new).collect::<Vec<_>>())?,
        What::Ls { json: false } => list(&mut out, &all, &cache)?,
        What::Info { name, json: true } => json(&mut out, &SnapshotInfo::new(find(&all, name)?))?,
        What::Info { name, json: false } => print_info(&mut out, find(&all, name)?)?,
        What::Rm { names, all: every } => {
            let named = names.iter().map(|name| find(&all, name)).collect::<Result<Vec<_>, _>>()?;
            let gone: Vec<&Listed> = if *every { all.iter().collect() } else { named };
            for listed in &gone {
                cache.discard(&listed.key)?;
            }
            let bytes = gone.iter().map(|listed| listed.bytes).sum();
            output::note(&format!("removed {}, {}", counted(gone.len()), size(bytes)));
        }
    }
    out.flush().context("failed to write to standard output")?;
    Ok(0)
}

fn json(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).context("failed to write to standard output")?;
    writeln!(out).context("failed to write to standard output")
}

/// Returns the only snapshot whose name starts with `start`.
fn find<'a>(all: &'a [Listed], start: &str) -> anyhow::Result<&'a Listed> {
    ensure!(
        start.len() >= FEWEST && start.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "invalid snapshot name {start:?}: expected at least {FEWEST} hexadecimal digits"
    );
    let mut found = all.iter().filter(|listed| listed.key.as_str().starts_with(&start.to_ascii_lowercase()));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => bail!("ambiguous snapshot name {start}"),
        (None, _) => {
            let error = anyhow::anyhow!("no such snapshot: {start}");
            Err(output::advise(error, "`bootling warm ls` lists all snapshots"))
        }
    }
}

fn list(out: &mut impl Write, all: &[Listed], cache: &Cache) -> anyhow::Result<()> {
    let writing = || "failed to write to standard output";
    if !all.is_empty() {
        writeln!(out, "{:SHORT$}  {:>8}  {:>8}  {:>7}  WHAT", "NAME", "MADE", "USED", "SIZE").with_context(writing)?;
    }
    for listed in all {
        let about = &listed.about;
        let name = &listed.key.as_str()[..SHORT];
        let (made, used) = (ago(made(about)), ago(listed.used));
        let damaged = if listed.intact { "" } else { "  (damaged, will be recreated)" };
        let what =
            format!("{}  {}  {} MiB  {} {}", about.release, about.cpu, about.memory_mib, about.accel, about.version);
        let line =
            format!("{name}  {made:>8}  {used:>8}  {:>7}  {}{damaged}", size(listed.bytes), Printable(what.as_bytes()));
        writeln!(out, "{line}").with_context(writing)?;
    }
    out.flush().with_context(writing)?;
    let bytes = all.iter().map(|listed| listed.bytes).sum();
    output::note(&format!("{}, {}; the cache limit is {}", counted(all.len()), size(bytes), size(cache.limit())));
    Ok(())
}

fn print_info(out: &mut impl Write, listed: &Listed) -> anyhow::Result<()> {
    let about = &listed.about;
    let modules = if about.modules.is_empty() { "none".to_owned() } else { about.modules.join(", ") };
    let lines = [
        ("name", listed.key.as_str().to_owned()),
        ("state", if listed.intact { "intact" } else { "damaged, will be recreated" }.to_owned()),
        ("made", format!("{} ago, boot took {} ms", ago(made(about)), about.boot_ms)),
        ("used", format!("{} ago", ago(listed.used))),
        ("size", size(listed.bytes)),
        ("kernel", format!("{} from {}", about.release, about.kernel)),
        ("command line", about.command_line.clone()),
        ("machine", format!("{}, CPU {}, {} MiB", about.machine, about.cpu, about.memory_mib)),
        ("processors", about.smp.clone().unwrap_or_else(|| "1".to_owned())),
        ("accelerator", about.accel.clone()),
        ("QEMU", format!("{} {}", about.version, about.qemu)),
        ("base modules", modules),
        ("window", format!("{} MiB", about.window_mib)),
    ];
    for (name, value) in lines {
        writeln!(out, "{name:>13}: {}", Printable(value.as_bytes())).context("failed to write to standard output")?;
    }
    Ok(())
}

fn made(about: &About) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(about.made_ns)
}

fn counted(count: usize) -> String {
    if count == 1 { "1 snapshot".to_owned() } else { format!("{count} snapshots") }
}

fn ago(time: SystemTime) -> String {
    Age(SystemTime::now().duration_since(time).unwrap_or_default()).to_string()
}

fn size(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..10_240 => format!("{mib} MiB"),
        mib => format!("{} GiB", mib >> 10),
    }
}

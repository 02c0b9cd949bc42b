//! `bootling warm`: the snapshots that warm runs are restored from, listed, looked at, removed.

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

/// Digits of a key that are shown, and the fewest that name one.
const SHORT: usize = 12;
const FEWEST: usize = 4;

/// List, look at and remove the snapshots that `run --warm` restores
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct WarmArgs {
    #[command(subcommand)]
    what: Option<What>,
}

const HELP: &str = "Examples:
  bootling run --warm -- true        the first run makes a snapshot, the next ones restore it
  bootling warm ls                   what there is, used last first
  bootling warm info 3f2a            all about one
  bootling warm rm 3f2a 77b0         remove some; --all removes every one

A snapshot is a guest that has booted and waits for a command: its memory and the state of
its devices. It is known by a digest of all it depends on: kernel, command line, machine, CPU
model, memory, processors, accelerator, QEMU (program, version, ROMs), firmware, pid 1 and
drivers. What changed makes a new one; nothing stale is ever restored.

They are kept in the cache, with packages and kernels: together at most BOOTLING_CACHE_LIMIT
(4 GiB), what was used longest ago goes first. A guest that runs loses nothing by that.
";

/// What to do.
#[derive(Debug, Subcommand)]
enum What {
    /// List the snapshots, used last first
    Ls {
        /// As JSON: one array.
        #[arg(long)]
        json: bool,
    },
    /// Tell all about one
    Info {
        /// The first digits of its name, as `ls` shows them.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove some
    Rm {
        /// The first digits of their names, as `ls` shows them.
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
        /// Remove every one.
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

/// A snapshot as JSON. Fields are only ever added.
#[derive(Debug, Serialize)]
struct Told<'a> {
    name: &'a str,
    bytes: u64,
    used_s: u64,
    intact: bool,
    #[serde(flatten)]
    about: &'a About,
}

impl<'a> Told<'a> {
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
pub fn run(args: &WarmArgs) -> anyhow::Result<u8> {
    let cache =
        Cache::open().map_err(|error| output::advise(error, "name a directory of yours in BOOTLING_CACHE_DIR"))?;
    let all = Snapshots(&cache).list()?;
    let mut out = output::stdout();
    match args.what.as_ref().unwrap_or(&What::Ls { json: false }) {
        What::Ls { json: true } => json(&mut out, &all.iter().map(Told::new).collect::<Vec<_>>())?,
        What::Ls { json: false } => list(&mut out, &all, &cache)?,
        What::Info { name, json: true } => json(&mut out, &Told::new(find(&all, name)?))?,
        What::Info { name, json: false } => tell(&mut out, find(&all, name)?)?,
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
    out.flush().context("writing to standard output")?;
    Ok(0)
}

fn json(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).context("writing to standard output")?;
    writeln!(out).context("writing to standard output")
}

/// The one snapshot whose name starts like this.
fn find<'a>(all: &'a [Listed], start: &str) -> anyhow::Result<&'a Listed> {
    ensure!(
        start.len() >= FEWEST && start.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "reading {start:?}: the name of a snapshot is {FEWEST} or more of its hexadecimal digits"
    );
    let mut found = all.iter().filter(|listed| listed.key.as_str().starts_with(&start.to_ascii_lowercase()));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => bail!("finding snapshot {start}: more than one starts like this"),
        (None, _) => {
            let error = anyhow::anyhow!("finding snapshot {start}: there is none");
            Err(output::advise(error, "`bootling warm ls` lists them"))
        }
    }
}

fn list(out: &mut impl Write, all: &[Listed], cache: &Cache) -> anyhow::Result<()> {
    let writing = || "writing to standard output";
    if !all.is_empty() {
        writeln!(out, "{:SHORT$}  {:>8}  {:>8}  {:>7}  WHAT", "NAME", "MADE", "USED", "SIZE").with_context(writing)?;
    }
    for listed in all {
        let about = &listed.about;
        let name = &listed.key.as_str()[..SHORT];
        let (made, used) = (ago(made(about)), ago(listed.used));
        let damaged = if listed.intact { "" } else { "  (damaged: will be made again)" };
        let what =
            format!("{}  {}  {} MiB  {} {}", about.release, about.cpu, about.memory_mib, about.accel, about.version);
        let line =
            format!("{name}  {made:>8}  {used:>8}  {:>7}  {}{damaged}", size(listed.bytes), Printable(what.as_bytes()));
        writeln!(out, "{line}").with_context(writing)?;
    }
    out.flush().with_context(writing)?;
    let bytes = all.iter().map(|listed| listed.bytes).sum();
    output::note(&format!("{}, {}; the cache takes {} at most", counted(all.len()), size(bytes), size(cache.limit())));
    Ok(())
}

fn tell(out: &mut impl Write, listed: &Listed) -> anyhow::Result<()> {
    let about = &listed.about;
    let modules = if about.modules.is_empty() { "none".to_owned() } else { about.modules.join(", ") };
    let lines = [
        ("name", listed.key.as_str().to_owned()),
        ("state", if listed.intact { "as it was left" } else { "damaged: will be made again" }.to_owned()),
        ("made", format!("{} ago, by a boot of {} ms", ago(made(about)), about.boot_ms)),
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
        writeln!(out, "{name:>13}: {}", Printable(value.as_bytes())).context("writing to standard output")?;
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

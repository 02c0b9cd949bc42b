//! `make bench`: bootling against the plain way (`tools/plain-initrd`: ldd, cp, modprobe, GNU cpio), whole processes,
//! in one run, with everything in the page cache. Prints a table: medians, spread, ratios, goals.
//!
//! Asks for what `make bench` prepares, and fails where it is missing. `cargo bench --bench plain boots` measures that
//! group alone.

mod boots;
mod builds;
mod disks;
mod matrix;
mod sample;
mod table;
mod warm;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use table::Table;

/// Adds its rows to the table.
type Measure = fn(&Bench, &mut Table) -> Result<(), Box<dyn Error>>;

/// All that is measured, in the table's order. Warm runs are measured right after the cold ones that they stand against.
const GROUPS: [(&str, Measure); 6] = [
    ("builds", builds::measure),
    ("disks", disks::measure),
    ("stamp", disks::stamp),
    ("boots", boots::measure),
    ("warm", warm::measure),
    ("matrix", matrix::measure),
];

/// What all measurements share.
struct Bench {
    /// Where things are written.
    dir: PathBuf,
    /// A kernel package with plain modules, and one for virtual machines.
    packages: [PathBuf; 2],
}

impl Bench {
    fn prepare() -> Result<Self, Box<dyn Error>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let package = |start: &str| -> Result<PathBuf, Box<dyn Error>> {
            let mut found: Vec<PathBuf> = std::fs::read_dir(root.join("build/kernels"))?
                .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                .filter(|path| {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    name.starts_with(start) && name.contains("-cloud-") == start.ends_with("6.12.")
                })
                .collect();
            found.sort();
            found.pop().ok_or_else(|| format!("no {start}* in build/kernels: `make kernels` brings it").into())
        };
        let dir = root.join("build/bench");
        std::fs::create_dir_all(&dir)?;
        Ok(Self { packages: [package("linux-image-6.1.")?, package("linux-image-6.12.")?], dir })
    }

    /// Unpacks a package the plain way; gives the folder and the release.
    fn plain_modules(&self, package: &Path) -> Result<(PathBuf, String), Box<dyn Error>> {
        let dir = self.dir.join(package.file_stem().ok_or("a package has a name")?);
        let output = Command::new(tool("plain-modules")).arg(package).arg(&dir).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok((dir, String::from_utf8(output.stdout)?.trim().to_owned()))
    }

    /// bootling as released, with a cache of its own.
    fn bootling(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootling"));
        command.env("BOOTLING_CACHE_DIR", self.dir.join("cache")).env("LC_ALL", "C");
        command
    }
}

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name)
}

fn measure() -> Result<(), Box<dyn Error>> {
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|word| GROUPS.iter().all(|(name, _)| name != word)) {
        return Err(format!("no group {unknown:?}; there are {}", GROUPS.map(|(name, _)| name).join(", ")).into());
    }
    let bench = Bench::prepare()?;
    let mut table = Table::new();
    let mut groups = GROUPS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| word == name));
    let measured = groups.try_for_each(|(_, measure)| measure(&bench, &mut table));
    // What was measured before an error is worth seeing.
    table.print(&mut io::stdout().lock())?;
    measured
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where standard error is closed.
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

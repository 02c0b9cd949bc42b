//! `make bench`: compares bootling with the plain way (`tools/plain-initrd`: ldd, cp, modprobe, GNU cpio) by whole
//! processes, in one run, with all files in the page cache. Prints a table of medians, spreads, ratios and goals.
//!
//! Requires the files prepared by `make bench`. `cargo bench --bench plain boots` measures only that group.

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

/// Measurement of one group; adds rows to the table.
type Measure = fn(&Bench, &mut Table) -> Result<(), Box<dyn Error>>;

/// All groups in the order of the table. Warm runs directly follow the cold boots with which they are compared.
const GROUPS: [(&str, Measure); 6] = [
    ("builds", builds::measure),
    ("disks", disks::measure),
    ("stamp", disks::stamp),
    ("boots", boots::measure),
    ("warm", warm::measure),
    ("matrix", matrix::measure),
];

/// Context of all measurements.
struct Bench {
    /// Output directory.
    dir: PathBuf,
    /// Kernel packages: one with uncompressed modules, and one for virtual machines.
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

    /// Unpacks a package the plain way; returns the directory and the release.
    fn plain_modules(&self, package: &Path) -> Result<(PathBuf, String), Box<dyn Error>> {
        let dir = self.dir.join(package.file_stem().ok_or("a package has a name")?);
        let output = Command::new(tool("plain-modules")).arg(package).arg(&dir).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok((dir, String::from_utf8(output.stdout)?.trim().to_owned()))
    }

    /// Returns bootling with a private cache.
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
    // Print the rows measured before an error.
    table.print(&mut io::stdout().lock())?;
    measured
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Ignore a closed standard error.
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

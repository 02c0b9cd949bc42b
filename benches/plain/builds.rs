//! Building images: times, peak memory, sizes.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sample::{Peak, run};
use crate::table::{Goal, Table};
use crate::{Bench, tool};

const TIMES: usize = 31;

/// Runs all build measurements.
pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let peak = Peak::calibrate()?;
    let [generic, _] = &bench.packages;
    let (plain, release) = bench.plain_modules(generic)?;
    let watchdog = ["lpc_ich", "iTCO_wdt", "i2c_i801"];

    compare(bench, table, &peak, "busybox only", &[], &[], &[])?;
    let tools = ["hwloc-info", "lstopo-no-graphics"].map(OsString::from);
    compare(bench, table, &peak, "two hwloc tools", &tools, &[], &tools)?;
    let mut ours: Vec<OsString> = vec!["--kernel".into(), generic.into()];
    ours.extend(watchdog.iter().flat_map(|name| ["--kmod".into(), OsString::from(name)]));
    let theirs = ["-k".into(), plain.join("depmod").into(), OsString::from(&release), watchdog.join(" ").into()];
    compare(bench, table, &peak, "three watchdog modules", &ours, &theirs, &[])?;
    whole_usr_bin(bench, table, &peak)?;
    all_modules(bench, table, &peak, &plain.join("bare"), &release)
}

/// Builds one image both ways: with the arguments `ours` for bootling, and with `before` and `after` around the output
/// file for the plain way.
fn compare(
    bench: &Bench,
    table: &mut Table,
    peak: &Peak,
    what: &str,
    ours: &[OsString],
    before: &[OsString],
    after: &[OsString],
) -> Result<(), Box<dyn Error>> {
    let (our_image, plain_image) = (bench.dir.join("ours.img"), bench.dir.join("plain.img"));
    let over_old = || {
        let mut command = bench.bootling();
        command.arg("build").args(ours).arg("-o").arg(&our_image);
        command
    };
    // Both ways write a new file. Overwriting a file is dominated by the file system (ext4's auto_da_alloc allocates
    // the blocks of a replaced file immediately) and measured separately below.
    let build = || {
        // Does not exist the first time.
        let _ = fs::remove_file(&our_image);
        over_old()
    };
    let plain = || {
        let _ = fs::remove_file(&plain_image);
        let mut command = Command::new(tool("plain-initrd"));
        command.args(before).arg(&plain_image).args(after);
        command
    };
    let (our_times, plain_times) = (run(TIMES, 0, build)?, run(TIMES.div_ceil(4), 0, plain)?);
    let again = run(TIMES, 0, over_old)?.median();
    let peak = peak.kib(&build())?;
    let sizes = (fs::metadata(&our_image)?.len(), fs::metadata(&plain_image)?.len());
    let rest = format!(
        "{:.1} MiB; image {} KiB, {} KiB; over an old image {again:.1} ms",
        mib(peak),
        sizes.0 >> 10,
        sizes.1 >> 10
    );
    let goal = Goal { text: "10 ms, 16 MiB", met: our_times.median() <= 10.0 && peak <= 16 << 10 };
    table.time(what, &our_times, Some(&plain_times), rest, Some(goal));
    Ok(())
}

/// Measures the closure of every ELF program of the host.
fn whole_usr_bin(bench: &Bench, table: &mut Table, peak: &Peak) -> Result<(), Box<dyn Error>> {
    let mut programs: Vec<PathBuf> = fs::read_dir("/usr/bin")?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| is_elf(path))
        .collect();
    programs.sort();
    let resolve = || {
        let mut command = bench.bootling();
        command.args(["build", "--no-busybox", "--dry-run"]).args(&programs);
        command
    };
    let times = run(11, 0, resolve)?;
    let rest = format!("{:.1} MiB; {} programs", mib(peak.kib(&resolve())?), programs.len());
    let goal = Goal { text: "500 ms", met: times.median() <= 500.0 };
    table.time("closure of all of /usr/bin", &times, None, rest, Some(goal));
    Ok(())
}

/// Measures the resolution of every module of a kernel from `.modinfo` only, without depmod output and cache.
fn all_modules(
    bench: &Bench,
    table: &mut Table,
    peak: &Peak,
    root: &Path,
    release: &str,
) -> Result<(), Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in walkdir::WalkDir::new(root.join("lib/modules").join(release)) {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".ko").map(OsString::from));
    }
    names.sort();
    // An image requires a shell: add busybox to the root of the modules.
    fs::create_dir_all(root.join("bin"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.ok_or("no busybox: `tools/setup run` brings it")?, root.join("bin/busybox"))?;
    let resolve = || {
        // A new cache for each run.
        let cache = bench.dir.join("cold-cache");
        // Does not exist the first time.
        let _ = fs::remove_dir_all(&cache);
        let mut command = bench.bootling();
        command.env("BOOTLING_CACHE_DIR", cache).args(["build", "--dry-run", "--sysroot"]).arg(root);
        command
            .arg("--kernel")
            .arg(release)
            .args(names.iter().flat_map(|name| [OsString::from("--kmod"), name.clone()]));
        command
    };
    let times = run(11, 0, resolve)?;
    let rest = format!("{:.1} MiB; {} modules", mib(peak.kib(&resolve())?), names.len());
    let goal = Goal { text: "500 ms", met: times.median() <= 500.0 };
    table.time("all modules from .modinfo alone", &times, None, rest, Some(goal));
    Ok(())
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

fn mib(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory of one process")]
    let mib = kib as f64 / 1024.0;
    mib
}

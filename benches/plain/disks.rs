//! Disk images: a prebuilt kernel and initrd in a UKI on an image, and stamping of images.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sample::{Peak, once, run};
use crate::table::{Goal, Table};
use crate::{Bench, tool};

const TIMES: usize = 31;
/// An EFI program that is installed with the stub.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// Time in ms that sgdisk sleeps after a write, excluded from the comparison.
const SLEEP: f64 = 1000.0;
/// Goal for the speedup over the plain way without the sleep.
const FASTER: f64 = 5.0;
/// Size of the initrd in bytes.
const INITRD: usize = 10 << 20;

/// Measures the usual disk, raw and as qcow2.
pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let peak = Peak::calibrate()?;
    let [_, cloud] = &bench.packages;
    let kernel = kernel(bench, cloud)?;
    let initrd = bench.dir.join("noise.initrd");
    // Incompressible bytes.
    let mut noise = vec![0; INITRD];
    File::open("/dev/urandom")?.read_exact(&mut noise)?;
    fs::write(&initrd, noise)?;
    let plain_image = bench.dir.join("plain-disk.img");
    let plain = || {
        let mut command = Command::new(tool("plain-disk"));
        command.arg(&kernel).arg(&initrd).arg(&plain_image);
        command
    };
    let plain_times = run(5, 0, plain)?;
    for (what, name) in [("disk, raw", "disk.img"), ("disk, qcow2", "disk.qcow2")] {
        let image = bench.dir.join(name);
        let disk = || {
            // Does not exist the first time.
            let _ = fs::remove_file(&image);
            let mut command = bench.bootling();
            command.args(["disk", "--kernel"]).arg(&kernel).arg("--initrd").arg(&initrd).arg("-o").arg(&image);
            command
        };
        let times = run(TIMES, 0, disk)?;
        let kib = peak.kib(&disk())?;
        let bytes = fs::metadata(&image)?.len();
        let parts = (fs::metadata(&kernel)?.len() >> 20, INITRD >> 20);
        let (all, awake) = (plain_times.median() / times.median(), (plain_times.median() - SLEEP) / times.median());
        let rest = format!(
            "{kib} KiB; kernel {} MiB, initrd {} MiB, image {} KiB; {all:.1}x with and {awake:.1}x without the \
             {SLEEP:.0} ms that sgdisk sleeps",
            parts.0,
            parts.1,
            bytes >> 10
        );
        let goal = Goal {
            text: "150 ms, image + 32 MiB, 5x without the sleep",
            met: times.median() <= 150.0 && kib <= (bytes >> 10) + (32 << 10) && awake >= FASTER,
        };
        table.time(what, &times, Some(&plain_times), rest, Some(goal));
    }
    Ok(())
}

/// Measures stamping of small and large images, raw and qcow2.
pub(crate) fn stamp(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let raw = Goals { text: "5 ms", most: 5.0 };
    let qcow2 = Goals { text: "10 ms", most: 10.0 };
    for (what, size, format, goal) in [
        ("stamp, raw, 64 MiB", "64M", "raw", &raw),
        ("stamp, raw, 2 TiB", "2T", "raw", &raw),
        ("stamp, qcow2, 64 MiB", "64M", "qcow2", &qcow2),
        ("stamp, qcow2, 2 TiB", "2T", "qcow2", &qcow2),
    ] {
        let image = bench.dir.join(format!("stamp.{format}"));
        // An image with the same stamp would not be written.
        drop(fs::remove_file(&image));
        let mut disk = bench.bootling();
        disk.args(["disk", "--efi"]).arg(STUB).args(["--size", size, "-o"]).arg(&image);
        once(&mut disk, 0)?;
        let mut presets = ["libvirt", "ec2"].into_iter().cycle();
        let stamped = || {
            let mut command = bench.bootling();
            command.args(["stamp", "--preset"]).args(presets.next()).arg(&image);
            command
        };
        let times = run(TIMES, 0, stamped)?;
        let met = times.median() <= goal.most;
        table.time(what, &times, None, String::new(), Some(Goal { text: goal.text, met }));
        fs::remove_file(&image)?;
    }
    Ok(())
}

/// Time limit in ms.
struct Goals {
    text: &'static str,
    most: f64,
}

/// Extracts the bzImage of a package with dpkg-deb and tar.
fn kernel(bench: &Bench, package: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let image = bench.dir.join("bzImage");
    let unpack = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './boot/vmlinuz-*' >\"$2\"";
    let status = Command::new("sh").args(["-c", unpack, "sh"]).arg(package).arg(&image).status()?;
    if status.success() { Ok(image) } else { Err(format!("unpacking {}", package.display()).into()) }
}

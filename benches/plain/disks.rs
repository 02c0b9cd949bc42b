//! Composing disks: a kernel and an initrd, ready-made, behind systemd's stub on a raw image.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sample::{Peak, run};
use crate::table::{Goal, Table};
use crate::{Bench, tool};

const TIMES: usize = 31;
/// Bytes of the initrd.
const INITRD: usize = 10 << 20;

/// The usual disk, and the same in a container.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let peak = Peak::calibrate()?;
    let [_, cloud] = &bench.packages;
    let kernel = kernel(bench, cloud)?;
    let initrd = bench.dir.join("noise.initrd");
    fs::write(&initrd, noise(INITRD))?;
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
            // It is not there the first time.
            let _ = fs::remove_file(&image);
            let mut command = bench.bootling();
            command.args(["disk", "--kernel"]).arg(&kernel).arg("--initrd").arg(&initrd).arg("-o").arg(&image);
            command
        };
        let times = run(TIMES, 0, disk)?;
        let kib = peak.kib(&disk())?;
        let bytes = fs::metadata(&image)?.len();
        let parts = (fs::metadata(&kernel)?.len() >> 20, INITRD >> 20);
        let rest = format!(
            "{} KiB; kernel {} MiB, initrd {} MiB, image {} KiB; sgdisk sleeps 1000 ms of the plain way's time",
            kib,
            parts.0,
            parts.1,
            bytes >> 10
        );
        let goal =
            Goal { text: "150 ms, image + 32 MiB", met: times.median() <= 150.0 && kib <= (bytes >> 10) + (32 << 10) };
        table.time(what, &times, Some(&plain_times), rest, Some(goal));
    }
    Ok(())
}

/// The bzImage of a package, taken out the plain way.
fn kernel(bench: &Bench, package: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let image = bench.dir.join("bzImage");
    let unpack = "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './boot/vmlinuz-*' >\"$2\"";
    let status = Command::new("sh").args(["-c", unpack, "sh"]).arg(package).arg(&image).status()?;
    if status.success() { Ok(image) } else { Err(format!("unpacking {}", package.display()).into()) }
}

/// Bytes that no file system and no disk can make less of.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

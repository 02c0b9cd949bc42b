//! Disk images of bootling, booted by firmware.

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// In a dual image, firmware and Linux each find the table for the sector size of the disk.
#[test]
fn one_dual_image_boots_from_disks_of_both_sector_sizes() {
    let Some(kernel) = Kernel::Cloud612.or_skip("one_dual_image_boots_from_disks_of_both_sector_sizes") else { return };
    let folder = scratch();
    let image = folder.path().join("dual.img");
    let line = "read size </sys/block/vda/queue/logical_block_size; test -b /dev/vda1 && echo sectors of $size bytes";
    let disk = Program::new().args(["disk", "--esp", "tiny", "--sector-size", "dual", "--run", line]);
    let disk = disk.args(["--kmod", "virtio_pci", "--kmod", "virtio_blk", "--kernel"]).arg(kernel);
    disk.arg("-o").arg(&image).done().exits(0);
    let before = std::fs::read(&image).expect("the image");
    for size in ["512", "4096"] {
        let words = ["boot", "--sector-size", size, "--expect", &format!("^sectors of {size} bytes")];
        Program::new().args(words).arg(&image).done().exits(0);
    }
    assert!(before == std::fs::read(&image).expect("the image"), "booting changed the image");
}

//! Kernels that are not packages: a build tree with its modules, and an image without modules.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Creates a build tree as left by `make` from Debian's package: image, release, configuration and some modules.
pub(crate) fn build_tree(package: &Path, tree: &Path) -> String {
    let unpack = r#"
        set -e
        dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards './boot/*' './lib/modules/*/kernel/drivers/virtio/*' \
            './lib/modules/*/kernel/drivers/char/virtio_console.ko' './lib/modules/*/kernel/drivers/block/loop.ko'
        cd "$2"
        release=$(basename lib/modules/*)
        mkdir -p arch/x86/boot include/config
        mv boot/vmlinuz-* arch/x86/boot/bzImage
        mv boot/config-* .config
        printf '%s\n' "$release" >include/config/kernel.release
        mv lib/modules/*/kernel/drivers .
        rm -r boot lib
        find drivers -name '*.ko' | sed 's/ko$/o/' >modules.order
        : >modules.builtin
        printf '%s' "$release"
    "#;
    let output = Command::new("sh").args(["-c", unpack, "sh"]).arg(package).arg(tree).output().expect("sh runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a release is text")
}

#[test]
fn a_build_tree_boots_with_its_modules() {
    let test = "a_build_tree_boots_with_its_modules";
    let Some(package) = Kernel::Generic61.or_skip(test) else { return };
    let dir = scratch();
    let release = build_tree(&package, dir.path());
    let program = Program::new().args(["run", "--kernel"]).arg(dir.path()).args(["--kmod", "loop max_loop=5"]);
    let (done, verdict) = program.json(["--run", "uname -r; cat /sys/module/loop/parameters/max_loop"]);
    assert_eq!(done.exits(0).text(), format!("{release}\n5\n"));
    assert_eq!(verdict["channel"], "virtio-serial-pci", "{verdict}");
    assert_eq!(verdict["kernel_release"], release, "{verdict}");

    // The configuration of the tree declares the compression formats that the kernel supports.
    let config = dir.path().join(".config");
    let options = fs::read_to_string(&config).expect("configuration");
    fs::write(&config, options.replace("CONFIG_RD_XZ=y", "# CONFIG_RD_XZ is not set")).expect("readable directory");
    let build = Program::new().args(["build", "--compress", "xz", "-o"]).arg(dir.path().join("x.img"));
    let done = build.arg("--kernel").arg(dir.path()).done().exits(125);
    done.says("CONFIG_RD_XZ is not set").says("--compress none, gzip, zstd, lz4");
    assert!(!dir.path().join("x.img").exists());

    // An option that the run needs is named before the boot; the configuration may be wrong.
    let lacking = options.replace("CONFIG_BLK_DEV_INITRD=y", "# CONFIG_BLK_DEV_INITRD is not set");
    let lacking = lacking.replace("CONFIG_SERIAL_8250_CONSOLE=y", "# CONFIG_SERIAL_8250_CONSOLE is not set");
    fs::write(&config, lacking).expect("readable directory");
    let run = |options: &[&str]| {
        let program = Program::new().arg("run").args(options).arg("--kernel").arg(dir.path());
        program.args(["--", "true"]).done()
    };
    let refused = run(&["--bisect"]).exits(125);
    refused.says(".config lacks CONFIG_BLK_DEV_INITRD=y: the kernel cannot unpack an initrd").says("--no-preflight");
    run(&["--no-preflight"]).exits(0);
    let doctor = Program::new().args(["doctor", "--json", "--kernel"]).arg(dir.path()).done().exits(125);
    let report: serde_json::Value = serde_json::from_str(&doctor.text()).expect("JSON");
    assert_eq!(
        (report["usable"].as_bool(), report["needs"][0]["set"].as_str()),
        (Some(false), Some("CONFIG_BLK_DEV_INITRD=y"))
    );
    fs::write(&config, options).expect("readable directory");
    Program::new().args(["doctor", "--kernel"]).arg(dir.path()).done().exits(0);

    // A missing module is reported with the release.
    let program = Program::new().args(["run", "--kernel"]).arg(dir.path());
    program.args(["--kmod", "dm_mod", "--", "true"]).done().exits(125).says("dm_mod").says(&release);
}

#[test]
fn an_image_without_modules_uses_the_second_serial_port() {
    if Kernel::Generic61.or_skip("an_image_without_modules_uses_the_second_serial_port").is_none() {
        return;
    }
    let input: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    let dir = scratch();
    let image = Kernel::Generic61.lone_image(dir.path());
    let program = Program::new().args(["run", "--kernel"]).arg(image).stdin(input.clone());
    let (done, verdict) = program.json(["--run", "cat; echo err >&2; exit 9"]);
    let done = done.exits(9);
    assert_eq!(verdict["channel"], "com2", "{verdict}");
    assert!(done.stdout == input, "{} bytes of {}", done.stdout.len(), input.len());
    done.says("err\n");
}

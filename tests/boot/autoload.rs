//! Modules on demand: requests of the kernel and of `modprobe`, cold, warm, over a serial port, and what a guest cannot get.

use std::fs;

use serde_json::Value;

use crate::support::misbehave;
use crate::support::program::scratch;
use crate::support::{Kernel, Program};

/// Returns the names of the loaded modules, and checks that each has times.
fn loaded(verdict: &Value) -> Vec<String> {
    let modules = verdict["modules"].as_array().expect("a list");
    let name = |module: &Value| {
        assert!(module["ms"].as_f64() > Some(0.0) && module["at_ms"].as_f64() > Some(0.0), "{module}");
        assert!(module["error"].is_null(), "{module}");
        format!("{} {}", module["name"].as_str().expect("a name"), module["requested_by"].as_str().expect("a name"))
    };
    modules.iter().map(name).collect()
}

/// Requests of the kernel, of `modprobe`, of an unknown module, and of one whose parameter is unknown.
const LINE: &str = "set -e; ip link add dummy0 type dummy; ip link add br0 type bridge; ls -d /sys/class/net/dummy*; \
    modprobe -q loop max_loop=3; ls /dev/loop[0-9]; modprobe dummy nonsense=1; modprobe -a loop bridge; \
    if modprobe nosuch; then exit 9; fi; if modprobe -q dumy; then exit 9; fi; \
    if modprobe -f dummy; then exit 9; fi; if modprobe /etc/passwd; then exit 9; fi; \
    if ip link add x type nosuch 2>/dev/null; then exit 9; fi; \
    ip link del dummy0; modprobe -r dummy; if modprobe -r dummy; then exit 9; fi; modprobe --version; cat";

fn loads_on_demand(program: Program) {
    let program = program.args(["--with", "ip"]).stdin("input\n");
    let (done, verdict) = program.json(["--run", LINE]);
    let done = done.exits(0).says("modprobe: FATAL: Module nosuch not found\n");
    let done = done.says("modprobe: FATAL: unsupported option -f; see modprobe --help");
    let done = done.says("modprobe: FATAL: Module /etc/passwd not found");
    assert!(!done.stderr.contains("dumy"), "{}", done.stderr);
    done.says("modprobe: FATAL: Module dummy is not loaded");
    let all = loaded(&verdict);
    for module in ["dummy kernel", "llc kernel", "stp kernel", "bridge kernel", "loop modprobe"] {
        assert_eq!(all.iter().filter(|name| *name == module).count(), 1, "{module} in {all:?}");
    }
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn modules_are_loaded_when_the_kernel_or_modprobe_requests_them() {
    let test = "modules_are_loaded_when_the_kernel_or_modprobe_requests_them";
    for kernel in [Kernel::Generic61, Kernel::Cloud612] {
        for warm in ["--warm=no", "--warm"] {
            let Some(program) = Program::run(kernel, test) else { return };
            loads_on_demand(program.arg(warm));
        }
    }
}

#[test]
fn modules_are_loaded_over_a_serial_port_while_output_flows() {
    let test = "modules_are_loaded_over_a_serial_port_while_output_flows";
    let Some(program) = Program::run(Kernel::Cloud612, test) else { return };
    let line = "(while :; do echo x; done) & modprobe dummy && grep -c ^dummy /proc/modules; kill $!";
    let (done, verdict) = program.args(["--machine", "isapc", "--cpu", "max"]).json(["--run", line]);
    let done = done.exits(0);
    assert!(done.text().contains("x\nx\n") && done.text().contains('1'), "{}", done.text().len());
    assert_eq!(loaded(&verdict), ["dummy modprobe"]);
}

#[test]
fn modules_on_demand_can_be_turned_off() {
    let test = "modules_on_demand_can_be_turned_off";
    let (Some(cold), Some(warm)) = (Program::run(Kernel::Cloud612, test), Program::run(Kernel::Cloud612, test)) else {
        return;
    };
    let line =
        "cat /proc/sys/kernel/modprobe; ls -l /sbin/modprobe | grep -c init; ip link add d0 type dummy && echo no";
    for program in [cold, warm.arg("--warm")] {
        let (done, verdict) = program.args(["--no-autoload", "--with", "ip"]).json(["--run", line]);
        assert_eq!(done.text(), "/sbin/modprobe\n0\n");
        assert_eq!(verdict["modules"], Value::Array(Vec::new()));
    }
}

#[test]
fn a_manifest_turns_modules_on_demand_off_for_a_test_in_a_shared_guest() {
    let test = "a_manifest_turns_modules_on_demand_off";
    let Some(package) = Kernel::Cloud612.or_skip(test) else { return };
    let dir = scratch();
    let manifest = format!(
        "[kernels]\nk = {:?}\n[defaults]\nisolate = \"none\"\n\
         [[test]]\nname = \"on\"\nrun = \"modprobe dummy\"\n\
         [[test]]\nname = \"off\"\nrun = \"modprobe -q loop\"\nautoload = false\nstatus = 1\n",
        package.display().to_string()
    );
    fs::write(dir.path().join("bootling.toml"), manifest).expect("writable directory");
    Program::new().current_dir(dir.path()).args(["test", "-j1"]).done().exits(0).says("2 passed");
}

#[test]
fn a_module_that_crashes_on_demand_is_the_verdict_and_pid_1_lives() {
    let Some((module, _)) = misbehave::or_skip("a_module_that_crashes_on_demand") else { return };
    // A build tree with this one module: the channel is a serial port, since its driver is missing.
    let dir = scratch();
    let release = module.parent().and_then(|dir| dir.file_name()).and_then(|name| name.to_str()).expect("a name");
    let (release, _) = release.rsplit_once('-').expect("a digest");
    for (path, text) in [("include/config/kernel.release", release), ("modules.order", "misbehave.o\n")] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("writable directory");
        fs::write(path, text).expect("writable directory");
    }
    fs::copy(&module, dir.path().join("misbehave.ko")).expect("copied");
    let image = dir.path().join("arch/x86/boot/bzImage");
    fs::create_dir_all(image.parent().expect("a parent")).expect("writable directory");
    fs::copy(misbehave::KERNEL.image(), &image).expect("copied");
    let program = Program::new().args(["run", "--health", "ignore", "--kernel"]).arg(dir.path());
    let (done, verdict) = program.json(["--run", "modprobe misbehave init=oops; echo it lives"]);
    let done = done.exits(121).says("the guest's kernel crashed while it loaded module misbehave: BUG: kernel NULL");
    assert_eq!((verdict["outcome"].as_str(), done.text().as_str()), (Some("kernel-crashed"), "it lives\n"));
}

#[test]
fn a_bundle_has_no_modules_on_demand_and_says_so() {
    let Some(package) = Kernel::Cloud612.or_skip("a_bundle_has_no_modules_on_demand") else { return };
    let dir = scratch();
    let bundle = Program::new().current_dir(dir.path()).args(["bundle", "-o", "b.tar", "--no-run", "--kernel"]);
    bundle.arg(package).args(["--run", "modprobe dummy"]).done().exits(0);
    let done = Program::new().current_dir(dir.path()).args(["run", "b.tar"]).done().exits(1);
    done.says("the guest requests module dummy").says("modules of --kmod");
}

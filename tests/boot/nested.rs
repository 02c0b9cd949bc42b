//! bootling in bootling. QEMU's TCG emulates AMD SVM, so the KVM path, including its probe, is tested on hosts
//! without KVM.

use std::time::Duration;

use crate::support::{Kernel, Program};

#[test]
fn use_7_bootling_runs_in_bootling_with_kvm() {
    let kernel = Kernel::Generic61;
    let Some(program) = Program::run(kernel, "use_7_bootling_runs_in_bootling_with_kvm") else { return };
    let image = format!("{}=/boot/vmlinuz", kernel.image().display());
    let program = program
        .args([
            "--accel",
            "tcg",
            "--cpu",
            "max",
            "--memory",
            "3072",
            "--kmod",
            "kvm_amd",
            "--with",
            "qemu-system-x86_64",
        ])
        .args(["--copy", "/usr/share/seabios", "--copy", "/usr/share/qemu/*.bin", "--copy", "/usr/share/qemu/*.rom"])
        .args(["--copy", &image, "--timeout", "400s"]);
    // The usual boot limit of a minute with KVM is too short for emulated KVM on a busy host.
    let inner = ["run", "--accel", "kvm", "--boot-timeout", "300s", "--kernel", "/boot/vmlinuz"];
    let program =
        program.args(["--", env!("CARGO_BIN_EXE_bootling")]).args(inner).args(["--", "busybox", "uname", "-r"]);
    let done = program.limit(Duration::from_secs(450)).done();
    let done = done.exits(0);
    assert!(done.text().starts_with("6.1.0-"), "{}", done.text());
}

#[test]
fn accel_kvm_without_kvm_is_refused_with_the_reason() {
    let kernel = Kernel::Cloud612;
    let Some(program) = Program::run(kernel, "accel_kvm_without_kvm_is_refused") else { return };
    // The same guest without the module: there is no /dev/kvm.
    let image = format!("{}=/boot/vmlinuz", kernel.image().display());
    let program = program.args(["--with", "qemu-system-x86_64", "--copy", &image, "--memory", "2048"]);
    let inner = ["run", "--accel", "kvm", "--kernel", "/boot/vmlinuz", "--", "busybox", "true"];
    let done = program.args(["--", env!("CARGO_BIN_EXE_bootling")]).args(inner).done().exits(125);
    done.says("/dev/kvm");
}

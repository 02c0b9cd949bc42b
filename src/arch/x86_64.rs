//! AMD64.

use super::{Guest, Properties};

/// Properties of the architecture.
pub(super) static PROPERTIES: Properties = Properties {
    name: "x86_64",
    aliases: &["amd64", "x86-64"],
    debian: Some("amd64"),
    elf: (62, true, true),
    multiarch: "x86_64-linux-gnu",
    glibc_loader: "/lib64/ld-linux-x86-64.so.2",
    musl_loader: "/lib/ld-musl-x86_64.so.1",
    ld_cache_flags: 0x0303,
    qemu_package: "qemu-system-x86",
    qemu: "x86_64",
    console: "ttyS0",
    guest: Some(&GUEST),
};

/// Guests.
pub(super) static GUEST: Guest = Guest {
    machine: "q35",
    tcg_cpu: "max",
    // Kernels on KVM set this themselves (`arch/x86/kernel/kvm.c`, `kvm_guest_init`): on a busy host the check of the
    // timer interrupt occasionally fails, and the kernel panics with "IO-APIC + timer doesn't work!" without a fault.
    tcg_parameters: &["no_timer_check"],
    // KVM guests have a timer that counts in TSC ticks: no calibration is needed.
    fast_boot: &["cryptomgr.notests", "noreplace-smp"],
    fast_boot_tcg: &["cryptomgr.notests", "noreplace-smp", "nolapic_timer"],
    images: &["vmlinux", "arch/x86/boot/bzImage", "arch/x86_64/boot/bzImage"],
    config: "X86_64",
    serial: ["SERIAL_8250", "SERIAL_8250_CONSOLE"],
};

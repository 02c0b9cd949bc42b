//! 64-bit Arm.

use super::{Guest, Properties};

/// Properties of the architecture.
pub(super) static PROPERTIES: Properties = Properties {
    name: "aarch64",
    aliases: &["arm64"],
    debian: Some("arm64"),
    elf: (183, true, true),
    multiarch: "aarch64-linux-gnu",
    glibc_loader: "/lib/ld-linux-aarch64.so.1",
    musl_loader: "/lib/ld-musl-aarch64.so.1",
    ld_cache_flags: 0x0a03,
    qemu_package: "qemu-system-arm",
    qemu: "aarch64",
    console: "ttyAMA0",
    guest: Some(&GUEST),
};

/// Guests.
static GUEST: Guest = Guest {
    machine: "virt",
    // `max` has pointer authentication, whose emulation makes a boot take eight times as long.
    tcg_cpu: "cortex-a72",
    tcg_parameters: &[],
    fast_boot: &["cryptomgr.notests"],
    fast_boot_tcg: &["cryptomgr.notests"],
    images: &["arch/arm64/boot/Image", "arch/arm64/boot/Image.gz", "arch/arm64/boot/vmlinuz.efi"],
    config: "ARM64",
    serial: ["SERIAL_AMBA_PL011", "SERIAL_AMBA_PL011_CONSOLE"],
};

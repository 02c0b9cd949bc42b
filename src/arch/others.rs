//! Architectures whose programs, kernels and packages are recognized, but whose guests do not run.

use super::Properties;

/// 80386 and later, 32-bit.
pub(super) static X86: Properties = Properties {
    name: "i386",
    aliases: &["i686"],
    debian: Some("i386"),
    elf: (3, false, true),
    multiarch: "i386-linux-gnu",
    glibc_loader: "/lib/ld-linux.so.2",
    musl_loader: "/lib/ld-musl-i386.so.1",
    ld_cache_flags: 0x0003,
    qemu_package: "qemu-system-x86",
    qemu: "i386",
    console: "ttyS0",
    guest: None,
};

/// AMD64 instructions with 32-bit pointers.
pub(super) static X32: Properties = Properties {
    name: "x32",
    aliases: &[],
    debian: None,
    elf: (62, false, true),
    multiarch: "x86_64-linux-gnux32",
    glibc_loader: "/libx32/ld-linux-x32.so.2",
    musl_loader: "/lib/ld-musl-x32.so.1",
    ld_cache_flags: 0x0803,
    qemu_package: "qemu-system-x86",
    qemu: "x86_64",
    console: "ttyS0",
    guest: None,
};

/// 32-bit Arm.
pub(super) static ARM: Properties = Properties {
    name: "arm",
    aliases: &["armhf"],
    debian: Some("armhf"),
    elf: (40, false, true),
    multiarch: "arm-linux-gnueabihf",
    glibc_loader: "/lib/ld-linux-armhf.so.3",
    musl_loader: "/lib/ld-musl-armhf.so.1",
    ld_cache_flags: 0x0903,
    qemu_package: "qemu-system-arm",
    qemu: "arm",
    console: "ttyAMA0",
    guest: None,
};

/// 64-bit RISC-V.
pub(super) static RISCV64: Properties = Properties {
    name: "riscv64",
    aliases: &[],
    debian: Some("riscv64"),
    elf: (243, true, true),
    multiarch: "riscv64-linux-gnu",
    glibc_loader: "/lib/ld-linux-riscv64-lp64d.so.1",
    musl_loader: "/lib/ld-musl-riscv64.so.1",
    ld_cache_flags: 0x1003,
    qemu_package: "qemu-system-misc",
    qemu: "riscv64",
    console: "ttyS0",
    guest: None,
};

/// IBM Z.
pub(super) static S390X: Properties = Properties {
    name: "s390x",
    aliases: &[],
    debian: Some("s390x"),
    elf: (22, true, false),
    multiarch: "s390x-linux-gnu",
    glibc_loader: "/lib/ld64.so.1",
    musl_loader: "/lib/ld-musl-s390x.so.1",
    ld_cache_flags: 0x0403,
    qemu_package: "qemu-system-misc",
    qemu: "s390x",
    console: "ttysclp0",
    guest: None,
};

/// 64-bit POWER, little endian.
pub(super) static PPC64LE: Properties = Properties {
    name: "ppc64le",
    aliases: &["ppc64el"],
    debian: Some("ppc64el"),
    elf: (21, true, true),
    multiarch: "powerpc64le-linux-gnu",
    glibc_loader: "/lib64/ld64.so.2",
    musl_loader: "/lib/ld-musl-powerpc64le.so.1",
    ld_cache_flags: 0x0503,
    qemu_package: "qemu-system-ppc",
    qemu: "ppc64",
    console: "ttyS0",
    guest: None,
};

//! Tests with and without stubs below the root, and with kernels of every kind.

use std::fs;
use std::path::Path;

use super::{UkiError, UkiParts, resolve};
use crate::arch::Arch;
use crate::format::pe::builder::Builder;
use crate::root::directory::Root;
use crate::root::kernel::{ImageKind, Kernel};

fn kernel(image: &Path) -> Kernel {
    Kernel {
        image: image.to_owned(),
        kind: ImageKind::BzImage,
        arch: Arch::X86_64,
        release: Some("6.1.0-test".to_owned()),
        modules: None,
        config: None,
        origin: "/boot/vmlinuz".to_owned(),
    }
}

/// Creates a root with a kernel and the listed files.
fn root(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root, Kernel) {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("vmlinuz");
    fs::write(&image, Builder::default().build()).expect("written");
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
    }
    let root = Root::new(dir.path()).expect("a root");
    let kernel = kernel(&image);
    (dir, root, kernel)
}

const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

fn stub() -> Vec<u8> {
    let contents = [b"\0.linux\0.initrd\0.cmdline\0".to_vec(), b"data".to_vec()];
    Builder { contents, ..Builder::default() }.build()
}

/// Returns the error text and the advice.
fn refused(result: Result<UkiParts, UkiError>, dir: &Path) -> (String, Option<&'static str>) {
    let error = result.expect_err("refused");
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    let dir = fs::canonicalize(dir).expect("there");
    (text.replace(&dir.display().to_string(), "ROOT"), error.advice())
}

#[test]
fn parts_are_found_at_the_paths_that_distributions_use() {
    let (_dir, found, kernel) = root(&[(STUB, &stub()), ("usr/lib/os-release", b"ID=x\n"), ("etc/os-release", b"")]);
    let parts = resolve(&found, &kernel, None).expect("all parts");
    assert_eq!(parts.os_release, b"ID=x\n");
    assert_eq!(parts.uname.as_deref(), Some("6.1.0-test"));
    assert!(parts.kernel.load_file2);
    assert_eq!(parts.stub.bytes, stub());
    // A root without a stub and without os-release works if the stub is passed.
    let (dir, found, mut kernel) = root(&[]);
    let given = dir.path().join("given");
    fs::write(&given, stub()).expect("written");
    kernel.release = Some("6.1\"\n$(x)".to_owned());
    let parts = resolve(&found, &kernel, Some(&given)).expect("all parts");
    let text = String::from_utf8(parts.os_release).expect("text");
    assert_eq!(text, "ID=linux\nNAME=Linux\nPRETTY_NAME=\"Linux 6.1x\"\nVERSION_ID=6.1x\n");
}

#[test]
fn a_missing_stub_is_reported_with_advice() {
    let (dir, found, kernel) = root(&[]);
    let (text, advice) = refused(resolve(&found, &kernel, None), dir.path());
    assert_eq!(
        text,
        "EFI stub not found (tried ROOT/usr/lib/systemd/boot/efi/linuxx64.efi.stub, \
         ROOT/lib/systemd/boot/efi/linuxx64.efi.stub)"
    );
    assert!(advice.is_some_and(|advice| advice.contains("systemd-boot-efi") && advice.contains("--stub")));
    let mut foreign = kernel.clone();
    foreign.arch = Arch::S390x;
    let (text, _) = refused(resolve(&found, &foreign, None), dir.path());
    assert_eq!(text, "no EFI stub: UEFI does not support s390x");
}

#[test]
fn kernels_that_firmware_cannot_start_are_refused() {
    let (dir, found, mut kernel) = root(&[(STUB, &stub()), ("bios", &[0; 2048])]);
    kernel.kind = ImageKind::VmlinuxPvh;
    let (text, advice) = refused(resolve(&found, &kernel, None), dir.path());
    assert!(text.ends_with("is an ELF vmlinux, but firmware starts only PE images"), "{text}");
    assert!(advice.is_some_and(|advice| advice.contains("bzImage")));
    kernel.kind = ImageKind::BzImage;
    kernel.image = dir.path().join("bios");
    let (text, advice) = refused(resolve(&found, &kernel, None), dir.path());
    assert_eq!(text, "firmware cannot start kernel /boot/vmlinuz: not a PE file: no \"MZ\" signature at offset 0x0");
    assert!(advice.is_some_and(|advice| advice.contains("CONFIG_EFI_STUB")));
}

#[test]
fn unusable_stubs_are_refused() {
    let addon = [vec![1], b"#### LoaderInfo: systemd-addon 255 ####".to_vec()];
    let table = Builder::default().table();
    let named = |contents: [Vec<u8>; 2], name: &[u8]| {
        let mut file = Builder { contents, ..Builder::default() }.build();
        file[table + 40..table + 40 + name.len()].copy_from_slice(name);
        file
    };
    let mut driver = stub();
    driver[0x98 + 68] = 11;
    let mut arm = stub();
    arm[0x84..0x86].copy_from_slice(&[0x64, 0xaa]);
    for (bytes, why) in [
        (
            named(addon, b".sdmagic"),
            "invalid EFI stub ROOT/given: this is the stub for addons, which cannot contain a kernel",
        ),
        (named([vec![1], vec![2]], b".linux"), "invalid EFI stub ROOT/given: already contains a kernel"),
        (
            Builder::default().build(),
            "invalid EFI stub ROOT/given: no support for .linux, .initrd and .cmdline, so it would not start the kernel",
        ),
        (driver, "invalid EFI stub ROOT/given: not an EFI application"),
        (b"\x7fELF".to_vec(), "invalid EFI stub ROOT/given: this is the ELF file that the stub is built from"),
        (b"#!/bin/sh".to_vec(), "failed to read EFI stub ROOT/given: not a PE file: no \"MZ\" signature at offset 0x0"),
        (arm, "machine mismatch: kernel /boot/vmlinuz is for x64, EFI stub ROOT/given is for aa64"),
    ] {
        let (dir, found, kernel) = root(&[("given", &bytes)]);
        let given = fs::canonicalize(dir.path()).expect("there").join("given");
        let (text, advice) = refused(resolve(&found, &kernel, Some(&given)), dir.path());
        assert_eq!(text, why);
        assert!(advice.is_some());
    }
}

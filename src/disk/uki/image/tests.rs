//! Tests of the contents and layout of unified kernel images.

use std::fmt::Write as _;
use std::path::Path;

use expect_test::expect;

use super::{Uki, UkiWriteError, bytes};
use crate::disk::uki::{KernelImage, Stub, UkiParts};
use crate::format::pe::Pe;
use crate::format::pe::builder::Builder;

/// Returns the parts of an image: a stub with two sections, a kernel in a file, the rest in memory.
fn parts(dir: &Path, directories: u32) -> UkiParts {
    let kernel = Builder { contents: [vec![7; 5000], vec![8; 10]], ..Builder::default() }.build();
    let path = dir.join("vmlinuz");
    std::fs::write(&path, &kernel).expect("written");
    let stub = Builder { directories, symbols: 18, ..Builder::default() }.build();
    let pe = Pe::read(&stub).expect("a PE file");
    UkiParts {
        kernel: KernelImage {
            path,
            origin: "/boot/vmlinuz".to_owned(),
            size: kernel.len() as u64,
            machine: pe.machine,
            load_file2: true,
        },
        stub: Stub { path: "/stub".into(), bytes: stub, pe },
        os_release: b"ID=x\n".to_vec(),
        uname: Some("6.1".to_owned()),
    }
}

fn whole(uki: &Uki) -> Vec<u8> {
    let mut file = Vec::new();
    uki.extents().write_to(&mut file).expect("written");
    file
}

#[test]
fn sections_are_laid_out_as_ukify_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let uki = Uki::new(parts(dir.path(), 16), "console=ttyS0", bytes(vec![9; 3000])).expect("room");
    let file = whole(&uki);
    let pe = Pe::read(&file).expect("a PE file");
    let mut text = String::new();
    for section in &pe.sections {
        let (at, size) = section.contents();
        let first = &file[at as usize..(at + size.min(13)) as usize];
        writeln!(text, "{:8} {:6x} {at:6x}+{size:x} {}", section.name(), section.address, first.escape_ascii())
            .expect("a string");
    }
    expect![[r"
        .text      1000    400+190 codecodecodec
        .data      2000    600+28 datadatadatad
        .osrel     3000    800+5 ID=x\n
        .cmdline   4000    a00+d console=ttyS0
        .uname     5000    c00+3 6.1
        .initrd    6000    e00+bb8 \t\t\t\t\t\t\t\t\t\t\t\t\t
        .linux     7000   1a00+1a00 MZ\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00
    "]]
    .assert_eq(&text);
    assert_eq!(file, whole(&Uki::new(parts(dir.path(), 16), "console=ttyS0", bytes(vec![9; 3000])).expect("room")));
}

#[test]
fn sections_without_contents_are_omitted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut few = parts(dir.path(), 16);
    few.uname = None;
    let uki = Uki::new(few, "", bytes(vec![9; 30])).expect("room");
    let pe = Pe::read(&whole(&uki)).expect("a PE file");
    let names: Vec<_> = pe.sections.iter().map(|section| section.name().clone()).collect();
    assert_eq!(names[2..], [".osrel", ".initrd", ".linux"]);
    let error = Uki::new(parts(dir.path(), 16), "", bytes(Vec::new())).expect_err("refused");
    assert!(matches!(error, UkiWriteError::EmptyInitrd));
}

#[test]
fn a_command_line_that_would_be_truncated_or_changed_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let with = |cmdline: &str| Uki::new(parts(dir.path(), 16), cmdline, bytes(vec![9]));
    assert!(with(&"x".repeat(2047)).is_ok());
    let error = with(&"x".repeat(2048)).expect_err("refused").to_string();
    assert_eq!(error, "kernel command line of 2048 bytes is too long (limit 2047)");
    let error = with("quiet\nx").expect_err("refused").to_string();
    assert_eq!(error, "kernel command line contains the control character 0x0a at byte 5");
}

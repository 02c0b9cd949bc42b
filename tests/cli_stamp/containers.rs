//! Images that are not raw: VHD, compressed files, unsupported formats, and failed writes.

use std::fs;
use std::io::Write;

use bootling::format::Guid;
use bootling::format::SectorSize;
use bootling::format::compression::Compression;
use bootling::format::vhd::Footer;
use snapbox::cmd::Command;
use snapbox::str;

use crate::case::{Case, stamped};
use crate::disks::{DISK, gpt_disk};

fn compressed(compression: Compression, disk: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = compression.writer(&mut out).expect("a writer");
    writer.write_all(disk).expect("written");
    writer.finish().expect("finished");
    out
}

#[test]
fn a_file_that_is_not_a_disk_is_refused_even_with_force() {
    let case = Case::with([0; 100]);
    case.write("cut.vhd", Footer { disk_bytes: DISK, id: Guid::ZERO, time: 0 }.encode());
    case.write("b.vmdk", b"KDMV\x01\0\0\0");
    case.write("old.qcow", b"QFI\xfb\0\0\0\x01");
    case.write("d.vhd", [&b"conectix"[..], &[0; 504]].concat());
    fs::create_dir(case.path().join("dir")).expect("a directory");
    for (image, error) in [
        ("x.img", "error: failed to stamp x.img: 100 bytes are too few for a boot sector\n"),
        ("none", "error: failed to open none: No such file or directory (os error 2)\n"),
        ("dir", "error: failed to open dir: neither a file nor a block device\n"),
        ("/dev/null", "error: failed to open /dev/null: neither a file nor a block device\n"),
        (
            "cut.vhd",
            "error: failed to open cut.vhd: it is a dynamic VHD, which is not supported\nadvice: convert it: \
             qemu-img convert -O qcow2 cut.vhd cut.vhd.qcow2\n",
        ),
        ("b.vmdk", "error: failed to open b.vmdk: it is a VMDK, which is not supported\nadvice: convert it: [..]\n"),
        ("old.qcow", "error: failed to open old.qcow: it is qcow version 1, which is not supported\nadvice: [..]\n"),
        ("d.vhd", "error: failed to open d.vhd: it is a dynamic VHD, which is not supported\nadvice: [..]\n"),
    ] {
        for words in [&["stamp", image][..], &["stamp", "--force", image], &["byebyebios", "-f", image]] {
            case.bootling(words).assert().code(125).stdout_eq("").stderr_eq(error);
        }
    }
}

#[test]
fn a_vhd_is_stamped_and_its_footer_must_be_valid() {
    let footer = Footer { disk_bytes: DISK, id: Guid::derived(b"x", "vhd"), time: 1 }.encode();
    let case = Case::with([gpt_disk(SectorSize::S512), footer.to_vec()].concat());
    case.says(&["stamp", "x.img"], "bootling: x.img (VHD): boot sector written, [..] of 440 bytes\n");
    assert!(case.read("x.img") == [stamped(SectorSize::S512), footer.to_vec()].concat());
    let mut bad = footer;
    bad[100] = 1;
    case.write("x.img", [gpt_disk(SectorSize::S512), bad.to_vec()].concat());
    case.fails(
        &["stamp", "x.img"],
        str![[r"
error: failed to open x.img: at byte 4194304: VHD footer checksum is [..], expected [..]
advice: --format raw treats the whole file as the disk

"]],
    );
    case.bootling(&["stamp", "-q", "--format", "raw", "x.img"]).assert().success().stderr_eq("");
    assert!(case.read("x.img") == [stamped(SectorSize::S512), bad.to_vec()].concat());
    let larger = Footer { disk_bytes: DISK + 512, id: Guid::ZERO, time: 1 }.encode();
    case.write("x.img", [gpt_disk(SectorSize::S512), larger.to_vec()].concat());
    case.fails(
        &["stamp", "x.img"],
        str![[r"
error: failed to open x.img: VHD footer declares 4194816 bytes, file contains 4194304
advice: [..]

"]],
    );
}

#[test]
fn compressed_images_are_rewritten_in_place_or_to_another_file() {
    let case = Case::new();
    for (name, compression) in [("gzip", Compression::Gzip), ("xz", Compression::Xz), ("zstd", Compression::Zstd)] {
        let packed = compressed(compression, &gpt_disk(SectorSize::S512));
        let wanted = compressed(compression, &stamped(SectorSize::S512));
        case.write("x.img", &packed);
        case.says(&["stamp", "-o", "new", "x.img"], format!("bootling: new ({name}): boot sector written, [..]\n"));
        assert!(case.read("x.img") == packed && case.read("new") == wanted, "{name}");
        case.says(&["stamp", "x.img"], format!("bootling: x.img ({name}): boot sector written, [..]\n"));
        assert!(case.read("x.img") == wanted, "{name}");
        case.says(&["stamp", "x.img"], format!("bootling: x.img ({name}): no changes necessary\n"));
        let piped = case.bootling(&["stamp", "-q", "-o", "-", "x.img"]).assert().success().get_output().stdout.clone();
        assert!(piped == wanted, "{name}");
        // Truncated, and with trailing garbage: the file is not replaced.
        for broken in [packed[..packed.len() - 20].to_vec(), [&packed[..], b"garbage"].concat()] {
            case.write("x.img", broken);
            case.fails(&["stamp", "x.img"], "error: failed to decompress x.img: [..]\n");
        }
        case.write("x.img", compressed(compression, b"QFI\xfb\0\0\0\x03"));
        let inside = format!(
            "error: failed to open x.img: {name} file contains a qcow2, only a raw disk can be rewritten as a stream\n\
             advice: decompress it first\n"
        );
        case.fails(&["stamp", "x.img"], inside);
        case.write("x.img", compressed(compression, &[0; 100]));
        let short = "error: failed to stamp x.img: the decompressed image is too small for a boot sector\n";
        case.fails(&["stamp", "x.img"], short);
    }
    case.write("raw", gpt_disk(SectorSize::S512));
    let error = "error: failed to stamp raw: --output requires a compressed image; raw is stamped in place\n";
    case.fails(&["stamp", "-o", "new2", "raw"], error);
}

#[test]
fn a_failed_write_leaves_the_image_unchanged_and_no_partial_file() {
    let case = Case::new();
    case.write("x.img", compressed(Compression::Gzip, &gpt_disk(SectorSize::S512)));
    let limited = |words: &str| {
        let line = format!("ulimit -f 4; trap '' XFSZ; exec {} {words}", env!("CARGO_BIN_EXE_bootling"));
        Command::new("sh").args(["-c", &line]).current_dir(case.path())
    };
    let before = case.files();
    let error = "error: failed to write new: File too large (os error 27)\n";
    limited("stamp -o new x.img").assert().code(125).stderr_eq(error);
    assert!(case.files() == before);
}

//! Images that stand on others.

use std::fs;
use std::path::Path;

use super::disks::{read, tool, tools};
use super::{bootling, case};

#[test]
fn an_overlay_is_stamped_and_what_it_stands_on_is_not() {
    if !tools("overlays", &["qemu-img"]) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path();
    case(dir);
    tool(dir, &["qemu-img", "convert", "-c", "-O", "qcow2", "x.img", "base.qcow2"]);
    for (base, format) in [("x.img", "raw"), ("base.qcow2", "qcow2")] {
        let before = read(dir, base);
        tool(dir, &["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", format, "mid.qcow2"]);
        tool(dir, &["qemu-img", "create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2"]);
        let middle = read(dir, "mid.qcow2");
        let untouched = read(dir, "top.qcow2");
        let (status, said) = bootling(dir, &["stamp", "--force", "top.qcow2"]);
        assert!(status == Some(125) && said.contains("overlay on mid.qcow2, which is opened only"), "{said}");
        for verb in ["check", "ls"] {
            let (status, said) = bootling(dir, &[verb, "top.qcow2"]);
            assert!(status == Some(125) && said.contains("advice: --allow-backing"), "{said}");
        }
        assert!(read(dir, "top.qcow2") == untouched);
        let (status, said) = bootling(dir, &["stamp", "--allow-backing", "top.qcow2"]);
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("top.qcow2: backing file mid.qcow2 was only read"), "{said}");
        assert!(said.contains(&format!("top.qcow2: backing file {base} was only read")), "{said}");
        tool(dir, &["qemu-img", "check", "-q", "top.qcow2"]);
        tool(dir, &["qemu-img", "compare", "-f", "raw", "-F", "qcow2", "want.img", "top.qcow2"]);
        assert!(read(dir, base) == before && read(dir, "mid.qcow2") == middle);
    }
    // An overlay over itself, and one that does not say what it stands on.
    tool(dir, &["qemu-img", "rebase", "-u", "-b", "top.qcow2", "-F", "qcow2", "top.qcow2"]);
    let (status, said) = bootling(dir, &["stamp", "--allow-backing", "top.qcow2"]);
    assert!(status == Some(125) && said.contains("more than 64 backing files"), "{said}");
    tool(dir, &["qemu-img", "create", "-q", "-f", "qcow2", "-b", "x.img", "-F", "raw", "-u", "top.qcow2", "4M"]);
    forget_backing_format(&dir.join("top.qcow2"));
    let (status, said) = bootling(dir, &["stamp", "--allow-backing", "top.qcow2"]);
    assert!(status == Some(125) && said.contains("no declared format"), "{said}");
}

/// Gives the header's extension another, unknown type.
fn forget_backing_format(image: &Path) {
    let mut bytes = fs::read(image).expect("an image");
    let at = bytes.windows(4).position(|word| word == [0xe2, 0x79, 0x2a, 0xca]).expect("the extension is there");
    bytes[at] = 0x11;
    fs::write(image, bytes).expect("written");
}

//! Oracles for disk images: fsck.fat, mtools, sgdisk, the gpt crate, qemu-img, sha256sum and the decompressors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An installed EFI program (`tools/setup run`).
const EFI: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
const MIB: u64 = 1 << 20;

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Builds a disk and returns its bytes.
    #[track_caller]
    fn disk(&self, name: &str, words: &[&str]) -> Vec<u8> {
        self.disk_at(name, words, "0")
    }

    #[track_caller]
    fn disk_at(&self, name: &str, words: &[&str], epoch: &str) -> Vec<u8> {
        let done = Command::new(env!("CARGO_BIN_EXE_bootling"))
            .args(["disk", "-o", name, "--efi", EFI])
            .args(words)
            .current_dir(self.dir.path())
            .env("SOURCE_DATE_EPOCH", epoch)
            .output()
            .expect("bootling runs");
        assert!(done.status.success(), "{words:?}: {}", text(&done));
        fs::read(self.path(name)).expect("the image")
    }

    /// Runs a tool that must succeed; returns its output.
    #[track_caller]
    fn tool(&self, program: &str, words: &[&str]) -> String {
        let done = self.try_tool(program, words);
        assert!(done.status.success(), "{program} {words:?}: {}", text(&done));
        text(&done)
    }

    fn try_tool(&self, program: &str, words: &[&str]) -> Output {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let done = Command::new(program)
            .args(words)
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("MTOOLS_SKIP_CHECK", "0")
            .output();
        done.unwrap_or_else(|error| panic!("{program} (`tools/setup test` brings it): {error}"))
    }

    /// Runs fsck.fat on the EFI system partition; checks that it finds no problem and returns its last line.
    #[track_caller]
    fn fsck(&self, image: &[u8]) -> String {
        let end = volume_end(image);
        fs::write(self.path("esp.img"), &image[MIB as usize..end]).expect("written");
        let said = self.tool("fsck.fat", &["-n", "esp.img"]);
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines.len() == 2 && lines[0].starts_with("fsck.fat "), "{said}");
        lines[1].to_owned()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn word(image: &[u8], at: u64) -> u64 {
    let at = (MIB + at) as usize;
    u64::from(u16::from_le_bytes([image[at], image[at + 1]]))
}

/// Returns the end of the FAT volume according to its boot sector.
fn volume_end(image: &[u8]) -> usize {
    let short = word(image, 19);
    let sectors = if short == 0 { word(image, 32) | word(image, 34) << 16 } else { short };
    (MIB + sectors * word(image, 11)) as usize
}

/// Creates files that are hard for FAT: many, deep, with long names, lower case, umlauts, empty, partial clusters.
fn tree(case: &Case) -> BTreeMap<String, Vec<u8>> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for number in 0..150usize {
        let content = vec![number as u8; number * 97];
        files.insert(format!("many/a-rather-long-name-of-a-file-number-{number}.conf"), content);
    }
    for (name, len) in [
        ("loader/loader.conf", 20),
        ("loader/entries/6.12.0-arch.conf", 4096),
        ("a/b/c/d/e/f/g/h/deep.txt", 1),
        ("UPPER.TXT", 511),
        ("lower.txt", 512),
        ("Mixed.Case.Name", 513),
        ("größe/übergröße.txt", 10),
        ("empty", 0),
        ("big.bin", 700_001),
    ] {
        files.insert(name.to_owned(), (0..=250).cycle().take(len).collect());
    }
    files.insert(format!("{}.txt", "x".repeat(251)), vec![7; 3]);
    for (name, content) in &files {
        let path = case.path("tree").join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }
    fs::create_dir_all(case.path("tree/nothing/in/here")).expect("a directory");
    files
}

fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.file_type().is_file()).map(|entry| {
        let name = entry.path().strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
        (name, fs::read(entry.path()).expect("a file"))
    });
    files.collect()
}

#[test]
fn fsck_finds_no_problem_and_mtools_reads_every_file() {
    let case = Case::new();
    let files = tree(&case);
    let efi = fs::read(EFI).expect("systemd-boot-efi is installed");
    for (words, kind) in [
        (&["--esp", "standard"][..], "FAT32"),
        (&["--esp", "tiny"], "FAT12"),
        (&["--esp", "tiny", "--size", "20M"], "FAT16"),
        (&["--sector-size", "4096"], "FAT32"),
        (&["--sector-size", "dual", "--esp", "tiny"], "FAT12"),
    ] {
        let image = case.disk("x.img", &[words, &["--add-file", "tree=/"]].concat());
        let said = case.fsck(&image);
        // Files and directories of the tree and of the program, and the label.
        assert!(said.starts_with(&format!("esp.img: {} files, ", files.len() + 1 + 18)), "{words:?}: {said}");
        let label = if kind == "FAT32" { 82 } else { 54 };
        let at = MIB as usize + label;
        assert_eq!(&image[at..at + 5], kind.as_bytes(), "{words:?}");
        let out = case.path("out");
        fs::create_dir(&out).expect("a directory");
        case.tool("mcopy", &["-i", "x.img@@1M", "-s", "-n", "-Q", "::/", "out"]);
        let mut found = files_below(&out);
        assert!(found.remove("EFI/BOOT/BOOTX64.EFI").expect("the program") == efi, "{words:?}");
        assert_eq!(found.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>(), "{words:?}");
        assert!(found == files, "{words:?}: contents differ");
        assert!(out.join("nothing/in/here").is_dir());
        fs::remove_dir_all(out).expect("removed");
    }
}

#[test]
fn the_volumes_boot_sector_has_its_position_and_a_backup_copy() {
    let case = Case::new();
    let image = case.disk("x.img", &[]);
    assert_eq!(word(&image, 28) | word(&image, 30) << 16, 2048, "hidden sectors");
    let boot = MIB as usize;
    assert!(image[boot..boot + 512] == image[boot + 6 * 512..boot + 7 * 512]);
    let entry = 2 * 512 + 16;
    assert_eq!(
        image[entry..entry + 4],
        image[boot + 67..boot + 71],
        "the serial is the partition GUID's first four bytes"
    );
    assert_eq!(image[boot + 21], 0xF8, "media");
    assert_eq!(image[boot + 65], 0, "clean");
}

#[test]
fn sgdisk_finds_no_problem_and_prints_no_caution() {
    let case = Case::new();
    fs::write(case.path("root.img"), vec![1; 3_000_000]).expect("written");
    // sgdisk takes a second per run: only the most complex cases.
    for words in [&["--root", "root.img", "--size", "100M"][..], &["--sector-size", "dual"]] {
        case.disk("x.img", words);
        let said = case.tool("sgdisk", &["-v", "x.img"]);
        assert!(said.contains("No problems found"), "{words:?}: {said}");
        assert!(!said.contains("Caution"), "{words:?}: {said}");
        // In a dual image, the other table's entries are between header and entries.
        assert_eq!(said.contains("Warning"), words.contains(&"dual"), "{said}");
    }
}

#[test]
fn the_gpt_crate_reads_the_tables_of_all_sector_sizes() {
    use gpt::disk::LogicalBlockSize::{Lb512, Lb4096};
    let case = Case::new();
    fs::write(case.path("root.img"), vec![1; 3_000_000]).expect("written");
    for (kind, sizes) in [("512", &[Lb512][..]), ("4096", &[Lb4096]), ("dual", &[Lb512, Lb4096])] {
        case.disk("x.img", &["--esp", "tiny", "--sector-size", kind, "--root", "root.img"]);
        let mut guids = Vec::new();
        for size in sizes {
            let table = gpt::GptConfig::new().logical_block_size(*size).open(case.path("x.img")).expect("a table");
            let parts = table.partitions();
            assert_eq!(parts.len(), 2);
            assert_eq!(parts[&1].part_type_guid, gpt::partition_types::EFI);
            assert_eq!(parts[&2].part_type_guid, gpt::partition_types::LINUX_ROOT_X64);
            assert_eq!(parts[&1].bytes_start(*size).expect("a start"), MIB);
            assert_eq!(parts[&2].bytes_start(*size).expect("a start") % MIB, 0);
            guids.push((table.guid().to_string(), parts[&1].part_guid, parts[&2].part_guid));
        }
        assert!(guids.windows(2).all(|pair| pair[0] == pair[1]), "{guids:?}");
    }
}

#[test]
fn containers_contain_the_same_disk_and_qemu_img_accepts_them() {
    let case = Case::new();
    fs::write(case.path("root.img"), vec![1; 100_000]).expect("written");
    let root = fs::File::options().write(true).open(case.path("root.img")).expect("open");
    root.set_len(300 << 20).expect("a hole");
    let words = ["--root", "root.img", "--size", "560M"];
    let raw = case.disk("x.img", &words);
    for (name, format, checkable) in [("x.qcow2", "qcow2", true), ("x.vhd", "vpc", false), ("x.vmdk", "vmdk", true)] {
        let first = case.disk(name, &words);
        if checkable {
            let said = case.tool("qemu-img", &["check", "-f", format, name]);
            assert!(said.contains("No errors were found"), "{name}: {said}");
        }
        case.tool("qemu-img", &["compare", "-f", "raw", "-F", format, "x.img", name]);
        let info: serde_json::Value =
            serde_json::from_str(&case.tool("qemu-img", &["info", "--output=json", "-f", format, name])).expect("JSON");
        assert_eq!(info["virtual-size"].as_u64(), Some(raw.len() as u64), "{name}");
        let other = format!("other-{name}");
        assert!(case.disk(&other, &words) == first, "{name}: differs under another name");
        if format == "vpc" {
            assert_eq!(first.len(), raw.len() + 512);
        } else {
            assert!(first.len() < 4 << 20, "{name}: {} bytes", first.len());
        }
    }
}

#[test]
fn compressed_images_unpack_to_the_raw_image_and_their_checksums_match() {
    let case = Case::new();
    let raw = case.disk("x.img", &["--esp", "tiny", "--checksums"]);
    for (name, tool) in [("y.img.zst", "zstd"), ("y.img.gz", "gzip"), ("y.img.xz", "xz")] {
        case.disk(name, &["--esp", "tiny", "--checksums"]);
        let unpacked = case.try_tool(tool, &["-dc", name]);
        assert!(unpacked.status.success() && unpacked.stdout == raw, "{name}");
    }
    // The uncompressed image also has a line.
    fs::copy(case.path("x.img"), case.path("y.img")).expect("copied");
    let said = case.tool("sha256sum", &["--strict", "-c", "SHA256SUMS"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["x.img: OK", "y.img.zst: OK", "y.img.gz: OK", "y.img.xz: OK", "y.img: OK"]);
}

#[test]
fn images_are_reproducible_and_times_come_from_source_date_epoch() {
    let case = Case::new();
    let first = case.disk("x.img", &["--esp", "tiny"]);
    assert!(first == case.disk("elsewhere.img", &["--esp", "tiny"]));
    let later = case.disk_at("x.img", &["--esp", "tiny"], "1700000000");
    assert!(first != later);
    let said = case.tool("mdir", &["-i", "x.img@@1M", "-/", "::"]);
    assert!(said.contains("2023-11-14  22:13"), "{said}");
    assert!(!said.contains("1980"), "{said}");
    assert_eq!(case.fsck(&later), case.fsck(&first));
}

#[test]
fn a_root_partition_is_a_file_system_built_from_a_directory() {
    let case = Case::new();
    fs::create_dir_all(case.path("root/etc")).expect("a directory");
    fs::write(case.path("root/etc/motd"), "hello\n").expect("a file");
    fs::write(case.path("root/large"), vec![3; 5_000_000]).expect("a file");
    for (kind, tool, words) in [
        ("squashfs", "unsquashfs", &["-no-progress", "-quiet", "-d", "unpacked", "part.img"][..]),
        ("ext4", "e2fsck", &["-f", "-n", "part.img"]),
    ] {
        let options = ["--esp", "tiny", "--root", "root", "--root-fs", kind];
        let image = case.disk("x.img", &options);
        assert!(image == case.disk("again.img", &options), "{kind}: not reproducible");
        let table = gpt::GptConfig::new().open(case.path("x.img")).expect("a table");
        let at = table.partitions()[&2].bytes_start(gpt::disk::LogicalBlockSize::Lb512).expect("a start") as usize;
        fs::write(case.path("part.img"), &image[at..]).expect("written");
        case.tool(tool, words);
    }
    assert_eq!(fs::read_to_string(case.path("unpacked/etc/motd")).expect("unpacked"), "hello\n");
    let said = case.tool("debugfs", &["-R", "cat /etc/motd", "part.img"]);
    assert!(said.contains("hello"), "{said}");
    assert!(
        !fs::read_dir(case.path(""))
            .expect("a directory")
            .any(|entry| { entry.expect("an entry").file_name().to_string_lossy().starts_with('.') })
    );
}

//! The command `bootling disk`: exact output, one error for bad input, no files left behind.
#![allow(clippy::needless_raw_string_hashes, reason = "snapbox writes its snapshots so")]

#[path = "../support/case.rs"]
mod case;
mod refusals;

use std::fs;
use std::io::Read;
use std::process::Stdio;

use case::Case;
use snapbox::str;

/// Returns `bootling disk` in a directory with an EFI program.
fn usual() -> Case {
    let case = Case::of("disk");
    case.write("app.efi", efi(0x8664, 5000));
    case
}

/// Builds an empty EFI program: headers and one section.
fn efi(machine: u16, size: usize) -> Vec<u8> {
    let mut file = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &0x80u32.to_le_bytes());
    put(0x80, b"PE\0\0");
    put(0x84, &machine.to_le_bytes());
    put(0x86, &1u16.to_le_bytes());
    put(0x94, &240u16.to_le_bytes());
    put(0x98, &0x20bu16.to_le_bytes());
    put(0x98 + 32, &4096u32.to_le_bytes());
    put(0x98 + 36, &512u32.to_le_bytes());
    put(0x98 + 56, &8192u32.to_le_bytes());
    put(0x98 + 60, &1024u32.to_le_bytes());
    put(0x98 + 68, &10u16.to_le_bytes());
    put(0x98 + 108, &16u32.to_le_bytes());
    put(0x188, b".text\0\0\0");
    put(0x190, &512u32.to_le_bytes());
    put(0x194, &4096u32.to_le_bytes());
    put(0x198, &512u32.to_le_bytes());
    put(0x19c, &1024u32.to_le_bytes());
    file
}

#[test]
fn success_is_silent() {
    let case = usual();
    case.bootling(&["-o", "x.img", "--efi", "app.efi"]).assert().success().stdout_eq("").stderr_eq("");
    assert_eq!(fs::metadata(case.path().join("x.img")).expect("an image").len(), 35 << 20);
}

#[test]
fn a_dry_run_prints_the_layout() {
    let case = usual();
    case.write("grub.cfg", "set timeout=0\n");
    case.write("root.img", vec![1; 2_000_000]);
    let words =
        ["--dry-run", "--efi", "app.efi", "--esp", "tiny", "--root", "root.img", "--add-file", "grub.cfg=EFI/app/"];
    case.bootling(&words).assert().success().stderr_eq("").stdout_eq(str![[r#"
disk  4 MiB, sectors of 512 bytes, GPT 31027C99-B958-838D-B02B-119E692DE492
  1  esp         1048576 bytes at     1048576  257005C7-8846-825C-862C-F12DBB32CEB1
  2  root        2076672 bytes at     2097152  72F84E94-D240-89DB-8D1C-051A8BBB0EA0
esp   FAT12, 251 clusters of 4096 bytes, 2570-05C7
            dir  EFI  (--efi app.efi)
            dir  EFI/app  (--add-file grub.cfg)
             14  EFI/app/grub.cfg  (--add-file grub.cfg)
            dir  EFI/BOOT  (--efi app.efi)
           5000  EFI/BOOT/BOOTX64.EFI  (--efi app.efi)

"#]]);
    case.bootling(&["--dry-run", "--efi", "app.efi", "--sector-size", "dual"])
        .assert()
        .success()
        .stderr_eq("")
        .stdout_eq(str![[r#"
disk  259 MiB, sectors of 512 and of 4096 bytes, GPT 49AACE68-5F8B-80D1-84D7-F1F145921029
  1  esp       269484032 bytes at     1048576  F2215543-268B-8317-A562-E8429FC1FBC5
esp   FAT32, 65654 clusters of 4096 bytes, F221-5543
            dir  EFI  (--efi app.efi)
            dir  EFI/BOOT  (--efi app.efi)
           5000  EFI/BOOT/BOOTX64.EFI  (--efi app.efi)

"#]]);
}

#[test]
fn json_prints_the_layout() {
    let case = usual();
    case.bootling(&["-o", "x.qcow2", "--json", "--efi", "app.efi"]).assert().success().stderr_eq("").stdout_eq(str![[
        r#"
{
  "size": 36700160,
  "sector_sizes": [
    512
  ],
  "guid": "1CAE67D7-20B9-8D7C-8302-0B61DE66AB3D",
  "partitions": [
    {
      "number": 1,
      "name": "esp",
      "kind": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
      "guid": "7703A81C-ACE6-89E9-990A-6337E847C1D6",
      "offset": 1048576,
      "size": 34603008
    }
  ],
  "volume": {
    "kind": "FAT32",
    "size": 34603008,
    "sector_size": 512,
    "cluster_size": 512,
    "clusters": 66536,
    "serial": "7703-A81C"
  },
  "files": [
    {
      "path": "EFI",
      "size": null,
      "source": "--efi app.efi"
    },
    {
      "path": "EFI/BOOT",
      "size": null,
      "source": "--efi app.efi"
    },
    {
      "path": "EFI/BOOT/BOOTX64.EFI",
      "size": 5000,
      "source": "--efi app.efi"
    }
  ]
}

"#
    ]]);
}

#[test]
fn a_program_for_another_machine_gets_the_machines_file_name() {
    let case = usual();
    for (machine, name) in [(0xaa64, "BOOTAA64.EFI"), (0x014c, "BOOTIA32.EFI"), (0x5064, "BOOTRISCV64.EFI")] {
        case.write("other.efi", efi(machine, 2000));
        let done = case.bootling(&["--dry-run", "--efi", "other.efi"]).assert().success();
        let text = String::from_utf8_lossy(&done.get_output().stdout).into_owned();
        assert!(text.contains(&format!("EFI/BOOT/{name} ")), "{text}");
    }
    case.write("strange.efi", efi(0x1234, 2000));
    case.fails(
        &["--dry-run", "--efi", "strange.efi"],
        str![[r#"
error: unsupported EFI program strange.efi: no EFI/BOOT file name for machine 0x1234

"#]],
    );
}

#[test]
fn misleading_file_names_are_reported() {
    let case = usual();
    let words = ["-o", "x.qcow2", "--format", "raw", "--compress", "gzip", "--efi", "app.efi", "--esp", "tiny"];
    case.bootling(&words).assert().success().stdout_eq("").stderr_eq(str![[r#"
bootling: x.qcow2: the suffix indicates qcow2, but the image is written as raw
bootling: x.qcow2: compressed with gzip; tools expect the suffix .gz

"#]]);
}

#[test]
fn the_image_can_be_written_to_standard_output_which_may_be_closed() {
    let case = usual();
    case.bootling(&["-o", "x.img", "--efi", "app.efi", "--esp", "tiny"]).assert().success();
    let done = case.bootling(&["-o", "-", "--efi", "app.efi", "--esp", "tiny"]).assert().success();
    assert!(done.get_output().stdout == fs::read(case.path().join("x.img")).expect("an image"));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_bootling"))
        .args(["disk", "-o", "-", "--efi", "app.efi"])
        .current_dir(case.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bootling runs");
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("read");
    assert_eq!(child.wait().expect("ended").code(), Some(125));
    assert_eq!(said, "error: failed to write standard output: Broken pipe (os error 32)\n");
}

#[test]
fn an_output_named_efi_contains_only_the_program() {
    let case = usual();
    case.bootling(&["-o", "copy.efi", "--efi", "app.efi", "--checksums"]).assert().success().stderr_eq("");
    let read = |name: &str| fs::read(case.path().join(name)).expect("a file");
    assert!(read("copy.efi") == read("app.efi"));
    assert!(String::from_utf8(read("SHA256SUMS")).expect("text").ends_with("  copy.efi\n"));
}

#[test]
fn the_boot_sector_contains_the_chosen_message() {
    let case = usual();
    let code = |words: &[&str]| {
        case.bootling(&[&["-o", "x.img", "--efi", "app.efi", "--esp", "tiny"], words].concat()).assert().success();
        fs::read(case.path().join("x.img")).expect("an image")
    };
    case.write("hello.txt", "Hello, BIOS.\n");
    let (standard, ours) = (code(&[]), code(&["--message", "hello.txt", "--then", "key-reboot"]));
    assert!(standard[..64].iter().any(|byte| *byte != 0));
    assert!(ours[..440].windows(12).any(|text| text == b"Hello, BIOS."));
    assert!(standard[..440] != ours[..440] && standard[440..] == ours[440..], "only the boot code differs");
    case.write("long.txt", "a line\n".repeat(30));
    case.fails(
        &["-o", "y.img", "--efi", "app.efi", "--message", "long.txt"],
        str![[r#"
error: long.txt: invalid message: 30 rows, maximum 23

"#]],
    );
}

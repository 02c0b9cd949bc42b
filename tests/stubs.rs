//! Embedded machine code: the guest's pid 1 is a small static program without requirements; the boot sector code equals
//! its assembled source and has the sizes given in its README.

#[path = "support/skip.rs"]
mod skip;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use bootling::arch::Arch;
use bootling::format::bootsector::Preset;
use bootling::format::bootsector::Then;
use bootling::format::mbr::BOOT_CODE;
use bootling::initrd::pid1;
use goblin::elf::Elf;
use goblin::elf::header::{EM_AARCH64, EM_X86_64, ET_EXEC};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD};

/// Size limit of pid 1 in bytes.
const MOST_BYTES: usize = 96 << 10;

/// ELF machine of each architecture with guests.
const ARCHITECTURES: [(Arch, u16); 2] = [(Arch::X86_64, EM_X86_64), (Arch::Aarch64, EM_AARCH64)];

#[test]
fn pid_1_is_small_static_and_has_no_writable_executable_segment() {
    for (arch, machine) in ARCHITECTURES {
        let image = pid1::image(arch).expect("each build embeds a pid 1");
        writeln!(io::stderr(), "stubs/init for {arch}: {} bytes", image.len()).expect("standard error is open");
        assert!(image.len() <= MOST_BYTES, "{} bytes", image.len());
        let elf = Elf::parse(image).expect("an ELF file");
        assert_eq!((elf.header.e_machine, elf.header.e_type), (machine, ET_EXEC));
        assert_ne!(elf.header.e_entry, 0);
        for header in &elf.program_headers {
            assert!(!matches!(header.p_type, PT_INTERP | PT_DYNAMIC), "pid 1 requires a loader: {header:?}");
            let loads_code_it_can_change = header.p_type == PT_LOAD && header.is_write() && header.is_executable();
            assert!(!loads_code_it_can_change, "{header:?}");
        }
    }
}

#[test]
fn the_programs_in_assets_are_built_from_the_current_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tool = root.join("tools/build-pid1");
    let digest = Command::new(&tool).arg("--digest").output().expect("sh runs");
    let recorded = fs::read_to_string(root.join("assets/pid1.sources")).expect("assets/pid1.sources");
    let field = |name: &str| recorded.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim();
    let current = String::from_utf8_lossy(&digest.stdout);
    assert_eq!(field("sources"), current.trim(), "assets/pid1-* are outdated: run `make stubs`");
    // Another version of the compiler makes other programs.
    let compiler = Command::new("/usr/bin/rustc").arg("--version").output();
    let version = compiler.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = version.split(' ').nth(1).unwrap_or_default();
    if version != field("rustc") || !Path::new(&format!("/usr/src/rustc-{version}/library")).exists() {
        let needed = field("rustc");
        writeln!(io::stderr(), "assets/pid1-* not rebuilt: they need Debian's rustc {needed}, found {version:?}")
            .expect("standard error is open");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let done = Command::new(tool).arg(dir.path()).output().expect("sh runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for name in ["pid1-x86_64", "pid1-aarch64", "pid1.sources"] {
        let built = fs::read(dir.path().join(name)).expect("a built file");
        assert!(built == fs::read(root.join("assets").join(name)).expect("an asset"), "{name}: run `make stubs`");
    }
}

/// Each ending and its file in `assets/`.
const ENDINGS: [(Then, &str); 3] = [
    (Then::Halt, "bootsector-halt.bin"),
    (Then::KeyReboot, "bootsector-key-reboot.bin"),
    (Then::NextDevice, "bootsector-next-device.bin"),
];

#[test]
fn the_boot_sector_code_equals_its_assembled_source() {
    // An assembler for another architecture does not count.
    let tool = std::env::var_os("AS").unwrap_or_else(|| "as".into());
    let assembles = Command::new(tool).args(["--32", "-o", "/dev/null", "/dev/null"]).output();
    if !assembles.is_ok_and(|done| done.status.success()) {
        let why = "no assembler for x86 (`tools/setup stubs` brings it)";
        skip::skip("the_boot_sector_code_equals_its_assembled_source", why);
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let done = Command::new(root.join("tools/assemble-bootsector")).arg(dir.path()).output().expect("sh runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for (then, name) in ENDINGS {
        let fresh = fs::read(dir.path().join(name)).expect("assembled file");
        assert_eq!(
            fresh,
            then.code(),
            "{name} differs from the assembled stub.S: run `make stubs` and check the difference"
        );
    }
    let plain = fs::read(dir.path().join("bootsector-plain.bin")).expect("assembled file");
    let embedded = include_bytes!("../assets/bootsector-plain.bin");
    assert_eq!(plain, embedded, "bootsector-plain.bin differs from the assembled plain.S: run `make stubs`");
    assert_eq!(fs::read_dir(dir.path()).expect("exists").count(), ENDINGS.len() + 1, "unexpected files");
}

#[test]
fn the_boot_sector_readme_has_the_actual_sizes() {
    let readme = include_str!("../stubs/bootsector/README.md");
    let table = readme.split("| part |").nth(1).expect("a table of sizes");
    let rows: Vec<(&str, Vec<usize>)> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*'));
            let name = cells.next().expect("a row has a name");
            (name, cells.map(|cell| cell.parse().expect("a number of bytes")).collect())
        })
        .collect();
    let (parts, sums) = rows.split_at(rows.len() - 2);
    for (column, (then, name)) in ENDINGS.into_iter().enumerate() {
        let code = then.code().len();
        assert_eq!(parts.iter().map(|(_, bytes)| bytes[column]).sum::<usize>(), code, "the parts of {name}");
        assert_eq!((sums[0].1[column], sums[1].1[column]), (code, BOOT_CODE - code), "{name}");
    }
    let room = BOOT_CODE - Then::Halt.code().len();
    let packed = |preset: Preset| room - preset.message().fits(Then::Halt).expect("presets fit");
    let most = Preset::ALL.into_iter().map(packed).max().expect("nonempty list");
    assert!(
        readme.contains("at most 280 bytes") && (271..=280).contains(&most),
        "the longest preset takes {most} bytes"
    );
}

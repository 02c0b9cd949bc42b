//! Images that are broken in one way each, and the rules that this breaks: none less, none more. Then images that nobody
//! would make, against which a check has to end soon and without a panic.

#[path = "support/image.rs"]
mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bootling::check::{Report, Severity, disk, initrd, program, rules};
use bootling::disk::gpt::{Copy, Gpt, Header, read};
use bootling::disk::mbr::{Mbr, Record};
use bootling::disk::{Guid, Lba, SectorSize};
use image::{ESP, Recipe};

/// What is noted of every disk of ours: it is no FAT32, and not signed.
const NOTED: [&str; 2] = ["fat-kind", "sign-none"];

fn ids(report: &Report) -> BTreeSet<&'static str> {
    report.findings.iter().map(|finding| finding.rule.id).collect()
}

fn small() -> Vec<u8> {
    Recipe::default().build()
}

fn fat32() -> Vec<u8> {
    Recipe { kind: fatfs::FatType::Fat32, esp: 36 << 20, ..Recipe::default() }.build()
}

/// Where the `cluster`s begin in the ESP of [`small`] or [`fat32`], and its first table.
fn table(disk: &[u8]) -> usize {
    ESP + 512 * usize::from(u16::from_le_bytes([disk[ESP + 14], disk[ESP + 15]]))
}

/// Where the entry with this short name stands.
fn entry(disk: &[u8], short: &[u8; 11]) -> usize {
    ESP + disk[ESP..].chunks(32).position(|entry| &entry[..11] == short).expect("an entry") * 32
}

/// The first cluster of the entry with this short name.
fn cluster(disk: &[u8], short: &[u8; 11]) -> u16 {
    let at = entry(disk, short) + 26;
    u16::from_le_bytes([disk[at], disk[at + 1]])
}

/// Where the loader begins.
fn loader(disk: &[u8]) -> usize {
    ESP + disk[ESP..].chunks(512).position(|sector| sector.starts_with(b"MZ")).expect("a loader") * 512
}

/// Where the section header of this name stands in a UKI.
fn section(disk: &[u8], name: &str) -> usize {
    let start = loader(disk) + 0x98 + 240;
    start + disk[start..].chunks(40).position(|header| header.starts_with(name.as_bytes())).expect("a section") * 40
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes both copies of the table anew after `change`.
fn retable(disk: &mut [u8], change: impl Fn(&mut Gpt)) {
    let mut gpt = read(&disk.to_vec(), SectorSize::S512, Copy::Primary).expect("a table");
    change(&mut gpt);
    let header = gpt.header;
    let rebuilt = Gpt::new(SectorSize::S512, disk.len() as u64, header.disk_guid, Lba(2), Lba(0), gpt.partitions);
    let crc = rebuilt.header.entries_crc;
    let gpt = Gpt { header: Header { entries_crc: crc, ..header }, ..rebuilt };
    for placed in gpt.encode() {
        put(disk, placed.offset as usize, &placed.bytes);
    }
}

/// Changes the primary header alone, its checksum right again.
fn rehead(disk: &mut [u8], change: impl Fn(&mut Header)) {
    let mut header = Header::decode(&disk[512..1024]).expect("a header");
    change(&mut header);
    put(disk, 512, &header.encode(SectorSize::S512));
}

/// Changes the boot record.
fn rerecord(disk: &mut [u8], change: impl Fn(&mut Mbr)) {
    let mut mbr = Mbr::decode(disk[..512].try_into().expect("512 bytes"));
    change(&mut mbr);
    put(disk, 0, &mbr.encode());
}

fn add_partition(gpt: &mut Gpt, number: u32, kind: Guid, first: u64, last: u64) {
    let id = Guid::derived(&[number as u8], "another");
    gpt.partitions.push(bootling::disk::gpt::Partition { number, kind, id, ..image::esp(first, last) });
}

type Break = fn(&mut Vec<u8>);

/// What is done to a sound disk, and all that has to be found then.
const SMALL: &[(&[&str], Break)] = &[
    (&["size-sector"], |d| d.extend([0; 100])),
    (&["mbr-signature"], |d| d[510] = 0),
    (&["pmbr-missing"], |d| d[450] = 0x83),
    (&["pmbr-size"], |d| put(d, 458, &0x009F_FFFF_u32.to_le_bytes())),
    (&["pmbr-chs"], |d| d[448] = 1),
    (&["pmbr-flag"], |d| d[446] = 0x80),
    (&["pmbr-slot"], |d| rerecord(d, |mbr| mbr.records.swap(0, 2))),
    (&["pmbr-hybrid"], |d| {
        rerecord(d, |mbr| mbr.records[1] = Record { kind: 0x83, first_lba: 2048, sectors: 9, ..Record::default() });
    }),
    (&["mbr-active"], |d| rerecord(d, |mbr| mbr.records[1] = Record::dummy_active())),
    (&["mbr-table"], |d| {
        let end = d.len();
        d[512..ESP].fill(0);
        d[end - (1 << 20)..].fill(0);
        let sectors = ((end - ESP) / 512 - 2048) as u32;
        rerecord(d, |mbr| mbr.records[0] = Record { kind: 0xEF, first_lba: 2048, sectors, ..Record::default() });
    }),
    (&["message-missing"], |d| d[..440].fill(0)),
    (&["message-garbled"], |d| {
        d[..440].fill(0);
        put(d, 0, b"\xBE\x15\x7C\xB4\x0E\xBA\xF8\x03\xAC\x3C\x00\x74\x05\xCD\x10\xEE\xEB\xF6\xF4\xEB\xFDSTOP\r\n\0");
    }),
    (&["loader-stray"], |d| put(d, 200, b"GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n\0\xEB")),
    (&["loader-code"], |d| {
        d[..440].fill(0);
        put(d, 200, b"GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n\0");
        retable(d, |gpt| gpt.partitions[0].attributes = 4);
    }),
    (&["bios-boot-empty"], |d| {
        d[..440].fill(0);
        retable(d, |gpt| add_partition(gpt, 2, Guid::BIOS_BOOT, 18_432, 18_450));
    }),
    (&["code-unknown"], |d| put(d, 0, &[0xEB, 0xFE, 0x90])),
    (&["gpt-none"], |d| {
        let end = d.len();
        d[512..1024].fill(0);
        d[end - 512..].fill(0);
    }),
    (&["gpt-primary"], |d| d[512..1024].fill(0)),
    (&["gpt-primary"], |d| d[560] ^= 1),
    (&["gpt-primary"], |d| rehead(d, |header| header.my_lba = Lba(7))),
    (&["gpt-primary"], |d| put(d, 524, &u32::MAX.to_le_bytes())),
    (&["gpt-backup"], |d| {
        let end = d.len();
        d[end - 512..].fill(0);
    }),
    (&["gpt-alternate", "pmbr-size"], |d| d.resize(d.len() + (1 << 20), 0)),
    (&["gpt-alternate", "pmbr-size"], |d| d.truncate(d.len() - (1 << 20))),
    (&["gpt-entries"], |d| d[1024 + 57] ^= 1),
    (&["gpt-entries"], |d| rehead(d, |header| header.entries_lba = Lba(u64::MAX / 512))),
    (&["gpt-entry-size"], |d| rehead(d, |header| header.entry_size = 256)),
    (&["gpt-entry-count"], |d| rehead(d, |header| header.entry_count = u32::MAX)),
    (&["gpt-usable"], |d| retable(d, |gpt| gpt.header.first_usable = Lba(33))),
    (&["gpt-usable"], |d| retable(d, |gpt| gpt.header.last_usable = Lba(gpt.header.alternate_lba.0 - 4))),
    (&["gpt-copies"], |d| rehead(d, |header| header.disk_guid = Guid::ESP)),
    (&["gpt-guid"], |d| retable(d, |gpt| gpt.header.disk_guid = Guid::ZERO)),
    (&["gpt-guid"], |d| retable(d, |gpt| gpt.partitions[0].id = Guid::ZERO)),
    (&["part-range"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 18_432, u64::MAX))),
    (&["part-order"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 18_440, 18_432))),
    (&["part-overlap"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 4096, 4100))),
    (&["part-alignment"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 18_433, 18_440))),
    (&["part-guid"], |d| {
        retable(d, |gpt| {
            add_partition(gpt, 2, Guid::LINUX_DATA, 18_432, 18_440);
            gpt.partitions[1].id = gpt.partitions[0].id;
        });
    }),
    (&["esp-none"], |d| retable(d, |gpt| gpt.partitions[0].kind = Guid::LINUX_DATA)),
    (&["esp-several", "fat-none"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::ESP, 18_432, 18_440))),
    (&["fat-none"], |d| d[ESP..ESP + 512].fill(0)),
    (&["fat-bpb"], |d| d[ESP + 13] = 3),
    (&["fat-size"], |d| retable(d, |gpt| gpt.partitions[0].last = Lba(gpt.partitions[0].last.0 - 100))),
    (&["fat-hidden"], |d| d[ESP + 28] = 1),
    (&["fat-dirty"], |d| d[ESP + 37] |= 1),
    (&["fat-dirty"], |d| {
        let at = table(d) + 3;
        let copy = at + 512 * usize::from(u16::from_le_bytes([d[ESP + 22], d[ESP + 23]]));
        d[at] &= 0x7F;
        d[copy] &= 0x7F;
    }),
    (&["fat-signature"], |d| d[ESP + 510] = 0),
    (&["fat-media"], |d| d[ESP + 21] = 0xF0),
    (&["fat-copies"], |d| {
        let at = table(d) + 512 * usize::from(u16::from_le_bytes([d[ESP + 22], d[ESP + 23]]));
        d[at + 100] ^= 1;
    }),
    (&["fat-chain", "fat-copies", "loader-none"], |d| {
        // The root's first directory begins outside the volume.
        let at = entry(d, b"EFI        ");
        put(d, at + 26, &[0xF0, 0xFF]);
        let table = table(d);
        d[table + 100] ^= 0;
        let copy = table + 512 * usize::from(u16::from_le_bytes([d[ESP + 22], d[ESP + 23]]));
        d[copy + 4000] ^= 1;
    }),
    (&["fat-cross", "loader-none"], |d| {
        // A directory that contains itself.
        let above = cluster(d, b"EFI        ").to_le_bytes();
        let at = entry(d, b"BOOT       ");
        put(d, at + 26, &above);
    }),
    (&["fat-chain", "fat-copies"], |d| {
        // The loader's chain runs in a circle.
        let (first, table) = (cluster(d, b"BOOTX64 EFI"), table(d));
        put(d, table + 2 * usize::from(first + 1), &(first + 1).to_le_bytes());
    }),
    (&["fat-long"], |d| {
        let at = entry(d, b"BOOTX64 EFI") + 28;
        let size = u32::from_le_bytes([d[at], d[at + 1], d[at + 2], d[at + 3]]);
        let first = usize::from(cluster(d, b"BOOTX64 EFI"));
        let clusters = size.div_ceil(512) as usize;
        let fats = 512 * usize::from(u16::from_le_bytes([d[ESP + 22], d[ESP + 23]]));
        for table in [table(d), table(d) + fats] {
            let next = (first + clusters) as u16;
            put(d, table + 2 * (first + clusters - 1), &next.to_le_bytes());
            put(d, table + 2 * (first + clusters), &[0xFF, 0xFF]);
        }
    }),
    (&["fat-lost"], |d| {
        let fats = 512 * usize::from(u16::from_le_bytes([d[ESP + 22], d[ESP + 23]]));
        for table in [table(d), table(d) + fats] {
            put(d, table + 2000, &[0xFF, 0xFF]);
        }
    }),
    (&["fat-entry"], |d| {
        let at = entry(d, b"BOOT       ") + 28;
        d[at] = 9;
    }),
    (&["loader-none"], |d| {
        let at = entry(d, b"BOOTX64 EFI");
        // Its long name, where it has one, goes with it.
        put(d, at, b"OTHERX  EFI");
    }),
    (&["pe-broken"], |d| {
        let at = loader(d);
        put(d, at + 0x3c, &u32::MAX.to_le_bytes());
    }),
    (&["pe-broken"], |d| {
        let at = section(d, ".osrel");
        put(d, at + 20, &u32::MAX.to_le_bytes());
    }),
    (&["pe-machine", "uki-linux"], |d| {
        let at = loader(d);
        put(d, at + 0x84, &[0x64, 0xAA]);
    }),
    (&["pe-subsystem"], |d| {
        let at = loader(d);
        d[at + 0x98 + 68] = 11;
    }),
    (&["pe-image"], |d| {
        let at = loader(d);
        put(d, at + 0x98 + 56, &0x7000_u32.to_le_bytes());
    }),
    (&["pe-overlap"], |d| {
        let at = section(d, ".osrel");
        put(d, at + 12, &0x1000_u32.to_le_bytes());
    }),
    (&["pe-raw"], |d| {
        let (one, other) = (section(d, ".osrel"), section(d, ".cmdline"));
        let raw = d[other + 20..other + 24].to_vec();
        put(d, one + 20, &raw);
    }),
    (&["uki-linux"], |d| {
        let at = section(d, ".linux");
        put(d, at + 8, &[1, 0, 0, 0]);
    }),
    (&["uki-kernel-old"], |d| {
        let at = loader(d) + d[loader(d) + 1..].windows(2).position(|two| two == b"MZ").expect("a kernel") + 1;
        d[at + 0x98 + 44] = 0;
    }),
    (&["uki-in-place"], |d| {
        let (one, other) = (section(d, ".linux"), section(d, ".initrd"));
        let (linux, initrd) = (d[one + 12..one + 16].to_vec(), d[other + 12..other + 16].to_vec());
        put(d, one + 12, &initrd);
        put(d, other + 12, &linux);
    }),
    (&["uki-sections"], |d| {
        let at = section(d, ".osrel");
        put(d, at, b".other\0\0");
    }),
    (&["uki-empty"], |d| {
        let at = section(d, ".uname");
        put(d, at + 8, &[0; 4]);
    }),
    (&["uki-virtual"], |d| {
        let at = section(d, ".uname");
        put(d, at + 8, &600_u32.to_le_bytes());
    }),
    (&["uki-alignment"], |d| {
        let at = section(d, ".uname");
        d[at + 12] = 0x40;
    }),
    (&["uki-twice", "uki-sections"], |d| {
        let at = section(d, ".osrel");
        put(d, at, b".uname\0\0");
    }),
    (&["uki-stub"], |d| {
        let at = section(d, ".sdmagic");
        put(d, at, b".nothing");
    }),
    (&["uki-full", "pe-overlap"], |d| {
        let at = section(d, ".text");
        put(d, at + 12, &0x300_u32.to_le_bytes());
        put(d, at + 8, &0x2000_u32.to_le_bytes());
    }),
    (&["initrd-broken"], |d| {
        let at = d.windows(10).position(|bytes| bytes == b"TRAILER!!!").expect("an initrd");
        d[at - 110] = b'x';
    }),
    (&["initrd-init"], |d| {
        let at = d.windows(4).position(|bytes| bytes == b"init").expect("an initrd");
        d[at..at + 4].copy_from_slice(b"none");
    }),
];

/// The same for FAT32.
const FAT32: &[(&[&str], Break)] = &[
    (&["fat-backup"], |d| d[ESP + 6 * 512 + 3] ^= 1),
    (&["fat-info"], |d| d[ESP + 512 + 488] ^= 1),
    (&["fat-info"], |d| d[ESP + 512] ^= 1),
    (&["fat-dirty"], |d| d[ESP + 65] |= 1),
    (&["fat-clusters", "fat-backup", "fat-info"], |d| put(d, ESP + 32, &60_000_u32.to_le_bytes())),
    (&["fat-table", "fat-chain", "fat-backup"], |d| put(d, ESP + 36, &100_u32.to_le_bytes())),
];

fn check_breaks(sound: &[u8], noted: &[&'static str], breaks: &[(&[&'static str], Break)]) -> BTreeSet<&'static str> {
    let noted: BTreeSet<&str> = noted.iter().copied().collect();
    assert_eq!(ids(&disk(&sound.to_vec(), None)), noted, "{:#?}", disk(&sound.to_vec(), None).findings);
    let mut seen = BTreeSet::new();
    let mut wrong = BTreeMap::new();
    for (index, (expected, change)) in breaks.iter().enumerate() {
        let mut image = sound.to_vec();
        change(&mut image);
        let report = disk(&image, None);
        // What was noted before may not be reached any more.
        let found: BTreeSet<&str> = ids(&report).difference(&noted).copied().collect();
        if found != expected.iter().copied().collect() {
            let told: Vec<String> =
                report.findings.iter().map(|f| format!("{} {:?}: {}", f.rule.id, f.place, f.what)).collect();
            wrong.insert((index, expected), told);
        }
        seen.extend(found);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    seen
}

#[test]
fn each_breach_breaks_its_rules_and_no_others() {
    let mut seen = check_breaks(&small(), &NOTED, SMALL);
    seen.extend(check_breaks(&fat32(), &["sign-none"], FAT32));
    // The others have tests of their own below, or need files of gigabytes.
    let elsewhere = [
        "size-mib",
        "message-4kn",
        "gpt-array",
        "gpt-revision",
        "gpt-sector",
        "dual-spans",
        "dual-overlap",
        "fat-margin",
        "fat-sector",
        "fat-cut",
        "pe-large",
        "sign-stale",
        "initrd-cut",
        "fat-kind",
        "sign-none",
    ];
    let missing: Vec<&str> =
        rules::all().map(|rule| rule.id).filter(|id| !seen.contains(id) && !elsewhere.contains(id)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "rules that no test breaks");
}

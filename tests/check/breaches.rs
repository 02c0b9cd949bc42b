//! Breaches, one at a time: each violates exactly the listed rules, and each rule is violated by a breach.

use std::collections::{BTreeMap, BTreeSet};

use bootling::disk::check::disk;
use bootling::disk::check::rules;
use bootling::format::Guid;
use bootling::format::Lba;
use bootling::format::mbr::Record;

use crate::change::{add_partition, cluster, entry, rehead, rerecord, retable, section};
use crate::recipe::{ESP, NOTED, Recipe, describe, ids, loader, put, small, table};

pub(crate) fn fat32() -> Vec<u8> {
    Recipe { kind: fatfs::FatType::Fat32, esp: 36 << 20, ..Recipe::default() }.build()
}

pub(crate) type Break = fn(&mut Vec<u8>);

/// Expected findings, and a change of a valid disk that causes them.
pub(crate) const SMALL: &[(&[&str], Break)] = &[
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
    (&["message-broken"], |d| {
        // The text of byebyebios extends into the partition table.
        d[..440].fill(b'x');
        put(d, 0, b"\xBE\x15\x7C\xB4\x0E\xBA\xF8\x03\xAC\x3C\x00\x74\x05\xCD\x10\xEE\xEB\xF6\xF4\xEB\xFD");
    }),
    (&["message-broken"], |d| {
        // bootling's message without its end, then its start, then its address.
        let end = d[..440].iter().rposition(|byte| *byte != 0).expect("a message");
        d[end - 20..440].fill(b'x');
    }),
    (&["message-broken"], |d| d[0x6C..0x80].fill(0)),
    (&["message-broken"], |d| put(d, 0x10, &[0xFF, 0xFF])),
    (&["loader-stray"], |d| {
        d[..440].fill(0);
        put(d, 200, b"GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n\0");
    }),
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
    (&["gpt-primary"], |d| rehead(d, 24, &7_u64.to_le_bytes())),
    (&["gpt-primary"], |d| put(d, 524, &u32::MAX.to_le_bytes())),
    (&["gpt-backup"], |d| {
        let end = d.len();
        d[end - 512..].fill(0);
    }),
    (&["gpt-alternate", "pmbr-size"], |d| d.resize(d.len() + (1 << 20), 0)),
    (&["gpt-alternate", "pmbr-size"], |d| d.truncate(d.len() - (1 << 20))),
    (&["gpt-entries"], |d| d[1024 + 57] ^= 1),
    (&["gpt-entries"], |d| rehead(d, 72, &(u64::MAX / 512).to_le_bytes())),
    (&["gpt-entry-size"], |d| rehead(d, 84, &256_u32.to_le_bytes())),
    (&["gpt-entry-count"], |d| rehead(d, 80, &u32::MAX.to_le_bytes())),
    (&["gpt-array", "gpt-usable"], |d| retable(d, |gpt| gpt.header.first_usable_lba = Lba(33))),
    (&["gpt-array", "gpt-usable"], |d| {
        retable(d, |gpt| gpt.header.last_usable_lba = Lba(gpt.header.alternate_lba.0 - 4));
    }),
    (&["gpt-copies"], |d| rehead(d, 56, &Guid::ESP.0)),
    (&["gpt-guid"], |d| retable(d, |gpt| gpt.header.disk_guid = Guid::ZERO)),
    (&["gpt-guid"], |d| retable(d, |gpt| gpt.partitions[0].unique_guid = Guid::ZERO)),
    (&["part-range"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 18_432, u64::MAX))),
    (&["part-order"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 18_440, 18_432))),
    (&["part-overlap"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 4096, 4100))),
    (&["part-alignment"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::LINUX_DATA, 18_433, 18_440))),
    (&["part-guid"], |d| {
        retable(d, |gpt| {
            add_partition(gpt, 2, Guid::LINUX_DATA, 18_432, 18_440);
            gpt.partitions[1].unique_guid = gpt.partitions[0].unique_guid;
        });
    }),
    (&["part-no-block-io"], |d| retable(d, |gpt| gpt.partitions[0].attributes = 2)),
    (&["esp-type"], |d| retable(d, |gpt| gpt.partitions[0].type_guid = Guid::LINUX_DATA)),
    (&["esp-none"], |d| {
        retable(d, |gpt| gpt.partitions[0].type_guid = Guid::LINUX_DATA);
        let at = entry(d, b"BOOT       ");
        d[at + 11] = 0x20;
        d[at] = 0xE5;
    }),
    (&["fat-bare"], |d| {
        d.copy_within(ESP.., 0);
        d.truncate(8 << 20);
        put(d, 28, &[0; 4]);
    }),
    (&["esp-several", "fat-none"], |d| retable(d, |gpt| add_partition(gpt, 2, Guid::ESP, 18_432, 18_440))),
    (&["fat-none"], |d| d[ESP..ESP + 512].fill(0)),
    (&["fat-bpb"], |d| d[ESP + 13] = 3),
    (&["fat-size"], |d| retable(d, |gpt| gpt.partitions[0].ending_lba.0 -= 100)),
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
    (&["fat-chain", "loader-none"], |d| {
        // The first directory in the root starts outside of the volume.
        let at = entry(d, b"EFI        ");
        put(d, at + 26, &[0xF0, 0xFF]);
    }),
    (&["fat-cross", "loader-none"], |d| {
        // A directory that contains itself.
        let above = cluster(d, b"EFI        ").to_le_bytes();
        let at = entry(d, b"BOOT       ");
        put(d, at + 26, &above);
    }),
    (&["fat-chain", "fat-copies"], |d| {
        // The loader's cluster chain is a cycle.
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
    // The long name written by fatfs no longer matches.
    (&["fat-entry", "loader-none"], |d| {
        let at = entry(d, b"BOOTX64 EFI");
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
    (&["uki-full"], |d| {
        let at = section(d, ".text");
        put(d, at + 12, &0x2b0_u32.to_le_bytes());
    }),
    (&["initrd-broken"], |d| {
        let at = d.windows(10).position(|bytes| bytes == b"TRAILER!!!").expect("an initrd");
        d[at - 110] = b'x';
    }),
    (&["initrd-init"], |d| {
        let at = d.windows(5).position(|bytes| bytes == b"init\0").expect("an initrd");
        d[at..at + 4].copy_from_slice(b"none");
    }),
];

/// Breaches of a FAT32 disk.
pub(crate) const FAT32: &[(&[&str], Break)] = &[
    (&["fat-backup"], |d| d[ESP + 6 * 512 + 3] ^= 1),
    (&["fat-info"], |d| d[ESP + 512 + 488] ^= 1),
    (&["fat-info"], |d| d[ESP + 512] ^= 1),
    (&["fat-dirty"], |d| d[ESP + 65] |= 1),
    (&["fat-clusters"], |d| {
        put(d, ESP + 32, &60_000_u32.to_le_bytes());
        put(d, ESP + 6 * 512 + 32, &60_000_u32.to_le_bytes());
    }),
    // A different end of the table moves everything after it.
    (&["fat-table", "fat-copies", "fat-lost", "fat-backup", "loader-none"], |d| {
        put(d, ESP + 36, &100_u32.to_le_bytes());
    }),
];

fn check_breaks(sound: &[u8], noted: &[&'static str], breaks: &[(&[&'static str], Break)]) -> BTreeSet<&'static str> {
    let noted: BTreeSet<&str> = noted.iter().copied().collect();
    let report = disk(&sound.to_vec(), None);
    assert_eq!(ids(&report), noted, "{:#?}", describe(&report));
    let mut seen = BTreeSet::new();
    let mut wrong = BTreeMap::new();
    for (index, (expected, change)) in breaks.iter().enumerate() {
        let mut image = sound.to_vec();
        change(&mut image);
        let report = disk(&image, None);
        // The initial notes may no longer be reached.
        let found: BTreeSet<&str> = ids(&report).difference(&noted).copied().collect();
        if found != expected.iter().copied().collect() {
            let findings = describe(&report);
            wrong.insert((index, expected), findings);
        }
        seen.extend(found);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    seen
}

#[test]
fn each_breach_violates_exactly_its_rules() {
    let mut seen = check_breaks(&small(), &NOTED, SMALL);
    seen.extend(check_breaks(&fat32(), &["sign-none"], FAT32));
    // Rules with tests elsewhere, or that need files of gigabytes.
    let elsewhere = [
        "size-mib",
        "mbr-partitions",
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
        "loader-cut",
        "fat-kind",
        "sign-none",
    ];
    let missing: Vec<&str> =
        rules::all().map(|rule| rule.id).filter(|id| !seen.contains(id) && !elsewhere.contains(id)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "rules without a test");
}

//! Tests of the planned change for all kinds of disks.

use std::io::Cursor;

use super::{Action, Facts, Objection, Records, Request, Stamp, plan};
use crate::format::gpt::{Gpt, Partition};
use crate::format::mbr::{BOOT_CODE, Mbr, Record};
use crate::format::{Guid, Lba, SectorSize};

const DISK: u64 = 8 << 20;
const WRITE: Request = Request::new(Action::Write([0x90; BOOT_CODE]));

fn partition(number: u32, type_guid: Guid, attributes: u64) -> Partition {
    let starting_lba = Lba(256 * u64::from(number));
    Partition {
        number,
        type_guid,
        unique_guid: Guid::derived(&number.to_le_bytes(), "partition"),
        starting_lba,
        ending_lba: Lba(starting_lba.0 + 255),
        attributes,
        name: String::new(),
    }
}

/// Returns a disk with a table for each of `sectors`, and with `partitions`.
fn disk(sectors: &[SectorSize], partitions: &[Partition]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; DISK as usize]);
    for sector in sectors.iter().rev() {
        let mut gpt = Gpt::new(*sector, DISK, Guid::derived(b"x", "disk"), partitions.to_vec());
        if sectors.len() > 1 && *sector == SectorSize::S512 {
            gpt.header.partition_entry_lba = Lba(48);
        }
        gpt.backup().write(&mut disk).and_then(|()| gpt.write(&mut disk)).expect("in memory");
    }
    let mut disk = disk.into_inner();
    let one = if let [one] = sectors { Some(*one) } else { None };
    disk[..512].copy_from_slice(&Mbr::protective([0; BOOT_CODE], DISK, one).encode());
    disk
}

fn usual() -> Vec<u8> {
    disk(&[SectorSize::S512], &[partition(1, Guid::ESP, 0), partition(3, Guid::ROOT_X86_64, 0)])
}

fn change(disk: &mut [u8], change: impl FnOnce(&mut Mbr)) {
    let mut mbr = Mbr::decode(disk[..512].try_into().expect("512 bytes"));
    change(&mut mbr);
    disk[..512].copy_from_slice(&mbr.encode());
}

fn facts(disk: &[u8]) -> Facts {
    Facts::read(&disk, None).expect("facts")
}

fn stamped(disk: &[u8], request: &Request) -> Stamp {
    plan(&facts(disk), request).expect("no objection")
}

fn refused(disk: &[u8]) -> Objection {
    plan(&facts(disk), &WRITE).expect_err("an objection")
}

#[test]
fn only_the_boot_code_changes() {
    for sectors in [&[SectorSize::S512][..], &[SectorSize::S4096], &SectorSize::ALL] {
        let mut disk = disk(sectors, &[partition(1, Guid::ESP, 0)]);
        change(&mut disk, |mbr| {
            mbr.signature = [1, 2, 3, 4, 5, 6];
            mbr.records[2] = Record { first_lba: 7, ..Record::default() };
        });
        let stamp = stamped(&disk, &WRITE);
        assert_eq!(stamp.before, disk[..512]);
        assert_eq!(stamp.after[..BOOT_CODE], [0x90; BOOT_CODE]);
        assert_eq!(stamp.after[BOOT_CODE..], disk[BOOT_CODE..512]);
        assert_eq!((stamp.changes(), stamp.overridden.len()), (true, 0));
        assert_eq!(stamp.notes.len(), usize::from(sectors == [SectorSize::S4096]), "{:?}", stamp.notes);
    }
}

#[test]
fn an_mbr_disk_with_an_esp_needs_no_gpt_and_a_loader_on_it_is_respected() {
    let mut disk = vec![0; 512];
    let esp = Record { kind: 0xEF, first_lba: 64, sectors: 64, ..Record::default() };
    let linux = Record { kind: 0x83, first_lba: 128, sectors: 64, ..Record::default() };
    change(&mut disk, |mbr| (mbr.bootable, mbr.records[0], mbr.records[1]) = (true, esp, linux));
    assert_eq!(stamped(&disk, &WRITE).overridden, []);
    change(&mut disk, |mbr| mbr.boot_code[0] = 0xeb);
    assert_eq!(refused(&disk), Objection::UnknownCode);
    change(&mut disk, |mbr| mbr.records[0].kind = 0x0c);
    assert_eq!(refused(&disk), Objection::NoTable);
}

#[test]
fn an_esp_in_a_logical_partition_needs_no_gpt() {
    let mut disk = vec![0; 256 * 512];
    let record = |kind, first_lba, sectors| Record { kind, first_lba, sectors, ..Record::default() };
    change(&mut disk, |mbr| (mbr.bootable, mbr.records[0]) = (true, record(0x05, 64, 128)));
    let mut logical = Mbr { bootable: true, ..Mbr::decode(&[0; 512]) };
    (logical.records[0], logical.records[1]) = (record(0x83, 8, 8), record(0x05, 32, 64));
    disk[64 * 512..65 * 512].copy_from_slice(&logical.encode());
    (logical.records[0], logical.records[1]) = (record(0xEF, 8, 8), Record::default());
    disk[96 * 512..97 * 512].copy_from_slice(&logical.encode());
    assert_eq!(stamped(&disk, &WRITE).overridden, []);
    disk[96 * 512 + 450] = 0x0c;
    assert_eq!(refused(&disk), Objection::NoTable);
}

#[test]
fn disks_without_a_gpt_and_bios_bootable_disks_are_refused_unless_forced() {
    let mut other_code = usual();
    change(&mut other_code, |mbr| mbr.boot_code[0] = 0xeb);
    let mut hybrid = usual();
    change(&mut hybrid, |mbr| mbr.records[1].kind = 0x0c);
    let mut leftover = usual();
    change(&mut leftover, |mbr| mbr.records[0].kind = 0x83);
    let mut damaged = usual();
    damaged[512 + 60] ^= 1;
    let at = damaged.len() - 512 + 60;
    damaged[at] ^= 1;
    let bios = disk(&[SectorSize::S512], &[partition(1, Guid::ESP, 0), partition(2, Guid::BIOS_BOOT, 0)]);
    let syslinux = disk(&[SectorSize::S512], &[partition(1, Guid::ESP, Partition::LEGACY_BOOTABLE)]);
    for (disk, objection) in [
        (vec![0; 512], Objection::NoTable),
        (other_code, Objection::UnknownCode),
        (hybrid, Objection::Hybrid(vec![0x0c])),
        (leftover, Objection::MbrPartitions(vec![0x83])),
        (bios, Objection::BiosBoot(2)),
        (syslinux, Objection::LegacyBootable(1)),
    ] {
        assert_eq!(refused(&disk), objection);
        let stamp = stamped(&disk, &Request { force: true, ..WRITE });
        assert_eq!(stamp.overridden, [objection]);
        assert_eq!(stamp.after[BOOT_CODE..510], disk[BOOT_CODE..510]);
        assert_eq!(stamp.after[510..], [0x55, 0xAA], "a BIOS starts it");
    }
    assert!(matches!(refused(&damaged), Objection::Damaged(fault) if fault.contains("checksum")));
}

#[test]
fn an_invalid_protective_record_is_noted_or_repaired() {
    let fix = Request { fix_mbr: true, ..WRITE };
    let good = usual();
    assert_eq!(stamped(&good, &fix).after[BOOT_CODE..], good[BOOT_CODE..512]);
    // The constant of byebyebios, an active record, a record with another start, no record.
    let wrong: [fn(&mut Mbr); 7] = [
        |mbr| mbr.records[0].sectors = 0x009f_ffff,
        |mbr| mbr.records[0].indicator = 0x80,
        |mbr| mbr.records[0].first_lba = 2,
        |mbr| mbr.records[0] = Record::default(),
        // A record in the second slot, two records, and a record after an invalid one.
        |mbr| mbr.records.swap(0, 1),
        |mbr| mbr.records[3] = mbr.records[0],
        |mbr| {
            mbr.records[2] = mbr.records[0];
            mbr.records[0].first_lba = 9;
        },
    ];
    for wrong in wrong {
        let mut disk = good.clone();
        change(&mut disk, wrong);
        change(&mut disk, |mbr| mbr.signature = [9; 6]);
        let noted = stamped(&disk, &WRITE);
        assert_eq!(noted.notes.len(), 1, "{:?}", noted.notes);
        assert!(noted.notes[0].ends_with("(--fix-mbr repairs this)"), "{:?}", noted.notes);
        assert_eq!(noted.after[BOOT_CODE..], disk[BOOT_CODE..512]);
        let mended = stamped(&disk, &fix);
        assert_eq!(mended.notes, [""; 0]);
        assert_eq!(mended.after[446..], good[446..512]);
        assert_eq!(mended.after[BOOT_CODE..446], [9; 6]);
    }
    // Without the boot signature, no BIOS starts the boot code.
    let mut unsigned = good.clone();
    change(&mut unsigned, |mbr| mbr.bootable = false);
    let signed = stamped(&unsigned, &WRITE);
    assert_eq!((&signed.after[BOOT_CODE..], signed.notes.len()), (&good[BOOT_CODE..512], 0));
    let mut all = good.clone();
    change(&mut all, |mbr| mbr.records[0].sectors = u32::MAX);
    assert_eq!(stamped(&all, &WRITE).notes, [""; 0], "valid for all readers");
    let mut leftover = good;
    change(&mut leftover, |mbr| mbr.records[0].kind = 0x83);
    let forced = Request { force: true, ..fix };
    assert_eq!(plan(&facts(&leftover), &forced), Err(Objection::WouldHide));
}

#[test]
fn the_repaired_record_covers_the_whole_disk_even_if_only_its_start_is_read() {
    for sector in SectorSize::ALL {
        let mut disk = disk(&[sector], &[]);
        change(&mut disk, |mbr| mbr.records[0].sectors = 1);
        let request = Request { fix_mbr: true, ..WRITE };
        let whole = stamped(&disk, &request);
        let sectors = Mbr::decode(&whole.after).records[0].sectors;
        assert_eq!(u64::from(sectors), DISK / sector.bytes() - 1);
        let begin = Facts::read_begin(&&disk[..1 << 20]).expect("facts");
        assert_eq!(plan(&begin, &request).expect("a stamp").after, whole.after);
    }
}

#[test]
fn the_records_of_a_hybrid_disk_keep_their_slots() {
    let mut disk = usual();
    change(&mut disk, |mbr| {
        mbr.records[1] = mbr.records[0];
        mbr.records[0] = Record { kind: 0x83, first_lba: 99, sectors: 9, ..Record::default() };
    });
    let stamp = stamped(&disk, &Request { fix_mbr: true, force: true, ..WRITE });
    assert_eq!(stamp.after[BOOT_CODE..], disk[BOOT_CODE..512]);
}

#[test]
fn an_objection_from_either_of_two_tables_counts() {
    let mut both = disk(&SectorSize::ALL, &[partition(1, Guid::ESP, 0)]);
    let bios = [partition(1, Guid::BIOS_BOOT, 0)];
    let other = Gpt::new(SectorSize::S4096, DISK, Guid::derived(b"x", "disk"), bios.to_vec());
    other.write(&mut Cursor::new(&mut both[..])).expect("in memory");
    assert_eq!(refused(&both), Objection::BiosBoot(1));
    // The same objection from both tables is reported once.
    let both = disk(&SectorSize::ALL, &bios);
    assert_eq!(stamped(&both, &Request { force: true, ..WRITE }).overridden, [Objection::BiosBoot(1)]);
}

#[test]
fn records_of_another_partitioning_are_not_restored() {
    let mut disk = usual();
    let saved = |kind| {
        let mut records = Mbr::protective([0; BOOT_CODE], DISK, Some(SectorSize::S512)).records;
        records[1].kind = kind;
        Records { records, end: [1, 2] }
    };
    let restore = |kind| Request { action: Action::Restore([7; BOOT_CODE], Some(saved(kind))), force: true, ..WRITE };
    assert_eq!(plan(&facts(&disk), &restore(0x83)), Err(Objection::OtherRecords));
    change(&mut disk, |mbr| mbr.signature = [3; 6]);
    let after = stamped(&disk, &restore(0)).after;
    assert_eq!(
        (&after[..BOOT_CODE], &after[BOOT_CODE..446], &after[510..]),
        (&[7; BOOT_CODE][..], &[3; 6][..], &[1, 2][..])
    );
}

#[test]
fn the_active_record_uses_an_empty_slot_and_can_be_removed() {
    let request = Request { bios_active: true, ..WRITE };
    let mut disk = usual();
    let stamp = stamped(&disk, &request);
    let mbr = Mbr::decode(&stamp.after);
    assert_eq!(mbr.records[1], Record::dummy_active());
    assert!(mbr.is_protective() && !mbr.is_hybrid());
    disk[..512].copy_from_slice(&stamp.after);
    change(&mut disk, |mbr| mbr.boot_code = [0; BOOT_CODE]);
    let kept = Request { action: Action::Remove, bios_active: false, ..request };
    assert_eq!(Mbr::decode(&stamped(&disk, &kept).after).records[1], Record::dummy_active());
    let taken = Request { action: Action::Remove, ..request };
    assert_eq!(stamped(&disk, &taken).after, usual()[..512]);
    change(&mut disk, |mbr| mbr.records[1].first_lba = 9);
    assert_eq!(plan(&facts(&disk), &Request { force: true, ..request }), Err(Objection::SlotTaken));
}

#[test]
fn removing_and_restoring_leave_foreign_code_unchanged() {
    let mut disk = usual();
    let remove = Request { action: Action::Remove, ..WRITE };
    assert!(!stamped(&disk, &remove).changes());
    change(&mut disk, |mbr| mbr.boot_code[0] = 0xeb);
    let other = Mbr::decode(disk[..512].try_into().expect("512 bytes")).boot_code;
    assert!(matches!(plan(&facts(&disk), &remove), Err(Objection::ForeignCode(_))));
    let restore = Request { action: Action::Restore(other, None), ..WRITE };
    assert!(!stamped(&disk, &restore).changes(), "the saved code is already present");
    assert_eq!(plan(&facts(&usual()), &restore), Err(Objection::NothingThere));
}

#[test]
fn a_backup_table_without_a_primary_table_is_used_and_noted() {
    let mut disk = usual();
    disk[512] = 0;
    let stamp = stamped(&disk, &WRITE);
    assert_eq!(stamp.notes.len(), 1, "{:?}", stamp.notes);
}

//! Rules for partition tables and partitions.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    GPT_NONE = Error "gpt-none",
        "an image has a GPT, or an MBR partition of type EF",
        "UEFI finds nothing to start",
        "sgdisk -v IMAGE may find a backup; otherwise make the image anew",
        "UEFI 2.11 13.3.1";
    GPT_PRIMARY = Error "gpt-primary",
        "the primary header is whole, and where it belongs",
        "firmware falls back on the backup if it is good; EDK2 rewrites the disk by it, Linux wants the parameter gpt",
        "sgdisk -e IMAGE, or gdisk, r, b",
        "UEFI 2.11 5.3.2; EDK2 PartitionDxe/Gpt.c PartitionRestoreGptTable";
    GPT_BACKUP = Error "gpt-backup",
        "the backup header is whole, and in the last sector",
        "EDK2 writes to the disk at the first boot, which changes its hash; sgdisk and parted complain",
        "sgdisk -e IMAGE",
        "UEFI 2.11 5.3.2; EDK2 PartitionDxe/Gpt.c PartitionRestoreGptTable";
    GPT_ALTERNATE = Error "gpt-alternate",
        "the headers name the last sector, where the backup is",
        "a grown image keeps its small table: repart, growpart and parted stumble; a cut one has lost its backup",
        "sgdisk -e IMAGE",
        "UEFI 2.11 5.3.1; systemd#38747; canonical/core-base#26";
    GPT_ENTRIES = Error "gpt-entries",
        "the entries are on the disk and have their checksum",
        "firmware and Linux take this copy for broken",
        "sgdisk -e IMAGE, if the other copy is good",
        "UEFI 2.11 5.3.2";
    GPT_ENTRY_SIZE = Error "gpt-entry-size",
        "entries have 128 bytes",
        "Linux reads no others: it sees no partitions",
        "make the table anew",
        "Linux block/partitions/efi.c is_gpt_valid";
    GPT_ENTRY_COUNT = Error "gpt-entry-count",
        "there are at most 8192 entries",
        "readers allocate what it says, or refuse the table",
        "make the table anew",
        "EDK2 PartitionDxe/Gpt.c; bootling reads at most 1 MiB of entries";
    GPT_ARRAY = Warning "gpt-array",
        "entries have room for 16,384 bytes, before the first usable sector and behind the last one",
        "tools that write 128 entries overwrite the first partition",
        "make the table anew",
        "UEFI 2.11 5.3.1";
    GPT_USABLE = Error "gpt-usable",
        "usable sectors lie between the primary entries and the backup's",
        "a partition may overwrite the table, or the table a partition",
        "make the table anew",
        "UEFI 2.11 5.3.2; Linux block/partitions/efi.c is_gpt_valid";
    GPT_COPIES = Error "gpt-copies",
        "both copies say the same",
        "who reads the backup sees another disk",
        "sgdisk -e IMAGE",
        "UEFI 2.11 5.3.2";
    GPT_REVISION = Warning "gpt-revision",
        "the header's revision is 1.0",
        "strict readers refuse what they do not know",
        "make the table anew",
        "UEFI 2.11 table 5.5";
    GPT_GUID = Warning "gpt-guid",
        "the disk and each partition have a GUID of their own",
        "PARTUUID= and boot entries find nothing, or the wrong one",
        "sgdisk -G IMAGE",
        "UEFI 2.11 5.3.2, 5.3.3";
    GPT_SECTOR = Error "gpt-sector",
        "the table counts in the disk's own sectors",
        "firmware and Linux see no table",
        "write an image made for this sector size; bootling disk --sector-size dual fits both",
        "UEFI 2.11 5.3.1";
    DUAL_SPANS = Error "dual-spans",
        "tables for both sector sizes have the same partitions",
        "the image is another one on disks with 4096-byte sectors",
        "bootling disk --sector-size dual makes it anew; else wipe the stale one",
        "both tables are found by byte 512 and byte 4096 alone";
    DUAL_OVERLAP = Error "dual-overlap",
        "nothing of one table lies in the partitions or entries of the other",
        "whoever writes by one table breaks the other",
        "bootling disk --sector-size dual makes it anew",
        "both tables are found by byte 512 and byte 4096 alone";
    PART_RANGE = Error "part-range",
        "a partition lies in the usable sectors",
        "it overlaps the table or ends behind the disk: firmware and Linux leave it out",
        "make the partition smaller, or sgdisk -e IMAGE after growing the file",
        "UEFI 2.11 table 5.6; sedutil#401";
    PART_ORDER = Error "part-order",
        "a partition ends after it begins",
        "firmware and Linux leave it out, or take it for huge",
        "make the partition anew",
        "UEFI 2.11 table 5.6";
    PART_OVERLAP = Error "part-overlap",
        "partitions do not overlap",
        "two file systems write over each other; EDK2 leaves both out",
        "make the partitions anew",
        "EDK2 PartitionDxe/Gpt.c PartitionCheckGptEntry";
    PART_GUID = Error "part-guid",
        "no two partitions have one GUID",
        "PARTUUID= and boot entries find the wrong one",
        "sgdisk -u NUMBER:R IMAGE",
        "UEFI 2.11 table 5.6";
    PART_ALIGNMENT = Warning "part-alignment",
        "a partition begins at a multiple of 1 MiB",
        "slow on disks with larger physical sectors, and no multiple of a 4096-byte sector perhaps",
        "make the partition anew; sgdisk -a 2048",
        "parted, fdisk, systemd-repart, Windows: all align to 1 MiB";
}

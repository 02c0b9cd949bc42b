//! Rules for partition tables and partitions.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    GPT_NONE = Error "gpt-none",
        "a disk image has a GPT, an MBR partition of type EF, or a FAT file system with an EFI boot loader",
        "UEFI firmware finds nothing to boot",
        "recreate the image",
        "UEFI 2.11 13.3.1";
    GPT_PRIMARY = Error "gpt-primary",
        "the primary GPT header is valid and at LBA 1",
        "firmware falls back to a valid backup, and EDK2 rewrites the disk from it; Linux needs the parameter gpt",
        "printf 'r\\nb\\nw\\ny\\n' | gdisk IMAGE",
        "UEFI 2.11 5.3.2; EDK2 PartitionDxe/Gpt.c PartitionRestoreGptTable";
    GPT_BACKUP = Error "gpt-backup",
        "the backup GPT header is valid and in the last sector",
        "EDK2 writes to the disk on the first boot, which changes its hash; sgdisk and parted complain",
        "sgdisk -e IMAGE",
        "UEFI 2.11 5.3.2; EDK2 PartitionDxe/Gpt.c PartitionRestoreGptTable";
    GPT_ALTERNATE = Error "gpt-alternate",
        "AlternateLBA in the GPT header is the last sector of the disk",
        "systemd-repart, growpart and parted mishandle a grown image; a truncated image has lost its backup GPT",
        "sgdisk -e IMAGE",
        "UEFI 2.11 5.3.1; systemd#38747; canonical/core-base#26";
    GPT_ENTRIES = Error "gpt-entries",
        "the partition entries are on the disk and match their checksum",
        "firmware and Linux treat this copy of the GPT as corrupt",
        "sgdisk -e IMAGE",
        "UEFI 2.11 5.3.2";
    GPT_ENTRY_SIZE = Error "gpt-entry-size",
        "a partition entry is 128 bytes",
        "Linux supports no other size and finds no partitions",
        "recreate the partition table",
        "Linux block/partitions/efi.c is_gpt_valid";
    GPT_ENTRY_COUNT = Error "gpt-entry-count",
        "a partition table has at most 8192 entries",
        "readers allocate memory for the declared number of entries, or reject the table",
        "recreate the partition table",
        "EDK2 PartitionDxe/Gpt.c; bootling reads at most 1 MiB of entries";
    GPT_ARRAY = Warning "gpt-array",
        "16,384 bytes are reserved for partition entries, before the first and after the last usable sector",
        "tools that write 128 entries overwrite the first partition",
        "recreate the partition table",
        "UEFI 2.11 5.3.1";
    GPT_USABLE = Error "gpt-usable",
        "the usable sectors are between the primary and the backup partition entries",
        "a partition can overwrite the table, and the table a partition",
        "recreate the partition table",
        "UEFI 2.11 5.3.2; Linux block/partitions/efi.c is_gpt_valid";
    GPT_COPIES = Error "gpt-copies",
        "the primary and the backup GPT agree",
        "readers that use the backup see different partitions",
        "printf 'r\\nd\\nw\\ny\\n' | gdisk IMAGE",
        "UEFI 2.11 5.3.2";
    GPT_REVISION = Warning "gpt-revision",
        "the GPT header revision is 1.0",
        "strict readers reject an unknown revision",
        "recreate the partition table",
        "UEFI 2.11 table 5.5";
    GPT_GUID = Warning "gpt-guid",
        "the disk and each partition have a nonzero GUID",
        "PARTUUID= and boot entries match no partition, or the wrong one",
        "sgdisk -G IMAGE",
        "UEFI 2.11 5.3.2, 5.3.3";
    GPT_SECTOR = Error "gpt-sector",
        "the GPT uses the sector size of the disk",
        "firmware and Linux find no partition table",
        "write an image made for this sector size; an image made with bootling disk --sector-size dual fits both",
        "UEFI 2.11 5.3.1";
    DUAL_SPANS = Error "dual-spans",
        "the tables for both sector sizes describe the same partitions",
        "the partitions depend on the sector size of the disk that the image is written to",
        "recreate the image with bootling disk --sector-size dual",
        "readers find a table only by its offset: byte 512 or byte 4096";
    DUAL_OVERLAP = Error "dual-overlap",
        "the tables for both sector sizes do not overlap each other, or each other's partitions",
        "a tool that writes by one table corrupts the other table or its partitions",
        "recreate the image with bootling disk --sector-size dual",
        "readers find a table only by its offset: byte 512 or byte 4096";
    PART_RANGE = Error "part-range",
        "a partition is within the usable sectors",
        "the partition overlaps the table or extends past the end of the disk; firmware and Linux ignore it",
        "recreate the partition within the usable sectors",
        "UEFI 2.11 table 5.6; sedutil#401";
    PART_ORDER = Error "part-order",
        "the ending LBA of a partition is not below its starting LBA",
        "firmware and Linux ignore the partition, or compute a huge size",
        "recreate the partition",
        "UEFI 2.11 table 5.6";
    PART_OVERLAP = Error "part-overlap",
        "partitions do not overlap",
        "two file systems overwrite each other; EDK2 ignores both partitions",
        "recreate the partitions",
        "EDK2 PartitionDxe/Gpt.c PartitionCheckGptEntry";
    PART_GUID = Error "part-guid",
        "each partition has a unique GUID",
        "PARTUUID= and boot entries match the wrong partition",
        "sgdisk -u NUMBER:R IMAGE",
        "UEFI 2.11 table 5.6";
    PART_ALIGNMENT = Warning "part-alignment",
        "a partition starts at a multiple of 4096 bytes",
        "access is slow on disks with physical sectors of 4096 bytes, and the table cannot be converted to such sectors",
        "recreate the partition",
        "systemd-repart aligns to 4096 bytes, most other tools to 1 MiB";
    PART_NO_BLOCK_IO = Error "part-no-block-io",
        "attribute bit 1 of an EFI system partition is 0",
        "EDK2 creates no block device for the partition, so UEFI firmware finds nothing to boot in it",
        "sgdisk -A NUMBER:clear:1 IMAGE",
        "UEFI 2.11 table 5.8; EDK2 PartitionDxe/Gpt.c PartitionInstallGptChildHandles";
}

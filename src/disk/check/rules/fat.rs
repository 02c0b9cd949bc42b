//! Rules for the EFI system partition's file system.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    ESP_NONE = Error "esp-none",
        "there is an EFI system partition",
        "UEFI finds nothing to start",
        "sgdisk -t NUMBER:ef00 IMAGE",
        "UEFI 2.11 13.3.1, table 5.7";
    ESP_SEVERAL = Warning "esp-several",
        "there is one EFI system partition",
        "firmware starts from any of them; installers write to another one",
        "sgdisk -t NUMBER:ea00 IMAGE (XBOOTLDR) for the others",
        "UEFI 2.11 13.3.1; UAPI.2";
    FAT_NONE = Error "fat-none",
        "the EFI system partition is FAT",
        "UEFI reads no other file system",
        "mkfs.fat",
        "UEFI 2.11 13.3";
    FAT_BPB = Error "fat-bpb",
        "the FAT boot sector makes sense",
        "EDK2 does not mount it",
        "mkfs.fat, or fsck.fat with the backup boot sector",
        "EDK2 FatPkg/EnhancedFatDxe/Init.c FatOpenDevice";
    FAT_CLUSTERS = Error "fat-clusters",
        "FAT32 has at least 65,525 clusters",
        "EDK2 calls it corrupt and starts a shell; mtools refuses",
        "fewer sectors a cluster (mkfs.fat -s 1), a larger partition, or FAT16",
        "EDK2 FatPkg/EnhancedFatDxe/Init.c; systemd#36370, systemd#37801";
    FAT_MARGIN = Warning "fat-margin",
        "the number of clusters stays 16 away from 4,085 and 65,525",
        "readers that count otherwise take it for another kind of FAT",
        "another size of partition or clusters",
        "Microsoft FAT specification 1.03, FAT type determination";
    FAT_KIND = Note "fat-kind",
        "the EFI system partition is FAT32",
        "some firmware reads only FAT32 from fixed disks; OVMF and most others take all kinds",
        "mkfs.fat -F 32 on at least 33 MiB (512-byte sectors) or 257 MiB (4096-byte sectors)",
        "UEFI 2.11 13.3.1.1";
    FAT_SECTOR = Error "fat-sector",
        "FAT's sectors are not smaller than the disk's",
        "Linux does not mount it (bread failed), EDK2 reads nonsense",
        "mkfs.fat -S 4096",
        "Linux fs/fat/inode.c fat_fill_super; systemd#37801";
    FAT_SIZE = Error "fat-size",
        "the file system ends before its partition does",
        "files at its end are lost, or overwrite what follows: the next partition, the backup GPT",
        "mkfs.fat with the partition's own number of sectors",
        "sedutil#401; fsck.fat";
    FAT_HIDDEN = Note "fat-hidden",
        "the boot sector's hidden sectors are the partition's first",
        "boot code in the volume, and Windows' repair tools; UEFI does not look",
        "mkfs.fat -h FIRST",
        "Microsoft FAT specification 1.03, BPB_HiddSec";
    FAT_DIRTY = Warning "fat-dirty",
        "the file system was unmounted",
        "Linux warns at each mount, Windows wants to check it",
        "fsck.fat -a",
        "Linux fs/fat/inode.c fat_set_state; Microsoft FAT specification 1.03, ClnShutBitMask";
    FAT_SIGNATURE = Warning "fat-signature",
        "the FAT boot sector ends with 55 AA",
        "Windows and strict firmware do not mount it",
        "mkfs.fat",
        "Microsoft FAT specification 1.03";
    FAT_MEDIA = Warning "fat-media",
        "the table begins with the media byte",
        "tools that compare the two complain",
        "fsck.fat -a",
        "Microsoft FAT specification 1.03, FAT[0]";
    FAT_TABLE = Error "fat-table",
        "the table has an entry for each cluster",
        "clusters behind it cannot be used; fsck.fat refuses the volume, EDK2 reads past it",
        "mkfs.fat",
        "Linux fs/fat/inode.c; fsck.fat boot.c";
    FAT_COPIES = Warning "fat-copies",
        "all copies of the table are the same",
        "fsck.fat asks which one is right",
        "fsck.fat -a",
        "fsck.fat fat.c";
    FAT_BACKUP = Warning "fat-backup",
        "the copy of the FAT32 boot sector is one",
        "fsck.fat complains, repair tools restore the wrong one",
        "fsck.fat -a",
        "Microsoft FAT specification 1.03, BPB_BkBootSec";
    FAT_INFO = Warning "fat-info",
        "FAT32's record of free clusters is true",
        "Linux tells a wrong free space, fsck.fat complains",
        "fsck.fat -a",
        "Microsoft FAT specification 1.03, FSInfo";
    FAT_CHAIN = Error "fat-chain",
        "files and directories can be read to their ends",
        "firmware reads garbage, or starts nothing",
        "fsck.fat -a loses data: copy the files anew",
        "fsck.fat check.c";
    FAT_CROSS = Error "fat-cross",
        "each cluster belongs to one file",
        "two files have one content; a directory may contain itself",
        "fsck.fat -a loses data: copy the files anew",
        "fsck.fat check.c";
    FAT_LONG = Warning "fat-long",
        "a file has no more clusters than it needs",
        "space is lost; fsck.fat complains",
        "fsck.fat -a",
        "fsck.fat check.c";
    FAT_LOST = Warning "fat-lost",
        "each cluster in use belongs to a file",
        "space is lost; fsck.fat complains",
        "fsck.fat -a",
        "fsck.fat fat.c";
    FAT_ENTRY = Warning "fat-entry",
        "directory entries are in order",
        "fsck.fat complains; one of two files of one name cannot be opened",
        "fsck.fat -a, or copy the files anew",
        "fsck.fat check.c";
    FAT_CUT = Warning "fat-cut",
        "an EFI system partition has at most 100,000 files, 64 directories deep",
        "what lies beyond was not checked",
        "-",
        "bootling's own limit";
}

//! Rules for the EFI system partition and its file system.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    ESP_NONE = Error "esp-none",
        "the image has an EFI system partition",
        "UEFI firmware finds nothing to boot",
        "create an EFI system partition with a boot loader",
        "UEFI 2.11 13.3.1, table 5.7";
    ESP_TYPE = Warning "esp-type",
        "the partition with the EFI boot loader has the type of an EFI system partition",
        "OVMF starts the loader, but installers, bootctl and some firmware look only in an EFI system partition",
        "sgdisk -t NUMBER:ef00 IMAGE",
        "UEFI 2.11 13.3.1, table 5.7; EDK2 FatPkg/EnhancedFatDxe binds to every partition";
    ESP_SEVERAL = Warning "esp-several",
        "the image has only one EFI system partition",
        "firmware may boot from any of them, while installers write to another",
        "sgdisk -t NUMBER:ea00 IMAGE",
        "UEFI 2.11 13.3.1; UAPI.2";
    FAT_BARE = Note "fat-bare",
        "a disk image has a partition table",
        "firmware starts the volume from removable media and virtual disks, but installers and Linux expect partitions",
        "none needed for a volume that is copied into a partition",
        "UEFI 2.11 13.3.1, 13.3.3";
    FAT_NONE = Error "fat-none",
        "the EFI system partition contains a FAT file system",
        "UEFI firmware reads no other file system",
        "format the partition with mkfs.fat",
        "UEFI 2.11 13.3";
    FAT_BPB = Error "fat-bpb",
        "the FAT boot sector is valid",
        "EDK2 does not mount the volume",
        "format the partition with mkfs.fat",
        "EDK2 FatPkg/EnhancedFatDxe/Init.c FatOpenDevice";
    FAT_CLUSTERS = Error "fat-clusters",
        "a FAT32 volume has at least 65,525 clusters",
        "EDK2 treats the volume as corrupt and starts a shell; mtools refuses it",
        "format the partition with mkfs.fat -F 16, or enlarge it",
        "EDK2 FatPkg/EnhancedFatDxe/Init.c; systemd#36370, systemd#37801";
    FAT_MARGIN = Warning "fat-margin",
        "the number of clusters is at least 16 away from 4,085 and 65,525",
        "readers that count clusters differently detect the wrong FAT type",
        "change the size of the partition or of the clusters",
        "Microsoft FAT specification 1.03, FAT type determination";
    FAT_KIND = Note "fat-kind",
        "the EFI system partition is FAT32",
        "some firmware reads only FAT32 from fixed disks; OVMF and most others support all FAT types",
        "mkfs.fat -F 32, on at least 33 MiB (512-byte sectors) or 257 MiB (4096-byte sectors)",
        "UEFI 2.11 13.3.1.1";
    FAT_SECTOR = Error "fat-sector",
        "the sector size of the FAT volume is at least that of the disk",
        "Linux does not mount the volume (bread failed); EDK2 reads garbage",
        "mkfs.fat -S 4096",
        "Linux fs/fat/inode.c fat_fill_super; systemd#37801";
    FAT_SIZE = Error "fat-size",
        "the file system fits in its partition",
        "files at its end are lost or overwrite what follows: the next partition or the backup GPT",
        "run mkfs.fat with the number of sectors of the partition",
        "sedutil#401; fsck.fat";
    FAT_HIDDEN = Note "fat-hidden",
        "the hidden sector count of the FAT boot sector is the first LBA of the partition",
        "boot code in the volume and Windows repair tools read the wrong sectors; UEFI ignores the field",
        "mkfs.fat -h FIRST, with the first LBA of the partition",
        "Microsoft FAT specification 1.03, BPB_HiddSec";
    FAT_DIRTY = Warning "fat-dirty",
        "the file system was cleanly unmounted",
        "Linux warns on each mount; Windows offers to check the volume",
        "fsck.fat -aw PARTITION",
        "Linux fs/fat/inode.c fat_set_state; Microsoft FAT specification 1.03, ClnShutBitMask";
    FAT_SIGNATURE = Warning "fat-signature",
        "the FAT boot sector ends with 55 AA",
        "Windows and strict firmware do not mount the volume",
        "format the partition with mkfs.fat",
        "Microsoft FAT specification 1.03";
    FAT_MEDIA = Warning "fat-media",
        "entry 0 of the allocation table repeats the media byte of the boot sector",
        "tools that compare the two complain",
        "copy the files to a new file system",
        "Microsoft FAT specification 1.03, FAT[0]";
    FAT_TABLE = Error "fat-table",
        "the allocation table has an entry for each cluster",
        "the clusters past its end are unusable; fsck.fat refuses the volume, EDK2 reads past the table",
        "format the partition with mkfs.fat",
        "Linux fs/fat/inode.c; fsck.fat boot.c";
    FAT_COPIES = Warning "fat-copies",
        "all copies of the allocation table are identical",
        "fsck.fat asks which copy is right",
        "fsck.fat -aw PARTITION",
        "fsck.fat fat.c";
    FAT_BACKUP = Warning "fat-backup",
        "the backup of the FAT32 boot sector matches it",
        "fsck.fat complains; repair tools restore the wrong boot sector",
        "copy the files to a new file system",
        "Microsoft FAT specification 1.03, BPB_BkBootSec";
    FAT_INFO = Warning "fat-info",
        "the FSInfo sector of a FAT32 volume is valid and has the right number of free clusters",
        "Linux reports the wrong free space; fsck.fat complains",
        "fsck.fat -aw PARTITION",
        "Microsoft FAT specification 1.03, FSInfo";
    FAT_CHAIN = Error "fat-chain",
        "files and directories are readable to their ends",
        "firmware reads garbage, or boots nothing",
        "copy the files to a new file system",
        "fsck.fat check.c";
    FAT_CROSS = Error "fat-cross",
        "each cluster belongs to only one file",
        "two files share their content; a directory may contain itself",
        "copy the files to a new file system",
        "fsck.fat check.c";
    FAT_LONG = Warning "fat-long",
        "a file has no more clusters than its size needs",
        "space is wasted; fsck.fat complains",
        "fsck.fat -aw PARTITION",
        "fsck.fat check.c";
    FAT_LOST = Warning "fat-lost",
        "each cluster in use belongs to a file",
        "space is wasted; fsck.fat complains",
        "fsck.fat -aw PARTITION",
        "fsck.fat fat.c";
    FAT_ENTRY = Warning "fat-entry",
        "directory entries are valid and their names unique",
        "fsck.fat complains; of two files with the same name, one cannot be opened",
        "copy the files to a new file system",
        "fsck.fat check.c";
    FAT_CUT = Warning "fat-cut",
        "an EFI system partition has at most 100,000 files, in directories at most 64 levels deep",
        "the files beyond the limit were not checked",
        "-",
        "bootling's own limit";
}

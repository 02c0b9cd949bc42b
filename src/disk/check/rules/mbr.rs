//! Rules for the file as a whole, and for the first sector.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    SIZE_SECTOR = Warning "size-sector",
        "a disk is a whole number of sectors",
        "QEMU rounds the size up for some drivers and down for others; losetup drops the rest",
        "truncate -s %4096 IMAGE, then sgdisk -e IMAGE",
        "pengutronix/genimage#133";
    SIZE_MIB = Note "size-mib",
        "a disk is a multiple of 1 MiB",
        "Azure refuses to upload it as a VHD",
        "truncate -s %1M IMAGE, then sgdisk -e IMAGE",
        "learn.microsoft.com/azure/virtual-machines/linux/create-upload-generic";
    MBR_SIGNATURE = Error "mbr-signature",
        "the first sector ends with 55 AA",
        "Linux then takes no GPT for valid, and no BIOS starts the disk",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 5.2.3; Linux block/partitions/efi.c is_pmbr_valid";
    PMBR_MISSING = Error "pmbr-missing",
        "a record of type EE that begins at sector 1 protects the GPT",
        "Linux and EDK2 see no GPT without it; Windows offers to format the disk",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 5.2.3; EDK2 PartitionDxe/Gpt.c; Linux block/partitions/efi.c";
    PMBR_SIZE = Warning "pmbr-size",
        "the protective record covers the disk: its sectors less one, or FFFFFFFF",
        "fdisk complains, Linux 3.12 and strict firmware take the GPT for invalid",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 table 5.4; osbuild/image-builder#2593; meta-mender#967";
    PMBR_CHS = Warning "pmbr-chs",
        "the protective record's first CHS address is 00 02 00",
        "EDK2's reader for recovery and capsules (FatPei) sees no GPT",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 table 5.4; EDK2 FatPkg/FatPei/Gpt.c; libparted df6770d2";
    PMBR_FLAG = Warning "pmbr-flag",
        "the protective record is not active (first byte 00)",
        "EDK2 before stable-202108 sees no GPT; Dell XPS 13 finds no ESP",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 table 5.4; tianocore/edk2#8895; multibootusb#430";
    PMBR_SLOT = Warning "pmbr-slot",
        "the protective record is the first of the four, and the only one of its kind",
        "Dell Precision M3800 hangs, strict readers see no GPT",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 5.2.3; NomadBSD#15";
    PMBR_HYBRID = Warning "pmbr-hybrid",
        "no partitions stand beside the protective record",
        "two tables that drift apart; Windows reads the MBR, Linux and UEFI the GPT; bootling stamp refuses it",
        "sgdisk --zap-all is too much: gdisk, x, n (new protective MBR)",
        "rodsbooks.com/gdisk/hybrid.html; UEFI 2.11 5.2.3";
    MBR_ACTIVE = Note "mbr-active",
        "no dummy active record stands beside the protective one",
        "nobody who is known; it is there for BIOSes that start no disk without an active record",
        "bootling stamp without --bios-active leaves it out in new images",
        "UEFI 2.11 5.2.3 (other records are zero); xorriso mbr_force_bootable";
    MBR_TABLE = Note "mbr-table",
        "an EFI-only image has a GPT",
        "firmware that starts no ESP from an MBR partition table; there is no backup, and no names",
        "sgdisk -g IMAGE",
        "UEFI 2.11 5.2.2";
    MESSAGE_MISSING = Warning "message-missing",
        "the boot sector says that the disk starts by UEFI only",
        "whoever starts it by legacy BIOS sees a blank screen",
        "bootling stamp IMAGE",
        "libvirt, QEMU, Proxmox and VirtualBox start by BIOS where not told otherwise";
    MESSAGE_BROKEN = Error "message-broken",
        "the message behind a boot sector's stub is whole",
        "whoever starts the disk by legacy BIOS sees noise, or waits before a machine that hangs",
        "bootling stamp IMAGE",
        "bootling's stubs/bootsector; byebyebios' bootstub.S";
    MESSAGE_GARBLED = Note "message-garbled",
        "the boot sector prints its message once on the screen and once on the serial port",
        "byebyebios under -nographic or sercon shows each character twice (SSTTOOPP)",
        "bootling stamp IMAGE",
        "SeaBIOS src/sercon.c";
    MESSAGE_4KN = Note "message-4kn",
        "a disk with 4096-byte sectors is started by UEFI alone",
        "no BIOS starts a disk with 4096-byte sectors, so nobody will see the boot sector's message",
        "nothing to be done: --sector-size dual gives an image that says it on 512-byte disks",
        "SeaBIOS src/hw/virtio-blk.c";
    LOADER_CODE = Note "loader-code",
        "an EFI-only image has no boot loader for legacy BIOS",
        "nobody: it starts by BIOS, too, if its loader finds what it needs",
        "nothing to be done; bootling stamp refuses to overwrite it without --force",
        "GRUB, syslinux and Windows put their code into bytes 0 to 439";
    LOADER_STRAY = Warning "loader-stray",
        "boot code of a loader has the partition that it loads from",
        "legacy BIOS starts the code, which then hangs: no BIOS boot partition, no legacy-bootable one",
        "bootling stamp --force IMAGE",
        "GRUB manual, BIOS installation; syslinux doc/gpt.txt";
    BIOS_BOOT_EMPTY = Warning "bios-boot-empty",
        "where there is a BIOS boot partition the first sector has the code that uses it",
        "legacy BIOS shows a blank screen although the image means to support it",
        "grub-install --target=i386-pc, or delete the partition and bootling stamp IMAGE",
        "GRUB manual, BIOS installation";
    CODE_UNKNOWN = Note "code-unknown",
        "the boot sector's code is known",
        "nobody knows what legacy BIOS shows",
        "bootling stamp --force IMAGE; bootling check --boot IMAGE shows it",
        "-";
}

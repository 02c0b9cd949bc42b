//! Rules for the disk size and the first sector.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    SIZE_SECTOR = Warning "size-sector",
        "the disk size is a multiple of the sector size",
        "QEMU rounds the size up for some drivers and down for others; losetup drops the partial sector",
        "truncate -s %1M IMAGE && sgdisk -e IMAGE",
        "pengutronix/genimage#133";
    SIZE_MIB = Note "size-mib",
        "the disk size is a multiple of 1 MiB",
        "Azure rejects the image as a VHD upload",
        "truncate -s %1M IMAGE && sgdisk -e IMAGE",
        "learn.microsoft.com/azure/virtual-machines/linux/create-upload-generic";
    MBR_SIGNATURE = Error "mbr-signature",
        "the first sector ends with 55 AA",
        "Linux ignores the GPT, and no BIOS boots the disk",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 5.2.3; Linux block/partitions/efi.c is_pmbr_valid";
    PMBR_MISSING = Error "pmbr-missing",
        "an MBR record of type EE that starts at sector 1 protects the GPT",
        "Linux and EDK2 ignore the GPT; Windows offers to format the disk",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 5.2.3; EDK2 PartitionDxe/Gpt.c; Linux block/partitions/efi.c";
    PMBR_SIZE = Warning "pmbr-size",
        "the size in the protective record is the sector count of the disk minus 1, or FFFFFFFF",
        "fdisk complains; Linux 3.12 and strict firmware treat the GPT as invalid",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 table 5.4; osbuild/image-builder#2593; meta-mender#967";
    PMBR_CHS = Warning "pmbr-chs",
        "the first CHS address in the protective record is 00 02 00",
        "EDK2's reader for recovery and capsules (FatPei) ignores the GPT",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 table 5.4; EDK2 FatPkg/FatPei/Gpt.c; libparted df6770d2";
    PMBR_FLAG = Warning "pmbr-flag",
        "the protective record is not active (its first byte is 00)",
        "EDK2 before stable-202108 ignores the GPT; the Dell XPS 13 finds no ESP",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 table 5.4; tianocore/edk2#8895; multibootusb#430";
    PMBR_SLOT = Warning "pmbr-slot",
        "the protective record is the first of the four MBR records, and the only one of its type",
        "the Dell Precision M3800 hangs; strict readers ignore the GPT",
        "bootling stamp --fix-mbr IMAGE",
        "UEFI 2.11 5.2.3; NomadBSD#15";
    PMBR_HYBRID = Warning "pmbr-hybrid",
        "the MBR has no partition besides the protective record",
        "the tables can diverge: Windows reads the MBR, Linux and UEFI the GPT; bootling stamp refuses the image",
        "printf 'x\\nn\\nw\\ny\\n' | gdisk IMAGE",
        "rodsbooks.com/gdisk/hybrid.html; UEFI 2.11 5.2.3";
    MBR_ACTIVE = Note "mbr-active",
        "the MBR has no dummy active record besides the protective record",
        "none known; the record exists for BIOSes that boot only a disk with an active record",
        "none needed; bootling stamp without --bios-active leaves the record out of new images",
        "UEFI 2.11 5.2.3 (other records are zero); xorriso mbr_force_bootable";
    MBR_TABLE = Note "mbr-table",
        "an EFI-only image has a GPT",
        "some firmware boots no ESP from an MBR partition table; an MBR has no backup and no partition names",
        "sgdisk -g IMAGE",
        "UEFI 2.11 5.2.2";
    MBR_PARTITIONS = Error "mbr-partitions",
        "the boot indicators of an MBR partition table are 00 or 80, and its extended boot records form an ascending chain on the disk",
        "Linux ignores a table with other indicators; logical partitions after a fault in the chain are missing",
        "recreate the partition table",
        "Linux block/partitions/msdos.c msdos_partition, parse_extended";
    MESSAGE_MISSING = Warning "message-missing",
        "the boot sector of an EFI-only image prints that the disk boots by UEFI only",
        "a legacy BIOS boot shows a blank screen",
        "bootling stamp IMAGE",
        "libvirt, QEMU, Proxmox and VirtualBox boot by BIOS by default";
    MESSAGE_BROKEN = Error "message-broken",
        "the message of the boot sector stub is intact",
        "a legacy BIOS boot shows garbage, or the machine hangs without a message",
        "bootling stamp IMAGE",
        "bootling's stubs/bootsector; byebyebios' bootstub.S";
    MESSAGE_GARBLED = Note "message-garbled",
        "the boot sector prints its message once on the screen and once on the serial port",
        "with -nographic or sercon, the byebyebios stub prints each character twice (SSTTOOPP)",
        "bootling stamp IMAGE",
        "SeaBIOS src/sercon.c";
    MESSAGE_4KN = Note "message-4kn",
        "a boot sector message needs a disk with 512-byte sectors",
        "no BIOS boots a disk with 4096-byte sectors, so the message never appears",
        "none needed; an image made with --sector-size dual shows the message on disks with 512-byte sectors",
        "SeaBIOS src/hw/virtio-blk.c";
    LOADER_CODE = Note "loader-code",
        "an EFI-only image has no boot loader for legacy BIOS",
        "none; the image also boots by BIOS if the loader finds its files",
        "none needed; bootling stamp does not overwrite the loader without --force",
        "GRUB, syslinux and Windows write their code to bytes 0 to 439";
    LOADER_STRAY = Warning "loader-stray",
        "a BIOS boot loader has a BIOS boot partition or a legacy-bootable partition to load from",
        "a legacy BIOS starts the loader, which then hangs: it finds no partition to load from",
        "bootling stamp --force IMAGE",
        "GRUB manual, BIOS installation; syslinux doc/gpt.txt";
    BIOS_BOOT_EMPTY = Warning "bios-boot-empty",
        "an image with a BIOS boot partition has a boot loader in its first sector",
        "a legacy BIOS boot shows a blank screen, although the image is laid out for BIOS",
        "bootling stamp --force IMAGE, if only UEFI must boot it; otherwise install the BIOS boot loader",
        "GRUB manual, BIOS installation";
    CODE_UNKNOWN = Note "code-unknown",
        "the boot sector contains known code",
        "the result of a legacy BIOS boot is unknown",
        "bootling stamp --force IMAGE, if only UEFI must boot it",
        "-";
}

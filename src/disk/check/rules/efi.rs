//! Rules for EFI programs and unified kernel images (UKIs).

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    LOADER_NONE = Error "loader-none",
        "EFI/BOOT contains a BOOT*.EFI",
        "firmware without a boot entry for the disk, as on the first boot of an image, finds nothing to boot",
        "copy the loader to EFI/BOOT/BOOTX64.EFI (mmd, mcopy)",
        "UEFI 2.11 3.5.1.1";
    LOADER_CUT = Note "loader-cut",
        "an ESP has at most 64 programs in EFI/BOOT and EFI/Linux",
        "the programs beyond the limit were not checked",
        "-",
        "bootling's own limit";
    PE_BROKEN = Error "pe-broken",
        "an EFI program is a valid PE file",
        "firmware does not start it",
        "copy the file again",
        "EDK2 MdePkg/Library/BasePeCoffLib";
    PE_MACHINE = Error "pe-machine",
        "an EFI program is built for the architecture in its file name",
        "firmware of that architecture refuses it (EFI_UNSUPPORTED)",
        "copy the loader for the right architecture",
        "UEFI 2.11 table 3.4";
    PE_SUBSYSTEM = Error "pe-subsystem",
        "a boot loader is an EFI application (subsystem 10)",
        "firmware treats it as a driver, or refuses it",
        "build the loader as an EFI application",
        "UEFI 2.11 2.1.1";
    PE_IMAGE = Error "pe-image",
        "all sections are within SizeOfImage",
        "EDK2 does not load the program",
        "recreate the UKI with a tool that updates SizeOfImage",
        "EDK2 MdePkg/Library/BasePeCoffLib PeCoffLoaderLoadImage";
    PE_OVERLAP = Error "pe-overlap",
        "sections do not overlap in memory",
        "one section overwrites another: the kernel or initrd is corrupt, at random",
        "recreate the UKI with ukify or bootling, which compute the addresses; objcopy --change-section-vma does not",
        "systemd#24202; jirutka/efi-mkuki#6";
    PE_RAW = Error "pe-raw",
        "sections do not overlap in the file",
        "one section has overwritten another",
        "recreate the UKI",
        "PE format, section table";
    PE_LARGE = Error "pe-large",
        "an EFI program is smaller than 2 GiB",
        "firmware does not load it",
        "use a smaller initrd",
        "systemd#31452";
    UKI_LINUX = Error "uki-linux",
        "the kernel in a UKI is an EFI program for the architecture of the stub",
        "the stub cannot start the kernel",
        "recreate the UKI with a kernel for this architecture",
        "systemd src/boot/linux.c; UAPI.5";
    UKI_KERNEL_OLD = Warning "uki-kernel-old",
        "the kernel supports an initrd from LoadFile2 (MajorImageVersion 1 or later)",
        "the stub falls back to the old EFI handover protocol, which distributions disable",
        "use Linux 5.8 or later",
        "systemd src/boot/pe.c pe_kernel_info; Linux include/linux/pe.h";
    UKI_IN_PLACE = Note "uki-in-place",
        "no section follows .linux in the memory that the kernel needs to decompress itself",
        "stubs before systemd 257 may start the kernel in place, and it overwrites the sections that follow",
        "recreate the UKI with .linux last, as bootling does, or with a newer stub",
        "systemd src/ukify/ukify.py, order of sections";
    UKI_SECTIONS = Note "uki-sections",
        "a UKI has the sections .osrel, .uname, .cmdline and .initrd",
        "boot menus show no name or version; the kernel gets no built-in command line or initrd",
        "ukify build --os-release --uname --cmdline --initrd; bootling disk adds them",
        "UAPI.5, Unified Kernel Image";
    UKI_EMPTY = Warning "uki-empty",
        "no section of a UKI is empty",
        "systemd-stub 252 measures an empty section, other versions do not: a predicted PCR 11 is wrong",
        "omit the section",
        "systemd#25761";
    UKI_VIRTUAL = Warning "uki-virtual",
        "VirtualSize of a section is the size of its content in the file",
        "stubs read or measure trailing zeros, or too few bytes; measured and predicted PCR 11 differ",
        "recreate the UKI",
        "systemd#35851, systemd#36259";
    UKI_ALIGNMENT = Warning "uki-alignment",
        "the address of each UKI section is a multiple of 4096",
        "firmware that protects memory by the page refuses the UKI, or sections share access rights",
        "recreate the UKI",
        "systemd src/ukify/ukify.py; UEFI CA memory mitigation requirements";
    UKI_TWICE = Warning "uki-twice",
        "the section names of a UKI are unique",
        "stubs use the first section of a name, tools the last",
        "recreate the UKI",
        "UAPI.5 (except for profiles, which .profile separates)";
    UKI_STUB = Note "uki-stub",
        "the stub contains its version (.sdmagic)",
        "which sections the stub supports and measures is unknown",
        "use systemd-stub",
        "systemd src/boot/stub.c";
    UKI_FULL = Note "uki-full",
        "the section table has room for another section",
        "none now; no addon or profile can be added to this file",
        "use a stub with larger headers",
        "PE format, section table";
    SIGN_NONE = Note "sign-none",
        "a boot loader is signed",
        "firmware refuses it if Secure Boot is enabled",
        "bootling disk --sign-key KEY --sign-cert CERT; sbsign",
        "UEFI 2.11 32.5.3";
    SIGN_STALE = Error "sign-stale",
        "the signature matches the content of the file",
        "firmware refuses it if Secure Boot is enabled: the file was changed after it was signed",
        "sign the file again",
        "Windows Authenticode PE signature format 1.0";
}

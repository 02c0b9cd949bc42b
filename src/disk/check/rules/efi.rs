//! Rules for EFI programs and unified kernel images.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    LOADER_NONE = Error "loader-none",
        "EFI/BOOT has a BOOT*.EFI",
        "firmware without a boot entry of its own finds nothing to start, as all do that see an image first",
        "copy the loader to EFI/BOOT/BOOTX64.EFI (mmd, mcopy)",
        "UEFI 2.11 3.5.1.1";
    LOADER_CUT = Note "loader-cut",
        "an ESP has at most 64 programs in EFI/BOOT and EFI/Linux",
        "what lies beyond was not checked",
        "-",
        "bootling's own limit";
    PE_BROKEN = Error "pe-broken",
        "an EFI program is a sound PE file",
        "firmware does not start it",
        "copy it anew",
        "EDK2 MdePkg/Library/BasePeCoffLib";
    PE_MACHINE = Error "pe-machine",
        "the program is for the machine its name says",
        "firmware of that machine refuses it: unsupported",
        "copy the loader of the right machine",
        "UEFI 2.11 table 3.4";
    PE_SUBSYSTEM = Error "pe-subsystem",
        "a loader is an EFI application (subsystem 10)",
        "firmware takes it for a driver or refuses it",
        "build it as an EFI application",
        "UEFI 2.11 2.1.1";
    PE_IMAGE = Error "pe-image",
        "sections lie within SizeOfImage",
        "EDK2 does not load it",
        "make the UKI anew: its tool did not raise SizeOfImage",
        "EDK2 MdePkg/Library/BasePeCoffLib PeCoffLoaderLoadImage";
    PE_OVERLAP = Error "pe-overlap",
        "sections do not overlap in memory",
        "one overwrites the other: a corrupt kernel or initrd, at random",
        "make the UKI anew: addresses were fixed (objcopy --change-section-vma), ukify and bootling compute them",
        "systemd#24202; jirutka/efi-mkuki#6";
    PE_RAW = Error "pe-raw",
        "sections do not overlap in the file",
        "one was written over the other",
        "make the UKI anew",
        "PE format, section table";
    PE_LARGE = Error "pe-large",
        "an EFI program has less than 2 GiB",
        "firmware does not load it",
        "a smaller initrd",
        "systemd#31452";
    UKI_LINUX = Error "uki-linux",
        "a UKI's kernel is an EFI program for its own machine",
        "the stub cannot start it",
        "make the UKI with this machine's kernel",
        "systemd src/boot/linux.c; UAPI.5";
    UKI_KERNEL_OLD = Warning "uki-kernel-old",
        "the kernel takes its initrd by LoadFile2 (MajorImageVersion 1 and up)",
        "the stub falls back on the old handover protocol, which distributions switch off",
        "a kernel since 5.8",
        "systemd src/boot/pe.c pe_kernel_info; Linux include/linux/pe.h";
    UKI_IN_PLACE = Note "uki-in-place",
        "nothing follows .linux within the memory that the kernel unfolds to",
        "old stubs start it in place: it overwrites what follows while it unfolds",
        "let .linux be the last section, as ukify and bootling do",
        "systemd src/ukify/ukify.py, order of sections";
    UKI_SECTIONS = Note "uki-sections",
        "a UKI has .osrel, .uname, .cmdline and .initrd",
        "boot menus show no name or version; the kernel has no command line or initrd of its own",
        "ukify build --os-release --uname --cmdline --initrd; bootling disk adds them",
        "UAPI.5, Unified Kernel Image";
    UKI_EMPTY = Warning "uki-empty",
        "no section is empty",
        "stub 252 measures it, others do not: predicted PCR 11 is wrong",
        "leave the section out",
        "systemd#25761";
    UKI_VIRTUAL = Warning "uki-virtual",
        "a section's VirtualSize is what is in the file",
        "stubs read or measure zeros behind it, or less than there is: PCR 11 and readers disagree",
        "make the UKI anew",
        "systemd#35851, systemd#36259";
    UKI_ALIGNMENT = Warning "uki-alignment",
        "sections of a UKI begin at multiples of 4096",
        "firmware that protects memory by pages refuses it or lets sections share rights",
        "make the UKI anew",
        "systemd src/ukify/ukify.py; UEFI CA memory mitigation requirements";
    UKI_TWICE = Warning "uki-twice",
        "sections have names of their own",
        "stubs take the first, tools the last",
        "make the UKI anew",
        "UAPI.5 (but profiles: .profile separates them)";
    UKI_STUB = Note "uki-stub",
        "the stub tells its version (.sdmagic)",
        "what it measures and which sections it knows cannot be told",
        "a stub of systemd",
        "systemd src/boot/stub.c";
    UKI_FULL = Note "uki-full",
        "the section table has room for another section",
        "nobody: addons and profiles cannot be added to this file",
        "a stub with larger headers",
        "PE format, section table";
    SIGN_NONE = Note "sign-none",
        "a loader is signed",
        "Secure Boot refuses it where it is on and its keys are not the user's",
        "bootling disk --sign-key KEY --sign-cert CERT; sbsign",
        "UEFI 2.11 32.5.3";
    SIGN_STALE = Error "sign-stale",
        "a signature is over the bytes that are there",
        "Secure Boot refuses it: changed after it was signed",
        "sign it again",
        "Windows Authenticode PE signature format 1.0";
}

//! Rules for initrds.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    INITRD_BROKEN = Error "initrd-broken",
        "an initrd is readable to its end",
        "the kernel stops unpacking (Initramfs unpacking failed) and panics, or runs with a part of the files",
        "recreate the initrd",
        "Linux init/initramfs.c";
    INITRD_INIT = Warning "initrd-init",
        "an initrd contains an executable /init",
        "the kernel mounts a root file system itself, and panics if root= names none",
        "bootling build adds an /init; rdinit= selects another program",
        "Linux init/main.c kernel_init_freeable";
    INITRD_CUT = Note "initrd-cut",
        "an initrd has at most 1,000,000 entries, and all initrds of a file unpack to at most 4 GiB in total",
        "the data beyond the limit was not checked",
        "-",
        "bootling's own limit";
}

//! Rules for initrds.

use crate::disk::check::rule::rules;
use crate::disk::check::{Rule, Severity};

rules! {
    INITRD_BROKEN = Error "initrd-broken",
        "an initrd can be read to its end",
        "the kernel stops unpacking there (Initramfs unpacking failed) and panics for want of an init, or goes on with half",
        "make it anew",
        "Linux init/initramfs.c";
    INITRD_INIT = Warning "initrd-init",
        "there is an /init that can be run",
        "the kernel looks for a root file system by itself, and panics where root= names none",
        "bootling build makes one; rdinit= names another program",
        "Linux init/main.c kernel_init_freeable";
    INITRD_CUT = Note "initrd-cut",
        "an initrd has at most a million entries, and all of them together at most 4 GiB",
        "what lies beyond was not checked",
        "-",
        "bootling's own limit";
}

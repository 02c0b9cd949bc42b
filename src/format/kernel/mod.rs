//! Kernel images: bzImage, vmlinux, release strings, and the packages that contain them.

pub mod bzimage;
pub mod elf;
pub mod package;
pub mod release;

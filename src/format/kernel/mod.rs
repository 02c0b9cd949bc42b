//! Kernel images: bzImage, vmlinux, release strings, and the packages that contain them.

pub mod bzimage;
pub mod package;
pub mod release;
pub mod vmlinux;

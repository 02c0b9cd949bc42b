//! Kernel images: bzImage, vmlinux, release strings, and the packages that contain them.

pub(crate) mod arm64;
pub(crate) mod bzimage;
pub(crate) mod package;
pub(crate) mod release;
pub(crate) mod vmlinux;
pub(crate) mod zboot;

//! Kernel modules: names, `.modinfo`, compressed files.

pub mod decompress;
pub mod modinfo;
pub mod name;

//! Kernel modules: names and `.modinfo`.

pub mod modinfo;
pub mod name;

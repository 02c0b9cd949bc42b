//! Kernel modules: names, `.modinfo` and symbols.

pub mod modinfo;
pub mod name;
pub mod symbols;

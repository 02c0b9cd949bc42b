//! TODO-HEAD format::kernel

pub mod bzimage;
pub mod elf;
pub mod package;
pub mod release;

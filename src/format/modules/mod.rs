//! TODO-HEAD format::modules

pub mod decompress;
pub mod modinfo;
pub mod name;

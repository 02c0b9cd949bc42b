//! Kernel modules: names, `.modinfo`, symbols and `KUnit` suites.

pub(crate) mod kunit;
pub mod modinfo;
pub mod name;
pub mod symbols;

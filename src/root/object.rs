//! One ELF object of a program's address space.

use std::ffi::OsString;
use std::rc::Rc;

use super::dirs::Found;

/// One object of a program's address space.
#[derive(Debug, Clone)]
pub struct Object {
    /// The program or library file.
    pub found: Rc<Found>,
    /// Index of the requiring object; `None` for the program and its loader.
    pub(crate) loader: Option<usize>,
    /// Name by which it was requested.
    pub(crate) name: OsString,
    /// True if it is opened at run time.
    pub(crate) dlopen: bool,
}

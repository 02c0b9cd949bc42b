//! Memory that each command needs anew and the next one gets again: what is allocated is never given back.

use crate::input;
use crate::syscall::memory::allocate;

const STACK: usize = 64 * 1024;

/// Empty slices where there is no memory: whoever uses them finds out.
pub struct Buffers {
    /// For the child, until it executes its program.
    pub stack: &'static mut [u8],
    /// For what the command has not read yet.
    pub input: &'static mut [u8],
}

impl Buffers {
    pub fn new() -> Self {
        Self { stack: allocate(STACK).unwrap_or_default(), input: allocate(input::CAPACITY).unwrap_or_default() }
    }
}

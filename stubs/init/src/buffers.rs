//! Buffers reused by consecutive commands, since allocations are never freed.

use crate::input;
use crate::syscall::memory::allocate;

const STACK: usize = 64 * 1024;
/// For directories in directories: see [`crate::collect`].
const COLLECT_STACK: usize = 384 * 1024;

/// Buffers; empty if allocation failed, which their users detect.
pub struct Buffers {
    /// Stack of the child until it executes its program.
    pub stack: &'static mut [u8],
    /// Stack of the child that collects files.
    pub collect_stack: &'static mut [u8],
    /// Input that the command has not read yet.
    pub input: &'static mut [u8],
}

impl Buffers {
    pub fn new() -> Self {
        Self {
            stack: allocate(STACK).unwrap_or_default(),
            collect_stack: allocate(COLLECT_STACK).unwrap_or_default(),
            input: allocate(input::CAPACITY).unwrap_or_default(),
        }
    }
}

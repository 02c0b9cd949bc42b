//! Helpers for tests of the whole program: kernels to boot, and the program under a time limit.

pub mod kernels;
pub mod misbehave;
pub mod processes;
pub mod program;
pub mod qemu;
pub mod skip;

pub use kernels::Kernel;
pub use program::{Done, Program};

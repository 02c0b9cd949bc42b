//! Helpers for tests of the whole program: kernels to boot, and the program under a time limit.

pub(crate) mod apt;
pub(crate) mod guest_modules;
pub(crate) mod kernels;
pub(crate) mod misbehave;
pub(crate) mod processes;
pub(crate) mod program;
pub(crate) mod qemu;
pub(crate) mod skip;

pub(crate) use kernels::Kernel;
pub(crate) use program::{Done, Program};

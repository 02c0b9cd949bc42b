//! What host and guest agree on: the job file that pid 1 reads, and the frames of the control channel.
//!
//! Compiled into both sides (`stubs/init` includes these files by path), so nothing here may use more than `core`.

pub mod frame;
pub mod job;
pub mod window;

/// Raised whenever a frame or a job changes its meaning; both sides refuse another's.
pub const VERSION: u32 = 3;

//! Interface between host and guest: pid 1's job file, and the frames of the control channel.
//!
//! Compiled into both sides (`stubs/init` includes these files by path), so only `core` is available here.

pub mod collect;
pub mod files;
pub mod frame;
pub mod job;
pub mod modules;
pub mod window;

/// Protocol version. Increased with every incompatible change of frames or jobs; both sides refuse other versions.
pub const VERSION: u32 = 7;

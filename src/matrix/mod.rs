//! Tests x kernels x machines: many runs, in parallel, each judged.
//!
//! All cells exist before the first one runs: what did not run is told as such, and never passes.

pub mod baseline;
pub mod emit;
pub mod merge;
pub mod parts;
pub mod report;
pub mod shard;

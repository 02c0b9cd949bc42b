//! Tests x kernels x machines: many runs, in parallel, each judged.
//!
//! All cells exist before the first one runs: what did not run is told as such, and never passes.

pub mod manifest;

pub mod baseline;
pub mod budget;
pub mod emit;
pub mod guest;
pub mod judge;
pub mod merge;
pub mod parts;
pub mod plan;
pub mod repeat;
pub mod report;
pub mod run;
pub mod schedule;
pub mod shard;
pub mod state;
pub mod times;
#[cfg(test)]
pub mod typed;

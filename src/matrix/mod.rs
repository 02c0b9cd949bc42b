//! Tests x kernels x machines: many runs, in parallel, each judged.
//!
//! All cells exist before the first one runs: what did not run is told as such, and never passes.

pub mod budget;
mod guest;
mod judge;
pub mod plan;
pub mod repeat;
pub mod report;
pub mod run;
mod schedule;
mod state;
pub mod times;

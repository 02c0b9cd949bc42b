//! Test matrix: tests x kernels x machines, run in parallel, with a verdict for each cell.
//!
//! All cells exist before the first one runs. A cell that did not run is reported as not run and never counts as
//! passed.

pub mod manifest;

pub mod baseline;
mod budget;
pub mod emit;
mod event;
mod guest;
pub mod import;
mod judge;
pub mod known;
pub mod lock;
pub mod merge;
pub mod plan;
pub mod report;
pub mod reproduce;
pub mod run;
mod schedule;
pub mod shard;
mod state;
pub mod tap_parser;
pub mod times;

#[cfg(test)]
mod tests {
    pub(crate) mod fixtures;
    pub(crate) mod sample;
}

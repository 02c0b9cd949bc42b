//! bootling: tiny Linux images, built in milliseconds, booted at once, judged honestly.
//!
//! Data flows one way, and no stage calls back into one above it:
//!
//! ```text
//! Args -> Spec -> resolve -> Plan -> write -> boot -> Transcript -> Verdict
//! ```
//!
//! | module | takes | gives | touches |
//! |---|---|---|---|
//! | [`spec`] | what was typed | what is meant | nothing |
//! | [`resolve`] | a spec | facts about a root directory | reads |
//! | [`plan`] | facts | a checked map from archive path to entry | nothing |
//! | [`write`] | a checked plan | bytes | writes |
//! | [`boot`] | artefacts and a boot spec | a transcript of typed events | spawns |
//! | [`verdict`] | a transcript | an outcome and an exit code | nothing |
//! | [`cli`] | the command line | an exit code | the terminal |
//!
//! [`arch`], [`proto`] and [`sys`] stand above all stages: facts about architectures, the protocol
//! between host and guest, and the one file that may say `unsafe`.
//! `tests/layering.rs` holds the order.

pub mod arch;
pub mod boot;
pub mod cache;
pub mod cli;
pub mod pid1;
pub mod plan;
pub mod proto;
pub mod resolve;
pub mod spec;
pub mod sys;
pub mod verdict;
pub mod write;

//! Tests of `bootling check` on broken, hostile and foreign images; one file per subject.

mod breaches;
#[path = "../support/case.rs"]
mod case;
mod change;
mod cli;
mod hostile;
mod mends;
mod oracle;
mod recipe;
mod variants;

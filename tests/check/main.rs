//! `bootling check`: what it finds in images that are broken, hostile, or made by others; one file a subject.

mod breaches;
#[path = "../support/case.rs"]
mod case;
mod change;
mod cli;
mod hostile;
mod oracle;
mod recipe;
mod variants;

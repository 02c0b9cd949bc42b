//! Manifests that tests type, and what their commands say.

use std::path::Path;
use std::time::Duration;

use super::manifest::{Origin, TestSpec};
use crate::guest::Output;
use crate::guest::verdict::Outcome;

/// A manifest without a mistake, in no folder.
pub fn spec(text: &str) -> TestSpec {
    TestSpec::parse(text, Origin { file: "bootling.toml", folder: Path::new(""), kernels: &[] }).expect("a manifest")
}

/// What came of a command that did nothing but end so, and said that.
pub fn output(outcome: Outcome, stdout: &str) -> Output {
    Output {
        outcome,
        stdout: stdout.as_bytes().to_vec(),
        stderr: Vec::new(),
        cut: false,
        usage: None,
        taint: None,
        console: Vec::new(),
        notes: Vec::new(),
        release: None,
        age: None,
        health: Vec::new(),
        hang: None,
        hello: None,
        started: None,
        duration: Duration::ZERO,
    }
}

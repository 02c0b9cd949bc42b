//! Manifests and command outputs for tests.

use std::path::Path;
use std::time::Duration;

use crate::guest::Output;
use crate::guest::verdict::Outcome;
use crate::suite::manifest::{Origin, TestSpec};

/// Parses a valid manifest without a directory.
pub(crate) fn spec(text: &str) -> TestSpec {
    TestSpec::parse(text, Origin { file: "bootling.toml", folder: Path::new(""), kernels: &[] }).expect("a manifest")
}

/// Returns the output of a command with this outcome and standard output.
pub(crate) fn output(outcome: Outcome, stdout: &str) -> Output {
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
        modules: Vec::new(),
        collected: Vec::new(),
        hang: None,
        hello: None,
        started: None,
        duration: Duration::ZERO,
    }
}

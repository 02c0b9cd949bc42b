//! The command line: arguments as typed become specs as meant; one `run` a verb.

use std::process::ExitCode;

pub mod make_tiny_image;
mod options;

/// Runs the program.
pub fn main() -> ExitCode {
    ExitCode::from(125)
}

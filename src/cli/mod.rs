//! The command line: arguments as typed become specs as meant; one `run` a verb.

use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    ExitCode::from(125)
}

//! The `bootling` program: parses arguments, calls the library, prints the result.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

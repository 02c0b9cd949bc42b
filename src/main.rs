//! The `bootling` program: parses arguments, calls the library, prints, and exits with the right code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}

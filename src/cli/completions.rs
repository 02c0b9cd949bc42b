//! `bootling completions`: prints a completion script for a shell, from the definition of the command line.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bootling completions bash > ~/.local/share/bash-completion/completions/bootling
  bootling completions zsh > ~/.zfunc/_bootling
  bootling completions fish > ~/.config/fish/completions/bootling.fish

`make install` and the Debian package install the scripts for bash, zsh and fish. For zsh, the
directory must be in fpath before compinit is called: fpath=(~/.zfunc $fpath).
")]
pub(crate) struct CompletionsArgs {
    /// Shell to complete the command line in.
    shell: Shell,
}

/// Runs the verb.
pub(crate) fn run(args: &CompletionsArgs, program: Command) -> anyhow::Result<u8> {
    let script = script(args.shell, program);
    let mut out = super::output::content();
    out.write_all(&script).and_then(|()| out.flush()).context("failed to write to standard output")?;
    Ok(0)
}

/// Returns the script, as a whole: `generate` panics if its output cannot be written.
fn script(shell: Shell, mut program: Command) -> Vec<u8> {
    let mut script = Vec::new();
    let name = program.get_name().to_owned();
    clap_complete::generate(shell, &mut program, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::script;
    use clap::{CommandFactory, ValueEnum};
    use clap_complete::Shell;

    #[test]
    fn every_script_completes_every_verb_and_its_options() {
        let program = crate::cli::Cli::command();
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell, program.clone())).expect("UTF-8");
            for verb in program.get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
            assert!(script.contains("expect-screen"), "{shell}");
        }
    }
}

//! Records which options come from the command line. Options from the environment are only defaults.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// Ids of the options on the command line. Flatten it into a verb's arguments before all others, since clap removes
/// each option from the matches when it is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypedIds(BTreeSet<String>);

impl TypedIds {
    /// Returns true if this option is on the command line.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

impl FromArgMatches for TypedIds {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let ids = matches.ids().map(clap::Id::as_str);
        let typed = ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
        Ok(Self(typed.map(str::to_owned).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|read| *self = read)
    }
}

impl Args for TypedIds {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::disk::DiskArgs;
    use crate::cli::run::RunArgs;
    use clap::{Args, Command, FromArgMatches};

    #[test]
    fn options_on_the_command_line_are_distinguished_from_defaults() {
        let read = |words: &[&str]| {
            let matches = RunArgs::augment_args(Command::new("run")).get_matches_from(words);
            RunArgs::from_arg_matches(&matches).expect("arguments").typed
        };
        let typed = read(&["run", "--kernel", "k", "--warm", "--firmware", "bios", "--health=fail", "--", "true"]);
        assert!(["kernel", "warm", "firmware", "health"].into_iter().all(|id| typed.has(id)), "{typed:?}");
        let typed = read(&["run", "--", "true"]);
        assert!(!["kernel", "warm", "firmware", "health", "accel"].into_iter().any(|id| typed.has(id)), "{typed:?}");
        let matches = DiskArgs::augment_args(Command::new("disk")).get_matches_from(["disk", "-o", "x", "-k", "k"]);
        assert!(DiskArgs::from_arg_matches(&matches).expect("arguments").typed.has("kernel"));
    }
}

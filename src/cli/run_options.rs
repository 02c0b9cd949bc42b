//! Options of `run` in other verbs: all that select the command and the machine, none that control reporting.
//!
//! Typed options are kept as arguments with their positions, and parsed again by `run`'s parser for each guest, with
//! replaced values where needed.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::run::RunArgs;

/// Options that only `run` has.
const OWN: [&str; 15] = [
    "collect",
    "collect_limit",
    "tty",
    "json",
    "bisect",
    "watch",
    "watch_exec",
    "watch_path",
    "print_command",
    "quiet",
    "console",
    "evidence",
    "core",
    "verbose",
    "trust",
];
/// Id of the trailing argument.
const COMMAND: &str = "command";

/// An option from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed {
    /// Long name, without dashes.
    pub long: String,
    /// Index of its value on the command line.
    pub place: usize,
    /// Value, if it takes one.
    pub value: Option<OsString>,
    /// True if `run` accepts it several times.
    pub is_list: bool,
}

impl Typed {
    /// Returns the option as one argument.
    pub(crate) fn word(&self) -> OsString {
        let mut word = OsString::from(format!("--{}", self.long));
        if let Some(value) = &self.value {
            word.push("=");
            word.push(value);
        }
        word
    }
}

/// Adds the options to a verb. `twice`: allow each of them several times, even if `run` does not.
pub(crate) fn augment(command: Command, twice: bool) -> Command {
    run_args().into_iter().fold(command, |command, arg| {
        let is_single = matches!(arg.get_action(), ArgAction::Set) && !arg.is_positional();
        command.arg(if twice && is_single { arg.action(ArgAction::Append) } else { arg })
    })
}

fn run_args() -> Vec<Arg> {
    let run = RunArgs::augment_args(Command::new("run"));
    run.get_arguments().filter(|arg| !OWN.contains(&arg.get_id().as_str())).cloned().collect()
}

/// Returns the options from the command line, in no particular order; values from the environment are excluded.
pub(crate) fn typed(matches: &ArgMatches) -> Vec<Typed> {
    let mut found = Vec::new();
    for arg in run_args().iter().filter(|arg| !arg.is_positional()) {
        let id = arg.get_id().as_str();
        let Some(long) = arg.get_long().filter(|_| matches.value_source(id) == Some(ValueSource::CommandLine)) else {
            continue;
        };
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let one = |place, value| Typed { long: long.to_owned(), place, value, is_list };
        let places = matches.indices_of(id).into_iter().flatten();
        match arg.get_action() {
            ArgAction::Set | ArgAction::Append => {
                let values = matches.get_raw(id).into_iter().flatten();
                found.extend(places.zip(values).map(|(place, value)| one(place, Some(value.to_owned()))));
            }
            _ => found.extend(places.map(|place| one(place, None))),
        }
    }
    found
}

/// Returns the command and its arguments.
pub(crate) fn command(matches: &ArgMatches) -> Vec<OsString> {
    matches.get_raw(COMMAND).into_iter().flatten().map(OsStr::to_owned).collect()
}

/// Parses these arguments as `run` does.
pub(crate) fn read<'a>(typed: impl IntoIterator<Item = &'a Typed>, command: &[OsString]) -> Result<RunArgs, Error> {
    let mut words = vec![OsString::from("run")];
    words.extend(typed.into_iter().map(Typed::word));
    words.push("--".into());
    words.extend_from_slice(command);
    let mut run = RunArgs::augment_args(Command::new("bootling run"));
    let matches = run.try_get_matches_from_mut(words)?;
    RunArgs::from_arg_matches(&matches)
}

/// Options of one run.
#[derive(Debug, Clone)]
pub(crate) struct RunOptions {
    /// Options from the command line.
    pub typed: Vec<Typed>,
    /// Command and its arguments.
    pub command: Vec<OsString>,
}

impl RunOptions {
    /// Parses the options as `run` does.
    pub(crate) fn read(&self) -> Result<RunArgs, Error> {
        read(&self.typed, &self.command)
    }
}

impl FromArgMatches for RunOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let options = Self { typed: typed(matches), command: command(matches) };
        options.read().map(|_| options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for RunOptions {
    fn augment_args(command: Command) -> Command {
        augment(command, false)
    }

    fn augment_args_for_update(command: Command) -> Command {
        augment(command, false)
    }
}

#[cfg(test)]
mod tests {
    use super::{RunOptions, Typed};
    use clap::{Args, Command, FromArgMatches};
    use std::ffi::OsString;

    fn options(words: &[&str]) -> Result<RunOptions, clap::Error> {
        let words = ["verb"].iter().chain(words);
        RunOptions::from_arg_matches(&RunOptions::augment_args(Command::new("verb")).try_get_matches_from(words)?)
    }

    #[test]
    fn every_spelling_of_an_option_becomes_an_argument_that_run_parses() {
        let typed =
            ["-k", "x y", "--cpu=max,-svm", "--append", "-a", "--append=b", "-m", "2G", "--warm", "--fast-boot"];
        let rest = ["--lib-path", "/a:/b", "--warm=no", "--", "echo", "--cpu", "x"];
        let words: Vec<&str> = typed.iter().filter(|word| **word != "--warm").chain(&rest).copied().collect();
        let options = options(&words).expect("read");
        let mut words: Vec<OsString> = options.typed.iter().map(Typed::word).collect();
        words.sort();
        let expected = ["--append=-a", "--append=b", "--cpu=max,-svm", "--fast-boot", "--kernel=x y"];
        let rest = ["--lib-path=/a", "--lib-path=/b", "--memory=2G", "--warm=no"];
        assert_eq!(words, expected.into_iter().chain(rest).map(OsString::from).collect::<Vec<_>>());
        assert_eq!(options.command, ["echo", "--cpu", "x"]);
    }

    #[test]
    fn an_option_without_a_value_gets_the_default_of_run() {
        let words: Vec<OsString> = options(&["--warm", "true"]).expect("read").typed.iter().map(Typed::word).collect();
        assert_eq!(words, ["--warm=yes"]);
    }

    #[test]
    fn reporting_options_are_refused() {
        for word in ["--bisect", "--watch", "--json=x", "--quiet", "--console=x", "-t"] {
            assert!(options(&[word]).is_err(), "{word}");
        }
        assert!(options(&["--initrd=x", "--with=y"]).is_err(), "a conflict in `run`");
    }
}

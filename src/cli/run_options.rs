//! The options of `run` in other verbs: all that say what runs and on what, none that say how its verdict is told.
//!
//! What was typed is kept as words, each with its place, and read once more as `run` reads them: for each guest anew,
//! with other words in some places.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::run::RunArgs;

/// Those that are `run`'s own affair.
const OWN: [&str; 13] = [
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
/// What all of them end with.
const COMMAND: &str = "command";

/// An option as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// Its name.
    pub long: String,
    /// Where on the command line its value stood.
    pub place: usize,
    /// Its value, where it takes one.
    pub value: Option<OsString>,
    /// Whether it may be given several times to `run`.
    pub is_list: bool,
}

impl Typed {
    /// As one word.
    pub fn word(&self) -> OsString {
        let mut word = OsString::from(format!("--{}", self.long));
        if let Some(value) = &self.value {
            word.push("=");
            word.push(value);
        }
        word
    }
}

/// Adds the options to a verb's. `twice`: each may be given several times there, whatever it is to `run`.
pub fn augment(command: Command, twice: bool) -> Command {
    ours().into_iter().fold(command, |command, arg| {
        let is_single = matches!(arg.get_action(), ArgAction::Set) && !arg.is_positional();
        command.arg(if twice && is_single { arg.action(ArgAction::Append) } else { arg })
    })
}

fn ours() -> Vec<Arg> {
    let run = RunArgs::augment_args(Command::new("run"));
    run.get_arguments().filter(|arg| !OWN.contains(&arg.get_id().as_str())).cloned().collect()
}

/// What was typed, in no particular order; what the environment says is not among it.
pub fn typed(matches: &ArgMatches) -> Vec<Typed> {
    let mut found = Vec::new();
    for arg in ours().iter().filter(|arg| !arg.is_positional()) {
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

/// The command that was typed.
pub fn command(matches: &ArgMatches) -> Vec<OsString> {
    matches.get_raw(COMMAND).into_iter().flatten().map(OsStr::to_owned).collect()
}

/// What `run` makes of these words.
pub fn read<'a>(typed: impl IntoIterator<Item = &'a Typed>, command: &[OsString]) -> Result<RunArgs, Error> {
    let mut words = vec![OsString::from("run")];
    words.extend(typed.into_iter().map(Typed::word));
    words.push("--".into());
    words.extend_from_slice(command);
    let mut run = RunArgs::augment_args(Command::new("bootling run"));
    let matches = run.try_get_matches_from_mut(words)?;
    RunArgs::from_arg_matches(&matches)
}

/// The options of one run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// As they were typed.
    pub typed: Vec<Typed>,
    /// What is to run.
    pub command: Vec<OsString>,
}

impl RunOptions {
    /// What `run` makes of them.
    pub fn read(&self) -> Result<RunArgs, Error> {
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
    fn every_way_to_type_an_option_comes_back_as_a_word_that_run_reads() {
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
    fn an_option_without_its_value_has_the_one_that_run_gives_it() {
        let words: Vec<OsString> = options(&["--warm", "true"]).expect("read").typed.iter().map(Typed::word).collect();
        assert_eq!(words, ["--warm=yes"]);
    }

    #[test]
    fn what_tells_of_the_verdict_is_no_option_here() {
        for word in ["--bisect", "--watch", "--json=x", "--quiet", "--console=x", "-t"] {
            assert!(options(&[word]).is_err(), "{word}");
        }
        assert!(options(&["--initrd=x", "--with=y"]).is_err(), "a conflict that run has");
    }
}

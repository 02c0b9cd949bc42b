//! The two sides of a comparison: options for both sides, and options for one of them.
//!
//! If an option that `run` accepts once is given twice, the sides differ in it. Options after `--vs` apply only to the
//! second side.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::cli::run::RunArgs;
use crate::cli::run_options::{self, Typed};
use bootling::qemu::argv::shell_line;

/// The id of `--vs`.
const VS: &str = "vs";
/// Option that replaces the command. After `--vs`, it replaces COMMAND and therefore applies to both sides.
const LINE: &str = "run";

/// Arguments of two runs.
#[derive(Debug)]
pub(crate) struct Sides {
    /// Arguments of `run` for each side.
    pub runs: [RunArgs; 2],
    /// Options that only one side has.
    pub labels: [String; 2],
}

impl Args for Sides {
    fn augment_args(command: Command) -> Command {
        let vs = Arg::new(VS).long(VS).action(ArgAction::SetTrue).help(
            "Apply the following options only to the second side: they replace earlier values, and add to options that \
             may be repeated.",
        );
        run_options::augment(command.arg(vs), true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let vs = matches.get_flag(VS).then(|| matches.index_of(VS)).flatten();
        let sides = split(&run_options::typed(matches), vs)?;
        let command = run_options::command(matches);
        if vs.is_none() && labels(&sides) == ["", ""] {
            return Err(wrong("both sides are identical: give an option twice, or use --vs"));
        }
        let [left, right] = &sides;
        let labels = match labels(&sides) {
            [left, right] if left.is_empty() && right.is_empty() => ["first side".to_owned(), "second side".to_owned()],
            labels => labels.map(|label| if label.is_empty() { "without these options".to_owned() } else { label }),
        };
        Ok(Self { runs: [run_options::read(left, &command)?, run_options::read(right, &command)?], labels })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn wrong(text: &str) -> Error {
    Error::raw(ErrorKind::ArgumentConflict, text)
}

/// Returns the options of each side.
fn split(typed: &[Typed], vs: Option<usize>) -> Result<[Vec<Typed>; 2], Error> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut names: Vec<&str> = typed.iter().map(|typed| typed.long.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let all: Vec<&Typed> = typed.iter().filter(|typed| typed.long == name).collect();
        let (common, own): (Vec<&Typed>, Vec<&Typed>) =
            all.iter().partition(|typed| vs.is_none_or(|vs| typed.place < vs));
        if all.iter().any(|typed| typed.is_list) {
            left.extend(common.into_iter().cloned());
            right.extend(all.into_iter().cloned());
            continue;
        }
        let is_repeated_flag = common.len() > 1 && common[0].value.is_none();
        if all.len() > 2 || own.len() > 1 || is_repeated_flag {
            return Err(wrong(&format!("--{name} is given {} times, but there are two sides", all.len())));
        }
        left.extend(common.first().or(own.first().filter(|_| name == LINE)).copied().cloned());
        right.extend(own.first().or(common.last()).copied().cloned());
    }
    Ok([left, right])
}

/// Returns the options that only one side has, quoted for the shell.
fn labels([left, right]: &[Vec<Typed>; 2]) -> [String; 2] {
    let label = |own: &[Typed], other: &[Typed]| {
        let words: Vec<OsString> = own
            .iter()
            .filter(|typed| !other.contains(typed))
            .flat_map(|typed| [Some(format!("--{}", typed.long).into()), typed.value.clone()])
            .flatten()
            .collect();
        shell_line(&words).to_string_lossy().into_owned()
    };
    [label(left, right), label(right, left)]
}

#[cfg(test)]
mod tests {
    use super::Sides;
    use clap::{Args, Command, FromArgMatches};

    fn sides(words: &[&str]) -> Result<Sides, String> {
        let words = ["compare"].iter().chain(words);
        let matches = Sides::augment_args(Command::new("compare")).try_get_matches_from(words);
        matches.and_then(|matches| Sides::from_arg_matches(&matches)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn labels(words: &[&str]) -> [String; 2] {
        sides(words).expect("two sides").labels
    }

    #[test]
    fn sides_differ_in_repeated_options_and_options_after_vs() {
        let twice = ["--smp", "2", "--cpu", "max", "--cpu", "qemu64,+avx", "--", "cat", "--cpu", "x"];
        assert_eq!(labels(&twice), ["--cpu max", "--cpu qemu64,+avx"]);
        assert_eq!(labels(&["--cpu", "max", "--vs", "--cpu", "max,-avx", "true"]), ["--cpu max", "--cpu max,-avx"]);
        let added = ["--append", "a b", "--vs", "--append", "c d", "--fast-boot", "true"];
        assert_eq!(labels(&added), ["without these options", "--append 'c d' --fast-boot"]);
        assert_eq!(labels(&["--vs", "true"]), ["first side", "second side"]);
        let both = ["--kernel", "a", "--kernel", "b", "--vs", "--smp", "2", "true"];
        assert_eq!(labels(&both), ["--kernel a", "--kernel b --smp 2"]);
        assert_eq!(labels(&["--vs", "--smp", "2", "--run", "nproc"]), ["without these options", "--smp 2"]);
        assert_eq!(labels(&["--run", "a", "--run", "b"]), ["--run a", "--run b"]);
    }

    #[test]
    fn one_side_or_three_sides_are_refused() {
        for (words, said) in [
            (&["--cpu", "max", "true"][..], "give an option twice"),
            (&["--cpu", "a", "--cpu", "b", "--cpu", "c", "true"], "--cpu is given 3 times"),
            (&["--cpu", "a", "--cpu", "b", "--vs", "--cpu", "c", "true"], "--cpu is given 3 times"),
            (&["--vs", "--cpu", "b", "--cpu", "c", "true"], "--cpu is given 2 times"),
            (&["--initrd", "x", "--vs", "--with", "y", "true"], "cannot be used with"),
        ] {
            let error = sides(words).expect_err("refused");
            assert!(error.contains(said), "{words:?}: {error}");
        }
    }
}

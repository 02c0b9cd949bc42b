//! Log of a bisection: the log of the search, which `git bisect replay` accepts, and bootling's notes as comments.
//!
//! Users may edit the file: it is read line by line, and unknown lines are ignored, as git does.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::candidate::{Candidate, Step};
use super::error::BisectError;
use super::trial::{CandidateKind, Judgment};
use crate::format::guest_text::one_line;
use crate::guest::verdict::BisectAnswer;
use crate::output::{Output, WriteError};

/// First line.
const HEAD: &str = "# bootling bisect log 1";
/// Prefix of bootling's notes.
const NOTE: &str = "# bootling: ";
/// Note at the end of a complete bisection.
const DONE: &str = "done";

/// Log of a bisection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    pub(super) path: PathBuf,
    /// Comments about the test.
    about: Vec<String>,
    /// True if the file contains this bisection, which can be resumed.
    pub(super) is_on_disk: bool,
    /// Good end and bad end of a resumed bisection.
    pub ends: Option<[String; 2]>,
    /// Results of the ends' tests.
    pub(super) end_steps: Vec<Step>,
    /// True if both ends have been tested.
    pub(super) ends_tested: bool,
    /// Answer for candidates that do not boot, derived from the ends.
    pub(super) no_boot: Option<BisectAnswer>,
    /// Answers between the ends.
    pub(super) steps: Vec<Step>,
    /// True if the bisection is complete.
    pub(super) is_complete: bool,
}

/// A note, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// Result of an end's test.
    End(Step),
    /// Both ends have been tested.
    EndsTested { no_boot: Option<BisectAnswer> },
    /// Result between the ends.
    Step(Step),
}

impl Log {
    /// Opens a log file: an existing one to resume the bisection, otherwise a new one. Refuses to overwrite other files
    /// and the log of an unfinished bisection. `about` describes the test.
    pub fn open(path: &Path, resume: bool, about: Vec<String>) -> Result<Self, BisectError> {
        let invalid = |reason| Err(BisectError::Log { path: path.to_owned(), reason });
        let new = Self { path: path.to_owned(), about: about.clone(), ..Self::default() };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !resume => return Ok(new),
            Err(error) => return Err(BisectError::ReadLog(path.to_owned(), error)),
        };
        match (Self::parse(&text), resume) {
            (None, _) => invalid("the file exists and is not a bootling log"),
            (Some(log), true) if log.ends.is_none() => invalid("the log does not contain the good and bad ends"),
            (Some(log), true) => Ok(Self { path: path.to_owned(), about, is_on_disk: true, is_complete: false, ..log }),
            (Some(log), false) if log.is_complete => Ok(new),
            (Some(_), false) => Err(BisectError::Unfinished(path.to_owned())),
        }
    }

    /// Writes the file. `search` is the log of the search.
    pub(super) fn write(&mut self, search: &str) -> Result<(), BisectError> {
        let mut output = Output::create(&self.path)?;
        let text = self.text(search).map_err(io::Error::from);
        let written = text.and_then(|text| output.write_all(text.as_bytes()));
        written.map_err(|error| WriteError::Archive(error).named(output.name()))?;
        output.finish()?;
        self.is_on_disk = true;
        Ok(())
    }

    fn text(&self, search: &str) -> serde_json::Result<String> {
        let about = self.about.iter().map(|line| format!("# {}\n", one_line(line)));
        let mut text = [format!("{HEAD}\n")].into_iter().chain(about).collect::<String>() + search;
        let tested = self.ends_tested.then_some(Note::EndsTested { no_boot: self.no_boot });
        let ends = self.end_steps.iter().cloned().map(Note::End);
        for note in ends.chain(tested).chain(self.steps.iter().cloned().map(Note::Step)) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{NOTE}{}", serde_json::to_string(&note)?);
        }
        if self.is_complete {
            let _ = writeln!(text, "{NOTE}{DONE}");
        }
        Ok(text)
    }

    /// Parses a log; returns `None` for other files.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()?.trim_end() != HEAD {
            return None;
        }
        let mut log = Self::default();
        let (mut answers, mut judged) = (Vec::new(), Vec::new());
        for line in lines {
            if let Some(note) = line.strip_prefix(NOTE) {
                match serde_json::from_str(note) {
                    Ok(Note::End(step)) => log.end_steps.push(step),
                    Ok(Note::EndsTested { no_boot }) => (log.ends_tested, log.no_boot) = (true, no_boot),
                    Ok(Note::Step(step)) => judged.push(step),
                    Err(_) => log.is_complete |= note == DONE,
                }
            }
            let command = line.strip_prefix("git bisect ").or_else(|| line.strip_prefix("bootling bisect "));
            let Some((verb, arguments)) = command.and_then(|command| command.split_once(' ')) else { continue };
            if verb == "start" {
                let ends = in_quotes(arguments).and_then(|ends| ends.split_once("' '"));
                log.ends = ends.map(|(bad, good)| [unescaped(good), unescaped(bad)]);
            }
            let answer = BisectAnswer::ALL.into_iter().find(|answer| answer.name() == verb);
            let id = arguments.trim();
            answers.extend(answer.map(|answer| (answer, in_quotes(id).map_or_else(|| id.to_owned(), unescaped))));
        }
        // The answers count, since users edit them; a note without its answer is ignored.
        log.steps = answers.into_iter().map(|(answer, id)| step(&judged, answer, id)).collect();
        Some(log)
    }
}

/// Returns the step of an answer. An answer without a note was added by the user.
fn step(judged: &[Step], answer: BisectAnswer, id: String) -> Step {
    let kind = match answer {
        BisectAnswer::Good => CandidateKind::Good,
        BisectAnswer::Bad => CandidateKind::Bad,
        BisectAnswer::Skip => CandidateKind::Untestable,
    };
    judged.iter().find(|step| step.answer == answer && step.candidate.id == id).cloned().unwrap_or_else(|| Step {
        candidate: Candidate { id, title: String::new() },
        judgment: Judgment { kind, reason: "from the log".to_owned() },
        answer,
    })
}

/// Quotes an argument for the shell, as git's logs do.
pub(super) fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', "'\\''"))
}

fn in_quotes(arguments: &str) -> Option<&str> {
    arguments.strip_prefix('\'')?.strip_suffix('\'')
}

fn unescaped(inner: &str) -> String {
    inner.replace("'\\''", "'")
}

#[cfg(test)]
mod tests {
    use super::{Log, quoted};
    use crate::regress::bisect::{BisectAnswer, BisectError, Candidate, CandidateKind, Judgment, Step};
    use expect_test::expect;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    fn candidate(id: &str) -> Candidate {
        Candidate { id: id.to_owned(), title: format!("the subject of {id}\nand no more") }
    }

    fn step(id: &str, kind: CandidateKind, reason: &str, answer: BisectAnswer) -> Step {
        Step { candidate: candidate(id), judgment: Judgment { kind, reason: reason.to_owned() }, answer }
    }

    #[test]
    fn notes_are_comments_after_the_log_of_the_search() {
        let log = Log {
            about: vec!["build: make -j8".to_owned()],
            end_steps: vec![step("bbb", CandidateKind::Bad, "exited with 1", BisectAnswer::Bad)],
            ends_tested: true,
            no_boot: Some(BisectAnswer::Skip),
            steps: vec![step("ccc", CandidateKind::NotBuilt, "exit 2", BisectAnswer::Skip)],
            is_complete: true,
            ..Log::default()
        };
        let search = "git bisect start 'bbb' 'aaa'\n# skip: [ccc] the subject\ngit bisect skip ccc\n";
        let text = log.text(search).expect("text");
        expect![[r#"
            # bootling bisect log 1
            # build: make -j8
            git bisect start 'bbb' 'aaa'
            # skip: [ccc] the subject
            git bisect skip ccc
            # bootling: {"end":{"id":"bbb","title":"the subject of bbb\nand no more","kind":"bad","why":"exited with 1","answer":"bad"}}
            # bootling: {"ends_tested":{"no_boot":"skip"}}
            # bootling: {"step":{"id":"ccc","title":"the subject of ccc\nand no more","kind":"not built","why":"exit 2","answer":"skip"}}
            # bootling: done
        "#]]
        .assert_eq(&text);
        let read = Log::parse(&text).expect("a log");
        let ends = Some(["aaa", "bbb"].map(str::to_owned));
        assert_eq!(read, Log { about: Vec::new(), ends, ..log });
    }

    #[test]
    fn an_answer_added_by_hand_has_no_reason_of_another_answer() {
        let edited = "# bootling bisect log 1\ngit bisect start 'b' 'a'\ngit bisect good d\ngit bisect skip c\n\
            # bootling: {\"step\":{\"id\":\"c\",\"title\":\"c\",\"kind\":\"bad\",\"why\":\"exited with 1\",\"answer\":\"bad\"}}\n";
        let log = Log::parse(edited).expect("a log");
        let by_hand = |id: &str, kind, answer| Step {
            candidate: Candidate { id: id.to_owned(), title: String::new() },
            judgment: Judgment { kind, reason: "from the log".to_owned() },
            answer,
        };
        let good = by_hand("d", CandidateKind::Good, BisectAnswer::Good);
        assert_eq!(log.steps, [good, by_hand("c", CandidateKind::Untestable, BisectAnswer::Skip)]);
    }

    #[test]
    fn a_log_of_another_program_is_refused() {
        assert_eq!(Log::parse("git bisect start\n# bad: [x] y\n"), None);
        assert_eq!(Log::parse(""), None);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        assert!(matches!(Log::open(&path, true, Vec::new()), Err(BisectError::ReadLog(..))));
        std::fs::write(&path, "git bisect start\n").expect("written");
        for resume in [false, true] {
            assert!(matches!(Log::open(&path, resume, Vec::new()), Err(BisectError::Log { .. })));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_written_log_is_read_back(good in "[a-z' /.]{1,9}", title in "[^\\pC]{0,9}", marks: Vec<u8>, is_complete: bool, git: bool) {
            use CandidateKind::{Bad, Flaky, Good, NotBooted, NotBuilt, Untestable};
            let step = |number: &u8| {
                let kind = [Good, Bad, Flaky, NotBooted, NotBuilt, Untestable][usize::from(number % 6)];
                let answer = BisectAnswer::ALL[usize::from(number % 3)];
                step(&format!("c{number}"), kind, &format!("{title}: x"), answer)
            };
            let steps: Vec<Step> = marks.iter().map(step).collect();
            let program = if git { "git" } else { "bootling" };
            let mut search = format!("{program} bisect start 'x' {}\n", quoted(&good));
            for Step { candidate, answer, .. } in &steps {
                search.extend([program, " bisect ", answer.name(), " ", &quoted(&candidate.id), "\n"]);
            }
            let end_steps = steps.iter().take(2).cloned().collect();
            let log = Log { end_steps, steps, is_complete, ends: Some([good, "x".to_owned()]), ..Log::default() };
            prop_assert_eq!(Log::parse(&log.text(&search).expect("text")), Some(log));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text: String, rest in any::<String>()) {
            let _ = Log::parse(&text);
            let _ = Log::parse(&format!("# bootling bisect log 1\ngit bisect start '{rest}\ngit bisect {text}"));
        }
    }
}

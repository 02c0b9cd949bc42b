//! The log of a bisection: what `git bisect replay` reads, with what bootling knows in comments.
//!
//! Comes from a file that anybody may have edited: read line by line, what is not known is passed over, as git does.

use std::fmt::Write as _;

use super::{Answer, Candidate, Judged, Kind};
use crate::guest::plain::blanked;

/// The first line.
const HEAD: &str = "# bootling bisect log 1";
/// What begins what bootling alone understands.
const OURS: &str = "# bootling: ";
/// Says that the ends were tested.
const CHECKED: &str = "the ends are what they are said to be";
/// Tells of an end that was tested.
const END: &str = "checked ";
/// Says what was made of what does not boot.
const NO_BOOT: &str = "what does not boot is ";
/// Says that it came to its end.
const DONE: &str = "done";

/// A bisection, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Its good end and its bad one.
    pub ends: Option<[String; 2]>,
    /// What came of testing those, as far as it was done.
    pub tested_ends: Vec<Mark>,
    /// Whether both were tested.
    pub checked: bool,
    /// What was made of what does not boot, where that was settled.
    pub no_boot: Option<Answer>,
    /// Answers, in order.
    pub marks: Vec<Mark>,
    /// Whether it came to its end.
    pub done: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// What it is about; its title is empty where the log has none.
    pub candidate: Candidate,
    /// What it is by which test; `None` where somebody has written it by hand.
    pub judged: Option<Judged>,
    /// The answer.
    pub answer: Answer,
}

impl Log {
    /// Reads one; `None` where it is no log of ours.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()?.trim_end() != HEAD {
            return None;
        }
        let mut log = Self::default();
        // What comments have said of the candidate whose answer follows.
        let (mut judged, mut named) = (None, None);
        for line in lines {
            if let Some(ours) = line.strip_prefix(OURS) {
                if let Some((answer, candidate)) = ours.strip_prefix(END).and_then(candidate) {
                    log.tested_ends.push(Mark { candidate, judged: judged.take(), answer });
                } else {
                    judged = self::judged(ours).or(judged);
                    log.say(ours);
                }
                continue;
            }
            if let Some(comment) = line.strip_prefix("# ") {
                named = candidate(comment).map(|(_, candidate)| candidate);
                continue;
            }
            let Some(words) = line.strip_prefix("git bisect ").or_else(|| line.strip_prefix("bootling bisect ")) else {
                continue;
            };
            let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
            match (verb, answer(verb)) {
                ("start", _) => log.ends = ends(rest),
                (_, Some(answer)) => {
                    let id = unquoted(rest.trim());
                    // Where an answer was taken out or put in, comments above it may be another's.
                    let own = named.take().filter(|named: &Candidate| named.id == id);
                    let judged = judged.take().filter(|_| own.is_some());
                    let candidate = own.unwrap_or(Candidate { id, title: String::new() });
                    log.marks.push(Mark { candidate, judged, answer });
                }
                (_, None) => {}
            }
        }
        Some(log)
    }

    /// Takes what stands for itself.
    fn say(&mut self, ours: &str) {
        self.checked |= ours == CHECKED;
        self.done |= ours == DONE;
        self.no_boot = ours.strip_prefix(NO_BOOT).and_then(answer).or(self.no_boot);
    }
}

/// `KIND: WHY`
fn judged(words: &str) -> Option<Judged> {
    let (name, why) = words.split_once(": ")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
    Some(Judged { kind, why: why.to_owned() })
}

/// `ANSWER: [ID] TITLE`; ids may have brackets of their own.
fn candidate(words: &str) -> Option<(Answer, Candidate)> {
    let (name, rest) = words.split_once(": [")?;
    let (id, title) = rest.split_once("] ")?;
    Some((answer(name)?, Candidate { id: id.to_owned(), title: title.to_owned() }))
}

fn answer(word: &str) -> Option<Answer> {
    Answer::ALL.into_iter().find(|answer| answer.name() == word)
}

/// `'BAD' 'GOOD'`
fn ends(words: &str) -> Option<[String; 2]> {
    let (bad, good) = words.strip_prefix('\'')?.strip_suffix('\'')?.split_once("' '")?;
    Some([good, bad].map(|end| end.replace("'\\''", "'")))
}

/// `word`, in the shell's quotes, which git's own logs have.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn unquoted(word: &str) -> String {
    match word.strip_prefix('\'').and_then(|word| word.strip_suffix('\'')) {
        Some(inner) => inner.replace("'\\''", "'"),
        None => word.to_owned(),
    }
}

/// A log that is being written.
#[derive(Debug, Clone)]
pub struct Writer {
    program: &'static str,
    /// All of it.
    pub text: String,
}

impl Writer {
    /// With the ends. `program`: `git`, or `bootling` where git could not replay it. `about`: lines for people.
    pub fn new(program: &'static str, [good, bad]: &[Candidate; 2], about: &[String]) -> Self {
        let mut text = format!("{HEAD}\n");
        for line in about {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {}", blanked(line));
        }
        let _ = writeln!(
            text,
            "# bad: [{}] {}\n# good: [{}] {}",
            bad.id,
            blanked(&bad.title),
            good.id,
            blanked(&good.title)
        );
        let _ = writeln!(text, "{program} bisect start {} {}", quoted(&bad.id), quoted(&good.id));
        Self { program, text }
    }

    /// An end was tested.
    pub fn end(&mut self, end: &Mark) {
        self.judged(end.judged.as_ref());
        let _ = writeln!(self.text, "{OURS}{END}{}", named(end));
    }

    /// The ends were tested.
    pub fn checked(&mut self, no_boot: Option<Answer>) {
        let _ = writeln!(self.text, "{OURS}{CHECKED}");
        if let Some(answer) = no_boot {
            let _ = writeln!(self.text, "{OURS}{NO_BOOT}{}", answer.name());
        }
    }

    /// A step.
    pub fn mark(&mut self, mark: &Mark) {
        self.judged(mark.judged.as_ref());
        let Self { program, text } = self;
        let Mark { candidate, answer, .. } = mark;
        let id = if *program == "git" { candidate.id.clone() } else { quoted(&candidate.id) };
        let _ = writeln!(text, "# {}", named(mark));
        let _ = writeln!(text, "{program} bisect {} {id}", answer.name());
    }

    fn judged(&mut self, judged: Option<&Judged>) {
        if let Some(judged) = judged {
            let _ = writeln!(self.text, "{OURS}{}: {}", judged.kind.name(), blanked(&judged.why));
        }
    }

    /// The end of it.
    pub fn found(&mut self, suspects: &[Candidate]) {
        let what = if suspects.len() == 1 { "first bad" } else { "possible first bad" };
        for Candidate { id, title } in suspects {
            let _ = writeln!(self.text, "# {what}: [{id}] {}", blanked(title));
        }
        let _ = writeln!(self.text, "{OURS}{DONE}");
    }
}

/// `ANSWER: [ID] TITLE`
fn named(mark: &Mark) -> String {
    format!("{}: [{}] {}", mark.answer.name(), mark.candidate.id, blanked(&mark.candidate.title))
}

#[cfg(test)]
mod tests {
    use super::{Log, Mark, Writer};
    use crate::regress::bisect::{Answer, Candidate, Judged, Kind};
    use expect_test::expect;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    fn candidate(id: &str) -> Candidate {
        Candidate { id: id.to_owned(), title: format!("the subject of {id}\nand no more") }
    }

    fn mark(id: &str, judged: Option<(Kind, &str)>, answer: Answer) -> Mark {
        let judged = judged.map(|(kind, why)| Judged { kind, why: why.to_owned() });
        Mark { candidate: candidate(id), judged, answer }
    }

    #[test]
    fn what_is_written_is_what_git_replays() {
        let mut log = Writer::new("git", &[candidate("aaa"), candidate("bbb")], &["build: make -j8".to_owned()]);
        log.end(&mark("bbb", Some((Kind::Bad, "exited with 1")), Answer::Bad));
        log.checked(Some(Answer::Skip));
        log.mark(&mark("ccc", Some((Kind::NotBuilt, "exit 2")), Answer::Skip));
        log.mark(&mark("ddd", None, Answer::Good));
        log.found(&[candidate("bbb")]);
        expect![[r"
            # bootling bisect log 1
            # build: make -j8
            # bad: [bbb] the subject of bbb and no more
            # good: [aaa] the subject of aaa and no more
            git bisect start 'bbb' 'aaa'
            # bootling: bad: exited with 1
            # bootling: checked bad: [bbb] the subject of bbb and no more
            # bootling: the ends are what they are said to be
            # bootling: what does not boot is skip
            # bootling: not built: exit 2
            # skip: [ccc] the subject of ccc and no more
            git bisect skip ccc
            # good: [ddd] the subject of ddd and no more
            git bisect good ddd
            # first bad: [bbb] the subject of bbb and no more
            # bootling: done
        "]]
        .assert_eq(&log.text);
    }

    #[test]
    fn an_answer_that_was_written_by_hand_has_no_reason_of_another() {
        let edited = "# bootling bisect log 1\ngit bisect start 'b' 'a'\n# bootling: bad: exited with 1\n# bad: [c] subject\n\
                      git bisect good d\ngit bisect skip c\n";
        let log = Log::read(edited).expect("a log");
        let plain = |id: &str, answer| Mark {
            candidate: Candidate { id: id.to_owned(), title: String::new() },
            judged: None,
            answer,
        };
        assert_eq!(log.marks, [plain("d", Answer::Good), plain("c", Answer::Skip)]);
    }

    #[test]
    fn a_log_of_gits_own_is_none_of_ours() {
        assert_eq!(Log::read("git bisect start\n# bad: [x] y\n"), None);
        assert_eq!(Log::read(""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_back(good in "[a-z' /.]{1,9}", title in "[^\\pC]{0,9}", marks: Vec<u8>, done: bool, git: bool) {
            let ends = [candidate(good.trim()), candidate("x")];
            let mut writer = Writer::new(if git { "git" } else { "bootling" }, &ends, &[]);
            let mark = |number: &u8| Mark {
                candidate: Candidate { id: format!("c{number}"), title: title.clone() },
                judged: Kind::ALL.get(usize::from(number % 8)).map(|kind| Judged { kind: *kind, why: format!("{title}: x") }),
                answer: Answer::ALL[usize::from(number % 3)],
            };
            let marks: Vec<Mark> = marks.iter().map(mark).collect();
            for end in marks.iter().take(2) {
                writer.end(end);
            }
            for mark in &marks {
                writer.mark(mark);
            }
            if done {
                writer.found(&ends);
            }
            let ends = Some(ends.map(|end| end.id));
            let tested_ends = marks.iter().take(2).cloned().collect();
            let expected = Log { ends, tested_ends, checked: false, no_boot: None, marks, done };
            prop_assert_eq!(Log::read(&writer.text), Some(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String, rest in any::<String>()) {
            let _ = Log::read(&text);
            let _ = Log::read(&format!("# bootling bisect log 1\ngit bisect start '{rest}\ngit bisect {text}"));
        }
    }
}

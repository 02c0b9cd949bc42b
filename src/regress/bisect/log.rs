//! The log of a bisection: what `git bisect replay` reads, with what bootling knows in comments.
//!
//! Comes from a file that anybody may have edited: read line by line, what is not known is passed over, as git does.

use std::fmt::Write as _;

use super::{Answer, Candidate, Judged};

/// The first line.
const HEAD: &str = "# bootling bisect log 1";
/// What begins what bootling alone understands.
const OURS: &str = "# bootling: ";
/// Says that the ends were tested.
const CHECKED: &str = "the ends are what they are said to be";
/// Says what was made of what does not boot.
const NO_BOOT: &str = "what does not boot is ";
/// Says that it came to its end.
const DONE: &str = "done";

/// A bisection, as far as it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Its good end and its bad one.
    pub ends: Option<[String; 2]>,
    /// Whether those were tested.
    pub checked: bool,
    /// What was made of what does not boot, where that was settled.
    pub no_boot: Option<Answer>,
    /// Answers, in order.
    pub marks: Vec<(Answer, String)>,
    /// Whether it came to its end.
    pub done: bool,
}

impl Log {
    /// Reads one; `None` where it is no log of ours.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()?.trim_end() != HEAD {
            return None;
        }
        let mut log = Self::default();
        for line in lines {
            if let Some(ours) = line.strip_prefix(OURS) {
                log.checked |= ours == CHECKED;
                log.done |= ours == DONE;
                let no_boot = ours.strip_prefix(NO_BOOT).and_then(answer);
                log.no_boot = no_boot.or(log.no_boot);
                continue;
            }
            let Some(words) = line.strip_prefix("git bisect ").or_else(|| line.strip_prefix("bootling bisect ")) else {
                continue;
            };
            let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
            match (verb, answer(verb)) {
                ("start", _) => log.ends = ends(rest),
                (_, Some(answer)) => log.marks.push((answer, unquoted(rest.trim()))),
                (_, None) => {}
            }
        }
        Some(log)
    }
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
            let _ = writeln!(text, "# {}", one_line(line));
        }
        let _ = writeln!(
            text,
            "# bad: [{}] {}\n# good: [{}] {}",
            bad.id,
            one_line(&bad.title),
            good.id,
            one_line(&good.title)
        );
        let _ = writeln!(text, "{program} bisect start {} {}", quoted(&bad.id), quoted(&good.id));
        Self { program, text }
    }

    /// The ends were tested.
    pub fn checked(&mut self, no_boot: Option<Answer>) {
        let _ = writeln!(self.text, "{OURS}{CHECKED}");
        if let Some(answer) = no_boot {
            let _ = writeln!(self.text, "{OURS}{NO_BOOT}{}", answer.name());
        }
    }

    /// A step.
    pub fn mark(&mut self, candidate: &Candidate, judged: Option<&Judged>, answer: Answer) {
        if let Some(judged) = judged {
            let _ = writeln!(self.text, "{OURS}{}: {}", judged.kind.name(), one_line(&judged.why));
        }
        let Self { program, text } = self;
        let id = if *program == "git" { candidate.id.clone() } else { quoted(&candidate.id) };
        let _ = writeln!(text, "# {}: [{}] {}", answer.name(), candidate.id, one_line(&candidate.title));
        let _ = writeln!(text, "{program} bisect {} {id}", answer.name());
    }

    /// The end of it.
    pub fn found(&mut self, suspects: &[Candidate]) {
        let what = if suspects.len() == 1 { "first bad" } else { "possible first bad" };
        for Candidate { id, title } in suspects {
            let _ = writeln!(self.text, "# {what}: [{id}] {}", one_line(title));
        }
        let _ = writeln!(self.text, "{OURS}{DONE}");
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Log, Writer};
    use crate::regress::bisect::{Answer, Candidate, Judged, Kind};
    use expect_test::expect;
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    fn candidate(id: &str) -> Candidate {
        Candidate { id: id.to_owned(), title: format!("the subject of {id}\nand no more") }
    }

    #[test]
    fn what_is_written_is_what_git_replays() {
        let mut log = Writer::new("git", &[candidate("aaa"), candidate("bbb")], &["build: make -j8".to_owned()]);
        log.checked(Some(Answer::Skip));
        let judged = Judged { kind: Kind::NotBuilt, why: "exit 2".to_owned() };
        log.mark(&candidate("ccc"), Some(&judged), Answer::Skip);
        log.mark(&candidate("ddd"), None, Answer::Good);
        log.found(&[candidate("bbb")]);
        expect![[r"
            # bootling bisect log 1
            # build: make -j8
            # bad: [bbb] the subject of bbb and no more
            # good: [aaa] the subject of aaa and no more
            git bisect start 'bbb' 'aaa'
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
    fn a_log_of_gits_own_is_none_of_ours() {
        assert_eq!(Log::read("git bisect start\n# bad: [x] y\n"), None);
        assert_eq!(Log::read(""), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_back(good in "[a-z' /.]{1,9}", marks: Vec<u8>, done: bool, git: bool) {
            let ends = [candidate(good.trim()), candidate("x")];
            let mut writer = Writer::new(if git { "git" } else { "bootling" }, &ends, &[]);
            let marks: Vec<(Answer, String)> =
                marks.iter().map(|mark| (Answer::ALL[usize::from(mark % 3)], format!("c{mark}"))).collect();
            for (answer, id) in &marks {
                writer.mark(&candidate(id), None, *answer);
            }
            if done {
                writer.found(&ends);
            }
            let ends = Some(ends.map(|end| end.id));
            let expected = Log { ends, checked: false, no_boot: None, marks, done };
            prop_assert_eq!(Log::read(&writer.text), Some(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String, rest in any::<String>()) {
            let _ = Log::read(&text);
            let _ = Log::read(&format!("# bootling bisect log 1\ngit bisect start '{rest}\ngit bisect {text}"));
        }
    }
}

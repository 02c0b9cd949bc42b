//! `JUnit` XML in the dialect of Maven Surefire (`surefire-test-report.xsd`, version 3), which Jenkins, GitLab and GitHub
//! actions read.
//!
//! A test suite is a kernel and a machine; a test case is a cell, or a part of a cell whose output is TAP. A cell that did
//! not run is an error: servers accept builds whose tests were skipped, and only a test itself can report a skip. Failed
//! attempts before a passed one are `flakyFailure`s; if the last attempt failed too, it is the `failure` and the earlier
//! ones are `rerunFailure`s.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestRerun, TestSuite, XmlString};

use super::date::date;
use super::{Attempt, CellReport, Format, Part, PartResult, Report, Standing, Status, story};
use crate::format::guest_text::{self, one_line};

/// The format.
pub(super) static FORMAT: Format = Format {
    name: "junit",
    help: "Write JUnit XML to FILE (`-` for standard output)",
    write: |report, _, out| write(report, out),
};

/// Writes a report.
fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut document = quick_junit::Report::new(one_line(&report.header.suite));
    document.add_test_suites(suites(report));
    // The suites' times add up to more, since cells run in parallel.
    document.set_time(duration(report.header.duration_s));
    let mut buffered = io::BufWriter::new(out);
    document.serialize(&mut buffered).map_err(io::Error::other)?;
    buffered.flush()
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Returns the suites in the order of their first cells.
fn suites(report: &Report) -> Vec<TestSuite> {
    let mut suites: Vec<TestSuite> = Vec::new();
    let mut indexes = HashMap::new();
    let mut names = Names::default();
    for cell in &report.cells {
        let index = *indexes.entry((cell.kernel.as_str(), cell.machine.as_str())).or_insert_with(|| {
            suites.push(suite(report, &cell.kernel, &cell.machine));
            suites.len() - 1
        });
        let suite = &mut suites[index];
        suite.set_time(suite.time.unwrap_or_default().saturating_add(duration(cell.seconds())));
        let class = [&report.header.suite, &cell.kernel, &cell.machine].map(|name| class_word(name)).join(".");
        suite.add_test_cases(test_cases(cell, &class, &mut names));
    }
    suites
}

/// Returns the suite of a kernel and a machine, without test cases.
fn suite(report: &Report, kernel: &str, machine: &str) -> TestSuite {
    let header = &report.header;
    let mut suite = TestSuite::new(format!("{} / {}", one_line(kernel), one_line(machine)));
    suite.timestamp = date(header.started).parse().ok();
    let shard = header.shard.map(|shard| shard.to_string());
    let properties = [
        ("kernel", Some(kernel)),
        ("machine", Some(machine)),
        ("bootling", Some(header.bootling.as_str())),
        ("kernel-release", header.kernels.get(kernel).map(String::as_str)),
        ("qemu", header.qemu.as_deref()),
        ("shard", shard.as_deref()),
        ("ended-early", header.ended_early.as_deref()),
    ];
    for (name, value) in properties {
        suite.properties.extend(value.map(|value| Property::new(name, one_line(value))));
    }
    suite
}

/// Returns one component of a class name. Servers treat a point as a package separator: `6.1` would be two packages.
fn class_word(name: &str) -> String {
    one_line(name).replace('.', "_")
}

/// Classes and names of the test cases so far, with the number of cases that share them.
#[derive(Debug, Default)]
struct Names(HashMap<(String, String), u32>);

impl Names {
    /// Returns a name that no other test case of the class has: servers keep only one of several results of the same
    /// name. The second one becomes `NAME #2`.
    fn unique(&mut self, class: &str, name: String) -> String {
        let mut count = *self.0.entry((class.to_owned(), name.clone())).and_modify(|count| *count += 1).or_insert(1);
        if count == 1 {
            return name;
        }
        loop {
            let numbered = (class.to_owned(), format!("{name} #{count}"));
            if !self.0.contains_key(&numbered) {
                self.0.insert((class.to_owned(), name), count);
                self.0.insert(numbered.clone(), 1);
                return numbered.1;
            }
            count += 1;
        }
    }
}

/// Returns the test case of a cell, followed by those of its parts.
fn test_cases(cell: &CellReport, class: &str, names: &mut Names) -> Vec<TestCase> {
    let name = match cell.repetition {
        Some(repetition) => format!("{}#{repetition}", one_line(&cell.test)),
        None => one_line(&cell.test),
    };
    let last = cell.final_attempt();
    let mut case = TestCase::new(names.unique(class, name.clone()), status(cell));
    case.set_classname(class).set_time(duration(cell.seconds()));
    case.system_out = last.and_then(|attempt| text(&attempt.stdout));
    case.system_err = last.and_then(|attempt| text(&attempt.stderr));
    let class = format!("{class}.{}", class_word(&name));
    let parts = last.map_or(&[][..], |attempt| &attempt.parts);
    std::iter::once(case).chain(parts.iter().map(|part| part_case(&part.shown(), &class, names))).collect()
}

fn status(cell: &CellReport) -> TestCaseStatus {
    let (mut status, kind) = match cell.standing() {
        Standing::Passed | Standing::Flaky => (TestCaseStatus::success(), NonSuccessKind::Failure),
        // Servers have no other status for failures that do not count.
        Standing::Skipped | Standing::Known => (TestCaseStatus::skipped(), NonSuccessKind::Failure),
        Standing::Failed | Standing::Unexpected => {
            (TestCaseStatus::non_success(NonSuccessKind::Failure), NonSuccessKind::Failure)
        }
        Standing::Error | Standing::NotRun => {
            (TestCaseStatus::non_success(NonSuccessKind::Error), NonSuccessKind::Error)
        }
    };
    status.set_message(cell.standing_reason());
    if cell.standing() == Standing::Unexpected {
        status.set_type("unexpectedly-passing");
    } else if !cell.is_good() {
        let story = cell.final_attempt().map(story).unwrap_or_default();
        let description = format!("{story}\nto repeat it:\n    {}\n", one_line(&cell.repeat));
        status.set_type(failure_type(cell.final_attempt(), cell.status));
        status.set_description(xml_text(description.trim_start()));
    }
    let earlier = cell.attempts.split_last().map_or(&[][..], |(_, earlier)| earlier);
    status.add_reruns(earlier.iter().map(|attempt| rerun(attempt, kind, cell.status)));
    status
}

/// Returns an earlier attempt, with its own output.
fn rerun(attempt: &Attempt, kind: NonSuccessKind, status: Status) -> TestRerun {
    let mut rerun = TestRerun::new(kind);
    rerun.set_message(one_line(attempt.cause.as_deref().unwrap_or("it failed")));
    rerun.set_type(failure_type(Some(attempt), status));
    rerun.stack_trace = text(&story(attempt));
    rerun.system_out = text(&attempt.stdout);
    rerun.system_err = text(&attempt.stderr);
    rerun
}

/// Returns the kind of failure as one word.
fn failure_type(attempt: Option<&Attempt>, status: Status) -> String {
    let outcome = attempt.and_then(|attempt| attempt.outcome.as_deref());
    outcome.map_or_else(|| status.name().to_owned(), one_line)
}

fn part_case(part: &Part, class: &str, names: &mut Names) -> TestCase {
    let detail = one_line(&part.detail);
    let status = match part.result {
        PartResult::Passed => TestCaseStatus::success(),
        PartResult::Skipped => TestCaseStatus::skipped().set_message(detail).clone(),
        PartResult::Todo => TestCaseStatus::skipped().set_message(todo_reason(&detail)).clone(),
        PartResult::Failed | PartResult::Missing => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(detail).set_type(part.result.name()).set_description(xml_text(&part.detail));
            status
        }
    };
    let mut case = TestCase::new(names.unique(class, one_line(&part.name)), status);
    case.set_classname(class).set_time(Duration::ZERO);
    case
}

/// Returns why a failed part does not count.
fn todo_reason(detail: &str) -> String {
    if detail.starts_with("known failure: ") { detail.to_owned() } else { format!("known to fail: {detail}") }
}

/// Returns guest text; `None` if it is empty.
fn text(text: &str) -> Option<XmlString> {
    Some(xml_text(text)).filter(|text| !text.is_empty())
}

/// Sanitizes guest text. Tabs become blanks, since [`XmlString`] drops them.
fn xml_text(text: &str) -> XmlString {
    guest_text::text(text).replace('\t', "    ").into()
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::suite::report::{Part, PartResult, Report};
    use crate::suite::tests::sample::{HOSTILE, many, sample};
    use expect_test::expect_file;
    use quick_xml::Reader;
    use quick_xml::events::Event;
    use std::collections::{HashMap, HashSet};

    fn xml(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    /// An element of a parsed report.
    #[derive(Debug, Default)]
    struct Element {
        name: String,
        attributes: HashMap<String, String>,
        text: String,
        children: Vec<Element>,
    }

    impl Element {
        fn all<'a>(&'a self, name: &str) -> Vec<&'a Element> {
            self.children.iter().filter(|child| child.name == name).collect()
        }

        fn number(&self, name: &str) -> usize {
            self.attributes[name].parse().expect("a number")
        }
    }

    fn parse(text: &str) -> Element {
        let mut reader = Reader::from_str(text);
        let mut open = vec![Element::default()];
        let start = |event: &quick_xml::events::BytesStart<'_>| Element {
            name: String::from_utf8(event.name().as_ref().to_vec()).expect("a name"),
            attributes: event
                .attributes()
                .map(|attribute| attribute.expect("an attribute"))
                .map(|attribute| {
                    let value =
                        attribute.normalized_value(quick_xml::XmlVersion::Implicit1_0).expect("a value").into_owned();
                    (String::from_utf8(attribute.key.as_ref().to_vec()).expect("a name"), value)
                })
                .collect(),
            ..Element::default()
        };
        loop {
            match reader.read_event().expect("well-formed XML") {
                Event::Start(event) => open.push(start(&event)),
                Event::Empty(event) => open.last_mut().expect("a root").children.push(start(&event)),
                Event::End(_) => {
                    let done = open.pop().expect("an open element");
                    open.last_mut().expect("a root").children.push(done);
                }
                Event::Text(text) => {
                    open.last_mut().expect("a root").text += &text.decode().expect("text");
                }
                Event::GeneralRef(entity) => {
                    let letter = match entity.decode().expect("an entity").as_ref() {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "quot" => '"',
                        "apos" => '\'',
                        other => panic!("entity {other}"),
                    };
                    open.last_mut().expect("a root").text.push(letter);
                }
                Event::Decl(_) => {}
                Event::Eof => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        let mut root = open.pop().expect("the root");
        assert!(open.is_empty() && root.children.len() == 1);
        root.children.remove(0)
    }

    /// Checks the rules of the schemas of Surefire and Jenkins that apply to these reports.
    fn check(root: &Element) {
        let stream = ["system-out", "system-err"];
        let result = ["failure", "error", "skipped", "flakyFailure", "rerunFailure", "rerunError"];
        assert_eq!(root.name, "testsuites");
        let mut sums = [0; 4];
        for suite in &root.children {
            assert_eq!(suite.name, "testsuite");
            assert!(suite.attributes["time"].parse::<f64>().expect("a time") >= 0.0);
            assert_eq!(suite.children[0].name, "properties");
            let cases = suite.all("testcase");
            assert_eq!(cases.len() + 1, suite.children.len());
            let with = |name: &str| cases.iter().filter(|case| !case.all(name).is_empty()).count();
            let counts = [cases.len(), with("failure"), with("error"), with("skipped")];
            for (at, name) in ["tests", "failures", "errors", "skipped"].into_iter().enumerate() {
                assert_eq!(suite.number(name), counts[at], "{name}");
                sums[at] += counts[at];
            }
            let names: HashSet<_> =
                cases.iter().map(|case| (&case.attributes["classname"], &case.attributes["name"])).collect();
            assert_eq!(names.len(), cases.len(), "servers keep one result per name");
            for case in cases {
                assert!(!case.attributes["name"].is_empty() && !case.attributes["classname"].is_empty());
                let names: Vec<_> = case.children.iter().map(|child| child.name.as_str()).collect();
                assert!(names.iter().all(|name| result.contains(name) || stream.contains(name)), "{names:?}");
                let final_ones = ["failure", "error", "skipped"];
                assert!(names.iter().filter(|name| final_ones.contains(name)).count() <= 1, "{names:?}");
                let results = names.iter().take_while(|name| result.contains(name)).count();
                assert!(names[results..].iter().all(|name| stream.contains(name)), "{names:?}");
                for again in case.children.iter().filter(|child| child.name.starts_with(['r', 'f'])) {
                    assert!(again.attributes.contains_key("message") && again.attributes.contains_key("type"));
                    let inner: Vec<_> = again.children.iter().map(|child| child.name.as_str()).collect();
                    let order = ["stackTrace", "system-out", "system-err"];
                    assert!(inner.is_sorted_by_key(|name| order.iter().position(|other| other == name)));
                }
            }
        }
        for (at, name) in ["tests", "failures", "errors", "skipped"].into_iter().enumerate() {
            assert_eq!(root.number(name), sums[at], "{name}");
        }
    }

    #[test]
    fn a_report_follows_the_schemas_and_is_complete() {
        let text = xml(&sample());
        expect_file!["golden/sample.xml"].assert_eq(&text);
        let root = parse(&text);
        check(&root);
        assert_eq!(root.number("errors"), 2, "a cell that did not run is not a success");
    }

    #[test]
    fn text_is_unchanged_except_for_characters_that_xml_forbids() {
        let text = xml(&sample());
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'));
        let root = parse(&text);
        let case = root.children[0].all("testcase")[2];
        assert_eq!(case.attributes["name"], "kselftest");
        let out = &case.all("system-out")[0].text;
        assert_eq!(*out, HOSTILE.replace("\u{1b}[31m\0", ""));
    }

    #[test]
    fn columns_separated_by_tabs_remain_separate() {
        let mut report = sample();
        report.cells[0].attempts[0].stdout = "a\tb\n".to_owned();
        assert!(xml(&report).contains("<system-out>a    b\n</system-out>"));
    }

    #[test]
    fn parts_of_the_same_name_are_separate_test_cases() {
        let mut report = sample();
        report.cells.truncate(1);
        let part = |name: &str| Part { name: name.to_owned(), result: PartResult::Failed, ..Part::default() };
        report.cells[0].attempts[0].parts = ["a", "a", "a #2", "b", "a"].map(part).into();
        let root = parse(&xml(&report));
        check(&root);
        let names: Vec<_> = root.children[0].all("testcase").iter().map(|case| &case.attributes["name"]).collect();
        assert_eq!(names[1..], ["a", "a #2", "a #2 #2", "b", "a #3"]);
        report.cells[0].attempts[0].parts = vec![part("same"); 10_000];
        check(&parse(&xml(&report)));
    }

    #[test]
    fn ten_thousand_results_are_written() {
        let root = parse(&xml(&many(10_000)));
        check(&root);
        assert_eq!(root.children.len(), 100);
    }
}

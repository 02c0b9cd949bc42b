//! `JUnit` XML in the dialect of Maven's Surefire (its `surefire-test-report.xsd`, version 3), which Jenkins, GitLab and
//! the actions of GitHub read.
//!
//! A suite is what ran on one kernel and one machine; a test case is a cell, and each part of one that speaks TAP. A cell
//! that did not run is an error: a server would call a build of skipped tests good, and only a test itself says that it was.
//! Tries that failed before
//! one that passed are `flakyFailure`s; where the last one failed too, it is the `failure` and they are `rerunFailure`s.

use std::borrow::Cow;
use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::date::date;
use super::{Attempt, CellReport, Part, PartResult, Report, Status, one_line, plain, story};

/// How many of what.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
    seconds: f64,
}

/// What ran on one kernel and one machine.
struct Suite<'a> {
    kernel: &'a str,
    machine: &'a str,
    cells: Vec<&'a CellReport>,
    tally: Tally,
}

impl Tally {
    fn of(cell: &CellReport) -> Self {
        let mut tally = Self { tests: 1, seconds: cell.seconds(), ..Self::default() };
        match cell.status {
            Status::Passed | Status::Flaky => {}
            Status::Skipped => tally.skipped += 1,
            Status::Failed => tally.failures += 1,
            Status::Error | Status::NotRun => tally.errors += 1,
        }
        for part in parts(cell) {
            tally.tests += 1;
            match part.result {
                PartResult::Passed => {}
                PartResult::Failed | PartResult::Missing => tally.failures += 1,
                PartResult::Skipped | PartResult::Todo => tally.skipped += 1,
            }
        }
        tally
    }

    fn add(&mut self, other: &Self) {
        self.tests += other.tests;
        self.failures += other.failures;
        self.errors += other.errors;
        self.skipped += other.skipped;
        self.seconds += other.seconds;
    }

    fn attributes(&self) -> [(&'static str, String); 5] {
        [
            ("tests", self.tests.to_string()),
            ("failures", self.failures.to_string()),
            ("errors", self.errors.to_string()),
            ("skipped", self.skipped.to_string()),
            ("time", seconds(self.seconds)),
        ]
    }
}

/// The parts that the deciding try told of.
fn parts(cell: &CellReport) -> &[Part] {
    cell.last().map_or(&[], |attempt| &attempt.parts)
}

fn seconds(time: f64) -> String {
    format!("{time:.3}")
}

/// Writes a report.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let suites = suites(report);
    let mut all = Tally::default();
    for suite in &suites {
        all.add(&suite.tally);
    }
    // What ran side by side took less than its sum.
    all.seconds = report.header.duration_s;
    let mut buffered = io::BufWriter::new(out);
    let mut xml = Writer::new_with_indent(&mut buffered, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    element(&mut xml, "testsuites", [("name", one_line(&report.header.suite))].into_iter().chain(all.attributes()))
        .write_inner_content(|xml| suites.iter().try_for_each(|suite| write_suite(report, suite, xml)))?;
    buffered.write_all(b"\n")?;
    buffered.flush()
}

/// An element with these attributes.
fn element<'a, W: Write>(
    xml: &'a mut Writer<W>,
    name: &'static str,
    attributes: impl IntoIterator<Item = (&'static str, String)>,
) -> quick_xml::writer::ElementWriter<'a, W> {
    let mut element = xml.create_element(name);
    for (name, value) in attributes {
        element = element.with_attribute((name, value.as_str()));
    }
    element
}

/// The suites, in the order in which their first cells stand.
fn suites(report: &Report) -> Vec<Suite<'_>> {
    let mut suites: Vec<Suite<'_>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for cell in &report.cells {
        let place = *places.entry((cell.kernel.as_str(), cell.machine.as_str())).or_insert_with(|| {
            let (kernel, machine) = (cell.kernel.as_str(), cell.machine.as_str());
            suites.push(Suite { kernel, machine, cells: Vec::new(), tally: Tally::default() });
            suites.len() - 1
        });
        suites[place].cells.push(cell);
        suites[place].tally.add(&Tally::of(cell));
    }
    suites
}

fn write_suite<W: Write>(report: &Report, suite: &Suite<'_>, xml: &mut Writer<W>) -> io::Result<()> {
    let header = &report.header;
    let (kernel, machine) = (one_line(suite.kernel), one_line(suite.machine));
    let attributes = [("name", format!("{kernel} / {machine}")), ("timestamp", date(header.started))];
    let mut properties = vec![("kernel", kernel), ("machine", machine), ("bootling", one_line(&header.bootling))];
    properties.extend(header.kernels.get(suite.kernel).map(|release| ("kernel-release", one_line(release))));
    properties.extend(header.qemu.as_ref().map(|version| ("qemu", one_line(version))));
    properties.extend(header.shard.map(|shard| ("shard", format!("{}/{}", shard.index, shard.total))));
    properties.extend(header.ended_early.as_ref().map(|why| ("ended-early", one_line(why))));
    let class = [&header.suite, suite.kernel, suite.machine].map(class_word).join(".");
    element(xml, "testsuite", attributes.into_iter().chain(suite.tally.attributes())).write_inner_content(|xml| {
        xml.create_element("properties").write_inner_content(|xml| {
            properties.into_iter().try_for_each(|(name, value)| {
                element(xml, "property", [("name", name.to_owned()), ("value", value)]).write_empty().map(drop)
            })
        })?;
        suite.cells.iter().try_for_each(|cell| write_cell(cell, &class, xml))
    })?;
    Ok(())
}

/// A word of a class name. Servers take a point for the border between packages, and `6.1` would be two.
fn class_word(name: impl AsRef<str>) -> String {
    one_line(name.as_ref()).replace('.', "_")
}

fn write_cell<W: Write>(cell: &CellReport, class: &str, xml: &mut Writer<W>) -> io::Result<()> {
    let name = match cell.repetition {
        Some(repetition) => format!("{}#{repetition}", one_line(&cell.test)),
        None => one_line(&cell.test),
    };
    let attributes = [("name", name.clone()), ("classname", class.to_owned()), ("time", seconds(cell.seconds()))];
    let case = element(xml, "testcase", attributes);
    let silent = |attempt: &Attempt| attempt.stdout.is_empty() && attempt.stderr.is_empty();
    if cell.status == Status::Passed && cell.last().is_none_or(silent) {
        case.write_empty()?;
    } else {
        case.write_inner_content(|xml| write_result(cell, xml))?;
    }
    let class = format!("{class}.{}", class_word(&name));
    parts(cell).iter().try_for_each(|part| write_part(part, &class, xml))
}

/// What came of a cell, and of each of its tries.
fn write_result<W: Write>(cell: &CellReport, xml: &mut Writer<W>) -> io::Result<()> {
    let (first, again) = match cell.status {
        Status::Passed | Status::Flaky | Status::Skipped => (None, "flakyFailure"),
        Status::Failed => (Some("failure"), "rerunFailure"),
        Status::Error | Status::NotRun => (Some("error"), "rerunError"),
    };
    if let Some(name) = first {
        let kind = kind_of(cell.last(), cell.status);
        let told = cell.last().map(story).unwrap_or_default();
        let text = format!("{told}\nto repeat it:\n    {}\n", one_line(&cell.repeat));
        element(xml, name, [("message", cell.reason()), ("type", kind)])
            .write_text_content(BytesText::new(text.trim_start()))?;
    }
    if cell.status == Status::Skipped {
        element(xml, "skipped", [("message", cell.reason())]).write_empty()?;
    }
    let before = cell.attempts.len().saturating_sub(1);
    for attempt in cell.attempts.iter().take(before) {
        let message = one_line(attempt.cause.as_deref().unwrap_or("it failed"));
        let attributes = [("message", message), ("type", kind_of(Some(attempt), cell.status))];
        element(xml, again, attributes).write_inner_content(|xml| {
            text_element(xml, "stackTrace", &story(attempt))?;
            streams(attempt, xml)
        })?;
    }
    // The output of the try that decided: the others have theirs within them.
    cell.last().map_or(Ok(()), |attempt| streams(attempt, xml))
}

/// A word for the kind of failure.
fn kind_of(attempt: Option<&Attempt>, status: Status) -> String {
    let outcome = attempt.and_then(|attempt| attempt.outcome.as_deref());
    outcome.map_or_else(|| status.name().to_owned(), one_line)
}

fn streams<W: Write>(attempt: &Attempt, xml: &mut Writer<W>) -> io::Result<()> {
    text_element(xml, "system-out", &attempt.stdout)?;
    text_element(xml, "system-err", &attempt.stderr)
}

/// An element with text; none where there is none.
fn text_element<W: Write>(xml: &mut Writer<W>, name: &'static str, text: &str) -> io::Result<()> {
    let text: Cow<'_, str> = plain(text);
    if !text.is_empty() {
        xml.create_element(name).write_text_content(BytesText::new(&text))?;
    }
    Ok(())
}

fn write_part<W: Write>(part: &Part, class: &str, xml: &mut Writer<W>) -> io::Result<()> {
    let attributes = [("name", one_line(&part.name)), ("classname", class.to_owned()), ("time", seconds(0.0))];
    let case = element(xml, "testcase", attributes);
    let detail = one_line(&part.detail);
    match part.result {
        PartResult::Passed => case.write_empty().map(drop),
        PartResult::Skipped | PartResult::Todo => {
            let known = part.result == PartResult::Todo;
            let message = if known { format!("known to fail: {detail}") } else { detail };
            case.write_inner_content(|xml| element(xml, "skipped", [("message", message)]).write_empty().map(drop))
                .map(drop)
        }
        PartResult::Failed | PartResult::Missing => {
            let kind = ("type", part.result.name().to_owned());
            case.write_inner_content(|xml| {
                element(xml, "failure", [("message", detail), kind])
                    .write_text_content(BytesText::new(&plain(&part.detail)))
                    .map(drop)
            })
            .map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::write;
    use crate::suite::report::Report;
    use crate::suite::tests::sample::{HOSTILE, many, sample};
    use expect_test::expect_file;
    use quick_xml::Reader;
    use quick_xml::events::Event;
    use std::collections::HashMap;

    fn xml(report: &Report) -> String {
        let mut out = Vec::new();
        write(report, &mut out).expect("memory");
        String::from_utf8(out).expect("UTF-8")
    }

    /// An element, as a reader of the report sees it.
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
                    let done = open.pop().expect("it was opened");
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
                other => panic!("{other:?} has no place in a report"),
            }
        }
        let mut root = open.pop().expect("the root");
        assert!(open.is_empty() && root.children.len() == 1);
        root.children.remove(0)
    }

    /// The rules of Surefire's and Jenkins' schemas, as far as we use them.
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
    fn a_report_keeps_the_schemas_rules_and_says_all_there_is() {
        let text = xml(&sample());
        expect_file!["golden/sample.xml"].assert_eq(&text);
        let root = parse(&text);
        check(&root);
        assert_eq!(root.number("errors"), 2, "what did not run is no success");
    }

    #[test]
    fn what_xml_forbids_is_gone_and_the_rest_is_as_it_was() {
        let text = xml(&sample());
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'));
        let root = parse(&text);
        let case = root.children[0].all("testcase")[2];
        assert_eq!(case.attributes["name"], "kselftest");
        let out = &case.all("system-out")[0].text;
        assert_eq!(*out, HOSTILE.replace("\u{1b}[31m\0", ""));
    }

    #[test]
    fn ten_thousand_results_are_written_at_once() {
        let root = parse(&xml(&many(10_000)));
        check(&root);
        assert_eq!(root.children.len(), 100);
    }
}

//! Recognizes TAP that no version line announces, as many kselftests and shell scripts print it.
//!
//! Text that merely resembles TAP must not fail a test. A plan without results, and results without a plan, are
//! therefore ordinary text; and so are lines such as `ok`, unless the output starts with a plan for them.

use super::line::{Line, LineKind};
use super::{Opening, lines};

/// Contents of the lines of an output that are not indented.
#[derive(Debug, Default)]
struct Contents {
    /// The first plan and the number of results before it.
    plan: Option<(u64, u64)>,
    results: u64,
    /// Number of the first result.
    first_number: Option<u64>,
    /// True if the first line that is not a comment is a plan.
    starts_with_plan: bool,
}

/// Returns how to parse an output without a version line; `None` if it is not TAP.
pub(super) fn opening(text: &[u8]) -> Option<Opening> {
    let mut contents = Contents::default();
    let mut is_first = true;
    for line in lines(text) {
        let Line { prefix, kind } = Line::of(&line);
        let is_comment = line.trim().is_empty() || line.starts_with('#');
        if prefix.is_empty() {
            match kind {
                LineKind::Plan { count: 0, reason } if contents.results == 0 && is_skip(reason) => {
                    return Some(Opening::Undeclared { is_numbered: true });
                }
                LineKind::Plan { count, .. } if contents.plan.is_none() => {
                    contents.plan = Some((count, contents.results));
                    contents.starts_with_plan = is_first;
                }
                LineKind::Result(point) => {
                    if contents.results == 0 {
                        contents.first_number = point.number;
                    }
                    contents.results += 1;
                }
                LineKind::Plan { .. }
                | LineKind::Version { .. }
                | LineKind::BailOut(_)
                | LineKind::Subtest(_)
                | LineKind::Yaml { .. }
                | LineKind::Other(_) => {}
            }
        }
        is_first &= is_comment;
    }
    contents.opening()
}

impl Contents {
    fn opening(&self) -> Option<Opening> {
        let (planned, before) = self.plan.filter(|_| self.results > 0)?;
        // The plan precedes or follows all results.
        if before != 0 && before != self.results {
            return None;
        }
        let is_numbered = self.first_number.is_some();
        let fits = match self.first_number {
            Some(number) => (1..=planned).contains(&number),
            None => self.starts_with_plan && self.results <= planned,
        };
        fits.then_some(Opening::Undeclared { is_numbered })
    }
}

/// Returns true if the reason of an empty plan says that the test is skipped.
fn is_skip(reason: &str) -> bool {
    reason.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("skip"))
}

//! Two-column diff, like `diff -y`, except that long lines wrap: differences are often at their end.

use std::time::Duration;

use similar::{DiffOp, TextDiff};

use super::unified::DIFF_TIMEOUT;
use super::{Difference, Row, RowKind, texts};

/// Distance between tab stops, in columns.
const TAB: usize = 8;
/// Minimum column width.
const MIN_COLUMN: usize = 10;

/// Returns the rows for a terminal of `width` columns, with `context` lines around each change.
pub fn columns(difference: &Difference, labels: [&str; 2], width: usize, context: usize) -> Vec<Row> {
    // Leave one column free besides the gutter: terminals differ in how they wrap at the right margin.
    let page = TwoColumnPage { column: (width.saturating_sub(4) / 2).max(MIN_COLUMN), rows: Vec::new() };
    page.fill(difference, labels, context, DIFF_TIMEOUT)
}

struct TwoColumnPage {
    column: usize,
    rows: Vec<Row>,
}

impl TwoColumnPage {
    fn fill(mut self, difference: &Difference, labels: [&str; 2], context: usize, timeout: Duration) -> Vec<Row> {
        let name = difference.aspect.name();
        let [left, right] = labels.map(|label| format!("{name} with {label}"));
        self.row(RowKind::Head, ' ', &left, &right);
        let [left, right] = match texts(difference) {
            Ok(texts) => texts,
            Err(message) => {
                self.rows.push(Row::new(RowKind::Changed, message));
                return self.rows;
            }
        };
        let diff = TextDiff::configure().timeout(timeout).diff_lines(left, right);
        let (left, right): (Vec<&str>, Vec<&str>) =
            (diff.iter_old_slices().collect(), diff.iter_new_slices().collect());
        let groups = diff.grouped_ops(context);
        for (number, group) in groups.iter().enumerate() {
            if number > 0 {
                self.row(RowKind::Position, ' ', "...", "...");
            }
            for op in group {
                self.op(*op, &left, &right);
            }
        }
        self.rows
    }

    fn op(&mut self, op: DiffOp, left: &[&str], right: &[&str]) {
        let [left, right] = [left.get(op.old_range()), right.get(op.new_range())].map(Option::unwrap_or_default);
        for at in 0..left.len().max(right.len()) {
            let (one, other) = (left.get(at).copied(), right.get(at).copied());
            let (kind, sign) = match (one, other) {
                (Some(one), Some(other)) if one == other => (RowKind::Both, ' '),
                (Some(_), Some(_)) => (RowKind::Changed, '|'),
                (Some(_), None) => (RowKind::Left, '<'),
                (None, _) => (RowKind::Right, '>'),
            };
            self.row(kind, sign, one.unwrap_or_default(), other.unwrap_or_default());
        }
    }

    /// Adds one line of each side; wraps them to as many rows as the longer one needs.
    fn row(&mut self, kind: RowKind, sign: char, left: &str, right: &str) {
        let [left, right] = [left, right].map(|line| pieces(line.trim_end_matches(['\n', '\r']), self.column));
        for at in 0..left.len().max(right.len()).max(1) {
            let [one, other] = [&left, &right].map(|side| side.get(at).map(String::as_str).unwrap_or_default());
            let column = self.column;
            self.rows.push(Row::new(kind, format!("{one:column$} {sign} {other}").trim_end()));
        }
    }
}

/// Splits a line into pieces of the column's width. Expands tabs; replaces other control characters by dots, since they
/// would move the cursor.
fn pieces(line: &str, column: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let (mut piece, mut len) = (String::new(), 0);
    for letter in line.chars() {
        let (shown, count) = match letter {
            '\t' => (' ', TAB - len % TAB),
            letter if letter.is_control() => ('.', 1),
            letter => (letter, 1),
        };
        for _ in 0..count {
            if len == column {
                pieces.push(std::mem::take(&mut piece));
                len = 0;
            }
            piece.push(shown);
            len += 1;
        }
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::{columns, pieces};
    use crate::regress::compare::tests::{difference, shown};
    use expect_test::expect;

    #[test]
    fn matching_lines_are_side_by_side_and_long_lines_wrap() {
        let different = difference("same\nflags: a b c d e f\nonly here\nend\n", "same\nflags: a b c\nend\nnew\n");
        expect![[r"
            # stdout with one    stdout with two
              same               same
            | flags: a b c d e | flags: a b c
            |  f               |
            < only here        <
              end                end
            >                  > new
        "]]
        .assert_eq(&shown(&columns(&different, ["one", "two"], 36, 3)));
    }

    #[test]
    fn lines_far_from_any_change_are_omitted() {
        let lines: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let left = lines.join("\n");
        let right = left.replace("\n30\n", "\nx\n").replace("\n70\n", "\ny\n");
        let rows = columns(&difference(&left, &right), ["one", "two"], 40, 1);
        assert_eq!(rows.len(), 8, "{rows:?}");
        assert!(rows[4].text.contains("..."), "{rows:?}");
    }

    #[test]
    fn no_piece_is_wider_than_its_column() {
        assert_eq!(pieces("a\tb\x1b[31mc", 10), ["a       b.", "[31mc"]);
        assert_eq!(pieces("", 10), [""]);
    }
}

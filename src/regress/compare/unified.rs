//! Unified diff, as printed by `diff -u`; `patch` accepts it.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use super::{Difference, Row, RowKind, texts};

/// Time limit of the search for a minimal diff; after it, any valid diff is accepted.
pub(super) const DIFF_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the rows, with `context` lines around each change. `labels` name the sides.
pub fn unified(difference: &Difference, labels: [&str; 2], context: usize) -> Vec<Row> {
    let name = difference.aspect.name();
    let mut rows = vec![
        Row::new(RowKind::Head, format!("--- {name} with {}", labels[0])),
        Row::new(RowKind::Head, format!("+++ {name} with {}", labels[1])),
    ];
    let [left, right] = match texts(difference) {
        Ok(texts) => texts,
        Err(message) => {
            rows.push(Row::new(RowKind::Changed, message));
            return rows;
        }
    };
    let diff = TextDiff::configure().timeout(DIFF_TIMEOUT).diff_lines(left, right);
    for hunk in diff.unified_diff().context_radius(context).iter_hunks() {
        rows.push(Row::new(RowKind::Position, hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let (kind, sign) = match change.tag() {
                ChangeTag::Equal => (RowKind::Both, ' '),
                ChangeTag::Delete => (RowKind::Left, '-'),
                ChangeTag::Insert => (RowKind::Right, '+'),
            };
            let line: &str = change.value();
            rows.push(Row::new(kind, format!("{sign}{}", line.strip_suffix('\n').unwrap_or(line))));
            if change.missing_newline() {
                rows.push(Row::new(RowKind::Position, "\\ No newline at end of file"));
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::unified;
    use crate::regress::compare::tests::{difference, shown};
    use expect_test::expect;
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    #[test]
    fn rows_have_the_format_of_diff_u() {
        let different = difference("a\nb\nc\nd\ne\n", "a\nB\nc\nd\ne");
        expect![[r"
            # --- stdout with one
            # +++ stdout with the other
            @ @@ -1,5 +1,5 @@
               a
            < -b
            > +B
               c
               d
            < -e
            > +e
            @ \ No newline at end of file
        "]]
        .assert_eq(&shown(&unified(&different, ["one", "the other"], 3)));
        let rows = unified(&difference("a\nb\nc\n", "a\nb\nd\n"), ["x", "y"], 0);
        assert_eq!(rows[2].text, "@@ -3 +3 @@");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn both_sides_can_be_restored_from_the_rows(left in "[ab\n]{0,20}", right in "[ab\n]{0,20}") {
            let rows = unified(&difference(&left, &right), ["", ""], 100);
            let side = |own: char| {
                let mut text = String::new();
                let mut last = ' ';
                for row in &rows[2..] {
                    let sign = row.text.chars().next().unwrap_or(' ');
                    match sign {
                        '\\' if last == own || last == ' ' => drop(text.pop()),
                        sign if sign == own || sign == ' ' => {
                            text.push_str(&row.text[1..]);
                            text.push('\n');
                        }
                        _ => {}
                    }
                    last = sign;
                }
                text
            };
            if left != right {
                prop_assert_eq!(side('-'), left);
                prop_assert_eq!(side('+'), right);
            }
        }
    }
}

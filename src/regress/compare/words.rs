//! Compares outputs as sets of words, for lists without a significant order, such as CPU flags.

use std::collections::BTreeSet;

use super::{Difference, Row, RowKind};

/// Words that are present on only one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Words only on the left side.
    pub(crate) left: Vec<String>,
    /// Words only on the right side.
    pub(crate) right: Vec<String>,
    /// Number of words on both sides.
    pub(crate) both: usize,
}

/// Splits both sides at white space and compares the sets.
pub fn words(difference: &Difference) -> Words {
    let texts = [&difference.left, &difference.right].map(|bytes| String::from_utf8_lossy(bytes));
    let [left, right]: [BTreeSet<&str>; 2] = [0, 1].map(|side: usize| texts[side].split_whitespace().collect());
    let own = |one: &BTreeSet<&str>, other| one.difference(other).map(|word| (*word).to_owned()).collect();
    Words { left: own(&left, &right), right: own(&right, &left), both: left.intersection(&right).count() }
}

impl Words {
    /// Returns true if both sides have the same words.
    pub(crate) fn is_same(&self) -> bool {
        self.left.is_empty() && self.right.is_empty()
    }

    /// Returns the rows, at most `width` columns wide unless a word is longer.
    pub fn rows(&self, labels: [&str; 2], width: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for (kind, label, own) in [(RowKind::Left, labels[0], &self.left), (RowKind::Right, labels[1], &self.right)] {
            rows.push(Row::new(RowKind::Head, format!("only with {label}: {}", own.len())));
            let mut line = String::new();
            for word in own {
                if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                    rows.push(Row::new(kind, std::mem::take(&mut line)));
                }
                line.push_str(if line.is_empty() { "  " } else { " " });
                line.push_str(word);
            }
            if !line.is_empty() {
                rows.push(Row::new(kind, line));
            }
        }
        rows.push(Row::new(RowKind::Head, format!("both: {}", self.both)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::regress::compare::tests::{difference, shown};
    use expect_test::expect;

    #[test]
    fn words_of_only_one_side_are_listed_in_order() {
        let words = words(&difference("flags: fpu vme avx\n", "flags:\tvme fpu svm\nnx"));
        expect![[r"
            # only with max: 1
            <   avx
            # only with qemu64: 2
            >   nx
            >   svm
            # both: 3
        "]]
        .assert_eq(&shown(&words.rows(["max", "qemu64"], 6)));
    }

    #[test]
    fn order_and_repetition_are_ignored() {
        assert!(words(&difference("a b", "b\na a")).is_same());
        assert!(!words(&difference("a", "")).is_same());
    }
}

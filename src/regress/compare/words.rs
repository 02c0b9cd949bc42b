//! Outputs as sets of words: of the flags of a processor nobody wants to know where in the line they stand.

use std::collections::BTreeSet;

use super::{Difference, Mark, Row};

/// Which words one side alone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The left side's.
    pub left: Vec<String>,
    /// The right side's.
    pub right: Vec<String>,
    /// How many both have.
    pub both: usize,
}

/// Takes both sides apart at white space.
pub fn words(difference: &Difference) -> Words {
    let texts = [&difference.left, &difference.right].map(|bytes| String::from_utf8_lossy(bytes));
    let [left, right]: [BTreeSet<&str>; 2] = [0, 1].map(|side: usize| texts[side].split_whitespace().collect());
    let own = |one: &BTreeSet<&str>, other| one.difference(other).map(|word| (*word).to_owned()).collect();
    Words { left: own(&left, &right), right: own(&right, &left), both: left.intersection(&right).count() }
}

impl Words {
    /// Whether both sides have the same ones.
    pub fn is_same(&self) -> bool {
        self.left.is_empty() && self.right.is_empty()
    }

    /// As rows that are no wider than this, where the words allow it.
    pub fn rows(&self, labels: [&str; 2], width: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for (mark, label, own) in [(Mark::Left, labels[0], &self.left), (Mark::Right, labels[1], &self.right)] {
            rows.push(Row::new(Mark::Head, format!("only with {label}: {}", own.len())));
            let mut line = String::new();
            for word in own {
                if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                    rows.push(Row::new(mark, std::mem::take(&mut line)));
                }
                line.push_str(if line.is_empty() { "  " } else { " " });
                line.push_str(word);
            }
            if !line.is_empty() {
                rows.push(Row::new(mark, line));
            }
        }
        rows.push(Row::new(Mark::Head, format!("both: {}", self.both)));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::words;
    use crate::regress::compare::tests::{difference, shown};
    use expect_test::expect;

    #[test]
    fn words_that_one_side_alone_has_are_told_in_order_whatever_their_place() {
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
    fn order_and_repetition_are_no_difference() {
        assert!(words(&difference("a b", "b\na a")).is_same());
        assert!(!words(&difference("a", "")).is_same());
    }
}

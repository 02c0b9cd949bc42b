//! The table of rules by itself; what breaks each is in `tests/check/breaches.rs`.

use std::collections::HashSet;

use super::rules::{all, by_id};

#[test]
fn each_rule_has_an_id_of_its_own_and_says_all_of_itself() {
    let mut ids = HashSet::new();
    for rule in all() {
        assert!(ids.insert(rule.id), "{} is there twice", rule.id);
        assert_eq!(by_id(rule.id), Some(rule));
        assert!(rule.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", rule.id);
        for text in [rule.says, rule.breaks, rule.mend, rule.source] {
            assert!(!text.is_empty() && !text.ends_with('.') && text.trim() == text, "{}: {text:?}", rule.id);
        }
    }
    assert!(ids.len() > 50);
}

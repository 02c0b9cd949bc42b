//! Tests of the rule table; `tests/check/breaches.rs` tests a violation of each rule.

use std::collections::HashSet;

use super::rules::{all, by_id};

#[test]
fn each_rule_has_a_unique_id_and_complete_texts() {
    let mut ids = HashSet::new();
    for rule in all() {
        assert!(ids.insert(rule.id), "duplicate rule {}", rule.id);
        assert_eq!(by_id(rule.id), Some(rule));
        assert!(rule.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", rule.id);
        for text in [rule.says, rule.breaks, rule.mend, rule.source] {
            assert!(!text.is_empty() && !text.ends_with('.') && text.trim() == text, "{}: {text:?}", rule.id);
        }
    }
    assert!(ids.len() > 50);
}
